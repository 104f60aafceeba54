"""Which prompts the gate asks."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer

from goldsmith.datasets import Message
from goldsmith.export.parity import BUILT_IN, frozen_prompts
from tests.tiny import gold, make_model


def test_a_row_whose_answer_does_not_fit_beside_its_prompt_is_not_asked(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(make_model(tmp_path))
    short, long = gold()[:2]
    long.messages[-1] = Message(role="assistant", content=long.messages[-1].content * 20)
    asked = [turns[0]["content"] for turns, _ in frozen_prompts([short, long], tokenizer, 20, 400)]
    assert short.messages[0].content in asked
    assert long.messages[0].content not in asked
    assert asked[0] == BUILT_IN[0]
