"""The rows to train on: checked, shuffled when they are a control's, and tokenized."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from goldsmith.datasets import Example, Message
from goldsmith.errors import InvalidInput
from goldsmith.student.conversation import Tokens, tokenize

SHOWN = 5


@dataclass(frozen=True)
class Rows:
    train: list[Tokens]
    heldout: list[Tokens]
    too_long: list[dict[str, Any]]
    """What was left out: the row by its place in the file of its split, from 0, and how many tokens it has."""


def checked(dataset: str, examples: Iterable[Example]) -> dict[str, list[Example]]:
    """The examples by split; raises `InvalidInput` when one has no answer, or a split is empty."""
    splits: dict[str, list[Example]] = {"train": [], "heldout": []}
    unanswered: list[str] = []
    for row, example in enumerate(examples):
        last = example.messages[-1]
        if last.role != "assistant" or not last.content.strip():
            unanswered.append(f"row {row} ({example.source}, {example.config_id})")
        splits[example.split].append(example)
    if unanswered:
        more = f" and {len(unanswered) - SHOWN} more" if len(unanswered) > SHOWN else ""
        raise InvalidInput(
            f"dataset: {dataset} has rows that do not end with an answer of the assistant:"
            f" {', '.join(unanswered[:SHOWN])}{more}; train on gold, not on a corpus"
        )
    for split, rows in splits.items():
        if not rows:
            raise InvalidInput(f"dataset: {dataset} has no {split} rows; both splits are needed")
    return splits


def with_shuffled_answers(examples: Sequence[Example], seed: int) -> list[Example]:
    """Every example with the answer of another one, and never with a text equal to its own.

    The rows are put in random order, equal answers side by side, and each takes the answer that lies as many places further as
    the commonest answer has copies.
    """
    generator = random.Random(seed)  # noqa: S311 - reproducible on purpose
    copies = Counter(_answer(example) for example in examples)
    most = max(copies.values())
    if 2 * most > len(examples):
        raise InvalidInput(
            f"shuffle_answers: {most} of {len(examples)} training rows have the same answer;"
            " at most half may, or some row would keep its own"
        )
    rank = dict(zip(sorted(copies), generator.sample(range(len(copies)), len(copies)), strict=True))
    order = sorted(range(len(examples)), key=lambda row: rank[_answer(examples[row])])
    shuffled = list(examples)
    for place, row in enumerate(order):
        answer = _answer(examples[order[(place + most) % len(order)]])
        messages = [*examples[row].messages[:-1], Message(role="assistant", content=answer)]
        shuffled[row] = examples[row].model_copy(update={"messages": messages})
    return shuffled


def tokenized(tokenizer: Any, splits: dict[str, list[Example]], max_length: int) -> Rows:
    """Token ids and labels without the rows longer than `max_length`; raises `InvalidInput` when those are more than half."""
    every = {split: [tokenize(tokenizer, turns(example)) for example in examples] for split, examples in splits.items()}
    short = {split: [row for row in rows if len(row.input_ids) <= max_length] for split, rows in every.items()}
    for split, rows in every.items():
        left_out = len(rows) - len(short[split])
        if 2 * left_out > len(rows) or not short[split]:
            longest = max(len(row.input_ids) for row in rows)
            raise InvalidInput(
                f"max_length: {left_out} of {len(rows)} {split} rows are longer than {max_length} tokens;"
                f" the longest has {longest}"
            )
    too_long = [
        {
            "split": split,
            "row": number,
            "source": example.source,
            "config_id": example.config_id,
            "tokens": len(every[split][number].input_ids),
        }
        for split, examples in splits.items()
        for number, example in enumerate(examples)
        if len(every[split][number].input_ids) > max_length
    ]
    return Rows(short["train"], short["heldout"], too_long)


def turns(example: Example) -> list[dict[str, str]]:
    return [message.model_dump() for message in example.messages]


def _answer(example: Example) -> str:
    return example.messages[-1].content
