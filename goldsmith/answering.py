"""A model answers prompts, arm after arm, in chunks that are kept: a run that was killed goes on behind the last one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from goldsmith.student import Conversation, Student

if TYPE_CHECKING:
    from goldsmith.adapters import AdapterVersion
    from goldsmith.context import JobContext

CHUNK = 32  # prompts answered at once, and lost at most when a run is killed
STATE = "answers.json"


@dataclass
class Answers:
    """By arm, then by the prompt's key."""

    arms: dict[str, dict[str, str]] = field(default_factory=dict)

    def of(self, arm: str) -> dict[str, str]:
        return self.arms.setdefault(arm, {})

    def keep(self, ctx: JobContext) -> None:
        folder = ctx.scratch / "kept"
        folder.mkdir(exist_ok=True)
        (folder / STATE).write_text(json.dumps(self.arms, ensure_ascii=False), encoding="utf-8")
        ctx.checkpoint(folder)
        shutil.rmtree(folder)


def restored(ctx: JobContext) -> Answers:
    """What an earlier attempt of this job kept."""
    folder = ctx.restore()
    return Answers() if folder is None else Answers(json.loads((folder / STATE).read_text(encoding="utf-8")))


def answer(
    student: Student,
    arms: Sequence[tuple[str, AdapterVersion | None]],
    prompts: Sequence[tuple[str, Conversation]],
    answers: Answers,
    ctx: JobContext,
    *,
    max_new_tokens: int,
    progress: tuple[float, float],
) -> None:
    """Fill in what is missing, greedily: who asks again, or goes on, gets the same answers."""
    begin, end = progress
    chunks = [prompts[start : start + CHUNK] for start in range(0, len(prompts), CHUNK)]
    step = (end - begin) / max(1, len(arms) * len(chunks))
    for number, (arm, adapter) in enumerate(arms):
        student.use(adapter)
        for at, chunk in enumerate(chunks):
            missing = [(key, conversation) for key, conversation in chunk if key not in answers.of(arm)]
            if not missing:
                continue
            now = begin + step * (number * len(chunks) + at)

            def told(share: float, now: float = now, at: int = at, arm: str = arm) -> None:
                ctx.progress(now + step * share, f"{arm} answers prompts {at * CHUNK + 1} and on of {len(prompts)}")

            texts = student.generate([conversation for _, conversation in missing], max_new_tokens, told=told)
            answers.of(arm).update(zip((key for key, _ in missing), texts, strict=True))
            answers.keep(ctx)
