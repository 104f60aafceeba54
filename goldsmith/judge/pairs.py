"""Two texts compared blind by a rubric of one question's own: in both orders, several times, a tie allowed; and how far the verdicts
follow the order.

An opinion is worth what an examination on pairs with a known better text says; who uses this examines first.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from goldsmith.teacher import BudgetReached, NotAnswered, Teacher
from goldsmith.teacher.bounded import for_each
from goldsmith.uno.judge import sampled

MAX_TOKENS = 300
LETTERS = ("A", "B", "same")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"better": {"type": "string", "enum": list(LETTERS)}, "why": {"type": "string"}},
    "required": ["better", "why"],
    "additionalProperties": False,
}

Letter = Literal["A", "B", "same"]


class Rubric(BaseModel):
    """What a judge is told. `question` has the places {context}, {a} and {b}."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = Field(ge=1)
    system: str
    question: str


def read_rubric(path: Path) -> Rubric:
    return Rubric.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))["rubric"])


@dataclass(frozen=True)
class Pair:
    """Two texts that are compared. Which of them is whose, the judge is never told."""

    item: str
    """Names it in the ledger; begins with the run's id where a person's words are in it, so that erasing finds it."""
    context: str
    one: str
    other: str
    group: str
    """What is no independent evidence has the same: a device, a prompt."""
    private: bool = False


@dataclass
class Votes:
    """Of one pair: by order (0: `one` stands first) and sample the letter that the judge said; what was unreadable is missing."""

    said: dict[tuple[int, int], Letter] = field(default_factory=dict)
    why: list[str] = field(default_factory=list)

    def for_one(self, order: int | None = None) -> int:
        """Votes for `one` less those for `other`; of one order alone, if it is given."""
        worth = {(0, "A"): 1, (0, "B"): -1, (1, "A"): -1, (1, "B"): 1}
        return sum(worth.get((of, letter), 0) for (of, _), letter in self.said.items() if order in (None, of))

    @property
    def both_orders(self) -> bool:
        """Whether there is a readable vote in either order: without, a judge that likes the first place would decide."""
        return {order for order, _ in self.said} == {0, 1}

    @property
    def points(self) -> float | None:
        """1: `one` has more votes, 0.5: as many, 0: fewer; None: not judged in both orders."""
        if not self.both_orders:
            return None
        return 0.5 + (self.for_one() > 0) / 2 - (self.for_one() < 0) / 2

    @property
    def prefers(self) -> Literal["one", "other", "neither"]:
        """A text that is preferred by majority in both orders; whoever prefers a place prefers neither."""
        first, second = self.for_one(0), self.for_one(1)
        if first > 0 and second > 0:
            return "one"
        return "other" if first < 0 and second < 0 else "neither"

    @property
    def follows(self) -> list[float]:
        """For each sample that was read in both orders whether the same place won in both: 1 then, else 0."""
        samples = sorted({sample for _, sample in self.said})
        both = [(self.said[0, one], self.said[1, one]) for one in samples if {(0, one), (1, one)} <= self.said.keys()]
        return [float(first == second != "same") for first, second in both]


@dataclass
class Judged:
    """In the order of the pairs."""

    votes: list[Votes]
    unreadable: int = 0
    out_of_budget: bool = False

    @property
    def first_preferred(self) -> float | None:
        return first_preferred(self.votes)


def first_preferred(votes: Iterable[Votes]) -> float | None:
    """How often the text that stood first was chosen, of all choices; 0.5 is without bias. None: nothing was."""
    letters = [letter for one in votes for letter in one.said.values() if letter != "same"]
    return letters.count("A") / len(letters) if letters else None


async def compare(
    pairs: Sequence[Pair],
    teacher: Teacher,
    rubric: Rubric,
    *,
    samples: int,
    concurrency: int,
    told: Callable[[float], None] = lambda share: None,
) -> Judged:
    """Ask each pair in both orders, `samples` times. Where the budget ends, the rest stays without votes.

    Answers that cannot be read are counted, not repeated; identical questions are answered by the ledger.
    """
    judged = Judged([Votes() for _ in pairs])
    total, done = 2 * samples * len(pairs), 0

    async def one(which: tuple[int, int, int]) -> bool:
        nonlocal done
        place, sample, order = which
        pair, votes = pairs[place], judged.votes[place]
        a, b = (pair.one, pair.other) if order == 0 else (pair.other, pair.one)
        try:
            got = await teacher.ask(
                item=pair.item,
                system=rubric.system.strip(),
                prompt=rubric.question.format(context=pair.context, a=a, b=b).strip(),
                max_tokens=MAX_TOKENS,
                json_schema=SCHEMA,
                ordinal=sample,
                recorded=pair.private,
                **sampled(teacher, sample),
            )
            letter, why = _read(got.text)
            votes.said[order, sample] = letter
            votes.why.append(why)
        except BudgetReached:
            judged.out_of_budget = True
        except (NotAnswered, KeyError, TypeError, ValueError):
            judged.unreadable += 1
        done += 1
        told(done / total)
        return not judged.out_of_budget

    # All of a pair before the next: a budget that ends leaves whole pairs.
    questions = ((place, sample, order) for place in range(len(pairs)) for sample in range(samples) for order in (0, 1))
    await for_each(questions, one, concurrency=concurrency)
    return judged


def _read(text: str) -> tuple[Letter, str]:
    said = json.loads(text)
    for letter in LETTERS:
        if said["better"] == letter:
            return letter, " ".join(str(said["why"]).split())[:300]  # type: ignore[return-value]
    raise ValueError(said["better"])
