"""The rows to train on: checked, shuffled when they are a control's, and tokenized."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from goldsmith.datasets import Example, Message
from goldsmith.errors import InvalidInput
from goldsmith.student.conversation import IGNORED, Tokens, tokenize

SHOWN = 5
LIMITS = (512, 1024, 2048, 3072, 4096, 8192)


@dataclass(frozen=True)
class Row:
    source: str
    """What an error calls it: where its input comes from, and its config."""
    chosen: Tokens
    rejected: Tokens | None = None
    """Of a pair: the same prompt with the answer to turn away from."""

    @property
    def length(self) -> int:
        return max(len(tokens.input_ids) for tokens in (self.chosen, self.rejected) if tokens is not None)


@dataclass(frozen=True)
class Rows:
    train: list[Row]
    heldout: list[Row]
    heldout_examples: list[Example]
    """Those that `heldout` was made of."""
    too_long: list[dict[str, Any]]
    """What was left out: the row by its place in the file of its split, from 0, and how many tokens it has."""
    longer_than: dict[str, int]
    """By limit in tokens: how many rows of both splits it would leave out."""
    longest: int


def checked(dataset: str, examples: Iterable[Example], *, pairs: bool = False) -> dict[str, list[Example]]:
    """The examples by split; raises `InvalidInput` when one has no prompt or no answer (of `pairs`: no two different ones), when a
    split is empty, or when a held-out row is in training too."""
    splits: dict[str, list[Example]] = {"train": [], "heldout": []}
    unasked: list[str] = []
    unanswered: list[str] = []
    unpaired: list[str] = []
    for row, example in enumerate(examples):
        last = example.messages[-1]
        name = f"row {row} ({named(example)})"
        if last.role != "assistant" or not last.content.strip():
            unanswered.append(name)
        elif not any(message.role == "user" and message.content.strip() for message in example.messages):
            unasked.append(name)
        elif pairs and not _is_pair(example):
            unpaired.append(name)
        splits[example.split].append(example)
    if unanswered:
        raise InvalidInput(
            f"dataset: {dataset} has rows that do not end with an answer of the assistant:"
            f" {_some(unanswered)}; train on gold, not on a corpus"
        )
    if unasked:
        raise InvalidInput(f"dataset: {dataset} has rows in which no user says anything: {_some(unasked)}")
    if unpaired:
        raise InvalidInput(
            f"dataset: {dataset} has rows without a rejected answer that differs from the chosen one: {_some(unpaired)};"
            " objective dpo_nll needs pairs"
        )
    for split, rows in splits.items():
        if not rows:
            raise InvalidInput(f"dataset: {dataset} has no {split} rows; both splits are needed")
    _check_overlap(dataset, splits)
    return splits


def _is_pair(example: Example) -> bool:
    """Two different answers; the same one twice only where a `pairs` job was told to keep such rows."""
    rejected = (example.rejected or "").strip()
    return bool(rejected) and (rejected != example.messages[-1].content.strip() or bool(example.gates.get("equal")))


def _check_overlap(dataset: str, splits: dict[str, list[Example]]) -> None:
    """The same prompt, or another row of the same group, in training would be asked again as if it were new."""
    prompts = {example.asked for example in splits["train"]}
    groups = {example.group for example in splits["train"]}
    shared = [named(example) for example in splits["heldout"] if example.asked in prompts or example.group in groups]
    if shared:
        raise InvalidInput(
            f"dataset: {len(shared)} of {len(splits['heldout'])} held-out rows of {dataset} are in training too, by prompt or by"
            f" group: {', '.join(shared[:100])}{' …' if len(shared) > 100 else ''}",
            overlapping=shared,
        )


def named(example: Example) -> str:
    return f"{example.source}, {example.config_id}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


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


def tokenized(tokenizer: Any, splits: dict[str, list[Example]], max_length: int, *, pairs: bool = False) -> Rows:
    """Token ids and labels without the rows longer than `max_length`; raises `InvalidInput` when those are more than half."""
    every = {split: [_row(tokenizer, example, pairs) for example in examples] for split, examples in splits.items()}
    lengths = [row.length for rows in every.values() for row in rows]
    for split, rows in every.items():
        left_out = sum(row.length > max_length for row in rows)
        if 2 * left_out > len(rows):
            raise InvalidInput(
                f"max_length: {left_out} of {len(rows)} {split} rows are longer than {max_length} tokens;"
                f" the longest has {max(row.length for row in rows)}"
            )
    too_long = [
        {
            "split": split,
            "row": number,
            "source": example.source,
            "config_id": example.config_id,
            "tokens": every[split][number].length,
        }
        for split, examples in splits.items()
        for number, example in enumerate(examples)
        if every[split][number].length > max_length
    ]
    return Rows(
        train=[row for row in every["train"] if row.length <= max_length],
        heldout=[row for row in every["heldout"] if row.length <= max_length],
        heldout_examples=[
            example for example, row in zip(splits["heldout"], every["heldout"], strict=True) if row.length <= max_length
        ],
        too_long=too_long,
        longer_than={str(limit): sum(length > limit for length in lengths) for limit in sorted({*LIMITS, max_length})},
        longest=max(lengths),
    )


def _row(tokenizer: Any, example: Example, pairs: bool) -> Row:
    messages = turns(example)
    if not pairs:
        return Row(named(example), tokenize(tokenizer, messages))
    assert example.rejected is not None
    instead = [*messages[:-1], {"role": "assistant", "content": example.rejected}]
    return Row(named(example), *(_last_answer(tokenize(tokenizer, each)) for each in (messages, instead)))


def _last_answer(tokens: Tokens) -> Tokens:
    """Of a pair the last answer alone is compared: what was said before it is the same in both."""
    before = max(place for place, label in enumerate(tokens.labels) if label == IGNORED) + 1
    return Tokens(tokens.input_ids, [IGNORED] * before + tokens.labels[before:])


def turns(example: Example) -> list[dict[str, str]]:
    return [message.model_dump() for message in example.messages]


def _answer(example: Example) -> str:
    return example.messages[-1].content
