"""How byte-level BPE tokenizers cut a text before they merge, by the names that GGUF files have for it."""

from __future__ import annotations

from typing import Any

from tokenizers import Regex, pre_tokenizers

QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
KNOWN = ("gpt-2", "qwen2", "smollm")


def made(name: str) -> Any:
    """The tokenizer's step for one of `KNOWN`."""
    after = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=name != "qwen2")
    if name == "gpt-2":
        return after
    before = (
        pre_tokenizers.Digits(individual_digits=True)
        if name == "smollm"
        else pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated")
    )
    return pre_tokenizers.Sequence([before, after])


def name_of(described: dict[str, Any] | None) -> str | None:
    """Which of `KNOWN` a `tokenizer.json` describes under pre_tokenizer; None when it is another."""
    steps = flat(described)
    kinds = [step["type"] for step in steps]
    if kinds == ["ByteLevel"] and steps[0]["use_regex"]:
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"] and steps[1]["use_regex"]:
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and steps[0]["pattern"] == {"Regex": QWEN2_PATTERN} and not steps[1]["use_regex"]:
        return "qwen2"
    return None


def flat(step: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A step in its parts."""
    if step is None:
        return []
    return [one for part in step["pretokenizers"] for one in flat(part)] if step["type"] == "Sequence" else [step]
