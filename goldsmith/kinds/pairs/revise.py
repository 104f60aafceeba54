"""One session: grade what was logged, ask for better answers, grade those, choose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from goldsmith import privacy
from goldsmith.kinds.pairs.schema import Context, PairsConfig
from goldsmith.sessions import Session
from goldsmith.teacher import Answer, NotAnswered, Teacher
from goldsmith.uno import prompts
from goldsmith.uno.candidates import is_error, preferred
from goldsmith.uno.judge import HIGHEST, Grade, grade, sampled
from goldsmith.uno.taught import Taught

BEST, UNGRADED = "the logged answer has the highest grade", "the logged answer could not be graded"
NO_RULE = "no active rule from feedback"
NO_ANSWER, NO_FEEDBACK = "the logged answer is empty or an error", "nobody said anything in words"
TOO_LONG = f"longer than {prompts.LONGEST:,} characters"
OUT_OF_BUDGET = "the budget ended"


@dataclass
class Candidate:
    text: str
    context: Context | None
    """None: it is the logged answer itself."""
    sample: int
    grade: Grade = field(default_factory=Grade)


@dataclass
class Revision:
    session: Session
    taught: Taught
    logged: Grade = field(default_factory=Grade)
    candidates: list[Candidate] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """Of `Candidates`."""
    chosen: Candidate | None = None
    dropped: str | None = None
    finished: bool = False
    rehearsal: bool = False
    models: set[str] = field(default_factory=set)
    grades: list[Grade] = field(default_factory=list)
    """One for each text that was graded."""

    @property
    def source(self) -> str:
        """What the ledger and the rows call it; of an imported run its id, by which it is erased."""
        return self.session.run_id or self.session.session_id

    @property
    def gain(self) -> float | None:
        """What the chosen answer has more than the logged one."""
        if self.chosen is None or self.chosen.grade.mean is None or self.logged.mean is None:
            return None
        return self.chosen.grade.mean - self.logged.mean


async def revise(revision: Revision, config: PairsConfig, teacher: Teacher, judge: Teacher) -> None:
    """Fills in what becomes of the session; raises `BudgetReached`, and the session is then not finished."""
    session = revision.session
    contexts: list[Context] = [one for one in config.contexts if one == "rules" or session.feedback]
    if not revision.taught.rules:  # kept although it taught nothing: there is nothing to better
        revision.chosen = Candidate(session.answer.strip(), None, 0)
    elif not contexts:
        revision.dropped = NO_FEEDBACK
    else:
        revision.logged = await _graded(revision, session.answer, config, judge)
        if config.require_gain and revision.logged.mean is None:
            revision.dropped = UNGRADED
        elif config.require_gain and revision.logged.mean == HIGHEST:
            revision.dropped = BEST  # nothing can beat it: no candidate is bought
        else:
            await _ask(revision, contexts, config, teacher)
            await _grade_all(revision, config, judge)
            revision.chosen, revision.dropped = choose(
                revision.candidates,
                session.answer,
                revision.logged,
                require_gain=config.require_gain,
                keep_equal=config.keep_equal,
            )
    revision.finished = True


async def _ask(revision: Revision, contexts: Sequence[Context], config: PairsConfig, teacher: Teacher) -> None:
    session, rules = revision.session, revision.taught.rules
    question = session.query_text
    asked: dict[Context, str] = {
        "feedback": prompts.feedback_prompt(question, session.feedback or ""),
        "rules": prompts.rules_prompt(question, rules, session.feedback, session.answer),
    }
    for context in contexts:
        for sample in range(config.samples):
            revision.counts["asked"] += 1
            try:
                got = await teacher.ask(
                    item=f"{revision.source}/revise/{context}",
                    system=prompts.REVISE[prompts.language_of_prompts(session.language)],
                    prompt=asked[context],
                    max_tokens=config.max_tokens,
                    ordinal=sample,
                    recorded=session.private,
                    **sampled(teacher, sample),
                )
            except NotAnswered:
                revision.counts["unanswered"] += 1
                continue
            what = _sort(got)
            revision.counts[what] += 1
            if what == "usable":
                revision.candidates.append(Candidate(got.text.strip(), context, sample))
                revision.rehearsal |= got.rehearsal
                revision.models.add(got.model)


async def _grade_all(revision: Revision, config: PairsConfig, judge: Teacher) -> None:
    """Each text once."""
    known: dict[str, Grade] = {}
    for candidate in revision.candidates:
        if candidate.text not in known:
            known[candidate.text] = await _graded(revision, candidate.text, config, judge)
        candidate.grade = known[candidate.text]


async def _graded(revision: Revision, text: str, config: PairsConfig, judge: Teacher) -> Grade:
    found = await grade(
        judge,
        item=f"{revision.source}/grade",
        question=revision.session.query_text,
        rules=revision.taught.rules,
        answer=text,
        language=revision.session.language,
        recorded=revision.session.private,
        samples=config.judge_samples,
    )
    revision.grades.append(found)
    return found


def _sort(got: Answer) -> str:
    if got.stop_reason != "end_turn":
        return "cut"
    if not got.text.strip():
        return "empty"
    return "error" if is_error(got.text) else "usable"


def unusable(session: Session, taught: Taught, *, keep_empty: bool) -> str | None:
    """Why nothing can be made of a session, neither a pair nor a critic's row. `keep_empty`: a pair may be made of one whose
    feedback was read and taught nothing."""
    if not taught.rules and not (keep_empty and taught.empty):
        return NO_RULE
    if is_error(session.answer):
        return NO_ANSWER
    typed = [session.query, session.feedback or "", *taught.rules]
    if len(session.system or "") + len(session.answer) + sum(map(len, typed)) > prompts.LONGEST:
        return TOO_LONG
    return privacy.personal(typed, session.language) if session.private else None


def choose(
    candidates: Sequence[Candidate], logged: str, grade: Grade, *, require_gain: bool, keep_equal: bool = False
) -> tuple[Candidate | None, str | None]:
    """See `preferred`."""
    graded = [(one.text, one.grade.mean) for one in candidates]
    place, reason = preferred(graded, logged, grade.mean, require_gain=require_gain, keep_equal=keep_equal)
    return None if place is None else candidates[place], reason
