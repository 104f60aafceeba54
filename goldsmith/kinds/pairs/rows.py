"""Rows of the two datasets of a cluster. Both have the split of the cluster's members, as in UNO's reference code: what gave no row
counts, so that no critic trains on what an expert is tested on, and a session that drops out moves no other one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from goldsmith.datasets import Example, Message, Origin
from goldsmith.kinds.pairs.revise import Revision
from goldsmith.sessions import Session
from goldsmith.uno.prompts import critic_prompt, numbered
from goldsmith.uno.split import Split
from goldsmith.uno.taught import Taught

SEEN = "held out, but its prompt is in training too"


def pairs(revisions: Sequence[Revision], splits: Mapping[str, Split]) -> tuple[list[Example], Counter[str]]:
    """A row for each chosen answer, and the rows left out, by reason."""
    rows = []
    for one in revisions:
        assert one.chosen is not None
        equal = one.chosen.text.split() == one.session.answer.split()  # only where it was asked for
        system = [Message(role="system", content=one.session.system)] if one.session.system else []
        rows.append(
            _row(
                one.session,
                [
                    *system,
                    Message(role="user", content=one.session.query),
                    Message(role="assistant", content=one.chosen.text),
                ],
                splits[one.session.session_id],
                rehearsal=one.rehearsal or one.taught.rehearsal,
            ).model_copy(
                update={
                    "rejected": one.session.answer.strip(),
                    "gates": {
                        "grade": one.chosen.grade.mean,
                        "logged_grade": one.logged.mean,
                        "context": one.chosen.context,
                        "sample": one.chosen.sample,
                        "rules": one.taught.ordinals,
                        "model": sorted(one.models),
                        **({"equal": True} if equal else {}),
                    },
                }
            )
        )
    return _without_leaks(rows)


def critics(sessions: Sequence[tuple[Session, Taught]], splits: Mapping[str, Split]) -> tuple[list[Example], Counter[str]]:
    """A row for each session with rules."""
    rows = [
        _row(
            session,
            [
                Message(role="user", content=critic_prompt(session.query_text, session.answer.strip())),
                Message(role="assistant", content=numbered(taught.rules)),
            ],
            splits[session.session_id],
            rehearsal=taught.rehearsal,
        ).model_copy(update={"gates": {"rules": taught.ordinals}})
        for session, taught in sessions
        if taught.rules
    ]
    return _without_leaks(rows)


def _row(session: Session, messages: list[Message], which: str, *, rehearsal: bool) -> Example:
    origin: Origin = "recorded" if session.source == "run" else "upload" if session.private else "synthetic"
    return Example.model_validate(
        {
            "split": which,
            "messages": messages,
            "config_id": session.config_id or "none",
            "context_lang": session.language or "und",
            "context_sha256": "",
            "template_version": "",
            "input": session.query,
            "language": session.language or "und",
            "group": session.session_id,
            "source": session.run_id or session.session_id,
            "origin": origin,
            "rehearsal": rehearsal,
        }
    )


def _without_leaks(rows: Sequence[Example]) -> tuple[list[Example], Counter[str]]:
    """Training refuses a dataset whose held-out prompts are trained on: two sessions may have asked the same."""
    trained = {row.asked for row in rows if row.split == "train"}
    kept = [row for row in rows if row.split == "train" or row.asked not in trained]
    return kept, Counter({SEEN: len(rows) - len(kept)} if len(kept) < len(rows) else {})
