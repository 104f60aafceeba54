"""Lengths in the student's own tokens. What is too long is left out whole and reported, never cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from goldsmith.datasets import Example
from goldsmith.errors import InvalidInput
from goldsmith.kinds.corpus.near import Tick
from goldsmith.kinds.corpus.prompts import Dropped, Prompt
from goldsmith.kinds.corpus.schema import CorpusConfig, Lengths
from goldsmith.student.conversation import render

AT_ONCE = 256  # texts that the tokenizer gets in one call, so that it uses its threads


def count(tokenizer: Any, texts: Sequence[str], tick: Tick = lambda done: None) -> list[int]:
    """Tokens of each text, without any that the tokenizer would add of its own."""
    counts: list[int] = []
    for first in range(0, len(texts), AT_ONCE):
        encoded = tokenizer(list(texts[first : first + AT_ONCE]), add_special_tokens=False)["input_ids"]
        counts += map(len, encoded)
        tick(len(counts) / len(texts))
    return counts


def fitting(tokenizer: Any, prompts: Sequence[Prompt], config: CorpusConfig, dropped: Dropped) -> list[Prompt]:
    """The prompts within min_input_tokens and max_input_tokens."""
    kept = []
    for prompt, tokens in zip(prompts, count(tokenizer, [prompt.text for prompt in prompts]), strict=True):
        if tokens < config.min_input_tokens:
            dropped.setdefault(f"fewer than {config.min_input_tokens} tokens", []).append(prompt.source)
        elif tokens > config.max_input_tokens:
            dropped.setdefault(f"more than {config.max_input_tokens} tokens", []).append(prompt.source)
        else:
            kept.append(prompt)
    return kept


def measure(
    tokenizer: Any, rows: Sequence[Example], config: CorpusConfig, tick: Tick
) -> tuple[list[Example], list[dict[str, Any]], Lengths]:
    """The rows that fit, those that do not, and how long all of them are. Raises `InvalidInput` when a split would be empty."""
    texts = [render(tokenizer, [message.model_dump() for message in row.messages], answer_next=True) for row in rows]
    counts = count(tokenizer, texts, tick)
    room = config.max_length - config.answer_tokens
    fit = [row for row, tokens in zip(rows, counts, strict=True) if tokens <= room]
    too_long = [
        {"source": row.source, "config_id": row.config_id, "split": row.split, "tokens": tokens}
        for row, tokens in zip(rows, counts, strict=True)
        if tokens > room
    ]
    if {row.split for row in fit} != {row.split for row in rows}:
        raise InvalidInput(
            f"max_length: {len(too_long)} of {len(rows)} rows have more than {room} tokens ({config.max_length} without"
            f" {config.answer_tokens} for the answer), the longest {max(counts)}, so that a split would be empty",
            errors=[
                {"field": "max_length", "value": config.max_length, "allowed": f"{max(counts) + config.answer_tokens} fits all"}
            ],
        )
    ordered = sorted(counts)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return fit, too_long, Lengths(mean=round(sum(counts) / len(counts), 1), p95=p95, longest=ordered[-1])
