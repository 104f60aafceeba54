"""A base model that knows its answers, and an adapter of random weights on top of it: by every scorer it loses, and is blocked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from goldsmith.datasets import Example, Message
from goldsmith.devserver.checkout import Checkout, InterceptionConfig
from goldsmith.kinds.evaluate.run import run
from goldsmith.kinds.evaluate.schema import SCORERS, EvaluateConfig
from goldsmith.student.conversation import IGNORED, tokenize
from tests.fakes import FakeContext
from tests.kinds.evaluate.test_scoring import by_counting
from tests.teachers import ScriptedTeacher
from tests.tiny import COLOURS, THINGS, answer, gold, make_model, prompt, student_factory
from tests.trained import add_adapter

CONTEXT = "Paint with oil and name the pigments."


def learned(thing: str) -> dict[str, str]:
    """What the base model answers, by what it is asked."""
    return {
        prompt(thing): answer(thing),
        f"name {thing}": f"it is the {thing}.",
        f"json {thing}": json.dumps({"thing": 1}),
    }


def rows() -> list[Example]:
    found = []
    for thing in THINGS:
        say, name, as_json = learned(thing)
        typed = f"a {COLOURS[len(thing) % 4]} {thing}"
        found += [
            _row(say, {"rules": {"min_words": 5, "max_words": 60}}, thing, input=typed, context=CONTEXT),
            _row(say, {"expected": [answer(thing)]}, thing, input=typed),
            _row(name, {"pattern": rf"\b{thing}\b"}, thing),
            _row(as_json, {"schema": {"type": "object", "required": ["thing"]}}, thing),
        ]
    return found


def _row(asked: str, expect: dict[str, Any], thing: str, *, input: str = "", context: str = "") -> Example:
    turns = [Message(role="user", content=asked)]
    turns += [Message(role="assistant", content=text) for text in expect.get("expected", [])]
    return Example(
        split="heldout",
        messages=turns,
        config_id="oil" if context else "",
        context_lang="en" if context else "",
        context_sha256=hashlib.sha256(context.encode()).hexdigest() if context else "",
        template_version="",
        input=input or asked,
        language="en",
        group=thing,
        source=f"upload:x:{asked}",
        origin="synthetic",
        expect=expect,
    )


def taught(folder: Path) -> Path:
    """The tiny model with all its weights fitted to the answers."""
    make_model(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pairs = [pair for thing in THINGS for pair in learned(thing).items()]
    tokens = [
        tokenize(tokenizer, [{"role": "user", "content": asked}, {"role": "assistant", "content": said}])
        for asked, said in pairs
    ]
    width = max(len(row.input_ids) for row in tokens)
    ids = torch.tensor([row.input_ids + [0] * (width - len(row.input_ids)) for row in tokens])
    labels = torch.tensor([row.labels + [IGNORED] * (width - len(row.labels)) for row in tokens])
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(400):
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if loss.item() < 0.01:
            break
    model.save_pretrained(folder)
    return folder


def test_a_broken_adapter_loses_by_every_scorer_and_is_blocked(tmp_path: Path) -> None:
    ctx = FakeContext(tmp_path, kind="evaluate")
    base = taught(tmp_path / "taught")
    ctx.student_factory = student_factory(tmp_path)
    ctx.teacher_factory = lambda provider, **asked: ScriptedTeacher(by_counting)
    trained_on = [
        row.model_copy(update={"input": "else", "messages": [Message(role="user", content="else")]}) for row in gold()
    ]
    ctx.save_dataset("gold", trained_on, manifest={}, parents=[], rehearsal=False)
    oil = InterceptionConfig(config_id="oil", name={}, context={"en": CONTEXT}, parameters={}, meta={})
    checkout = Checkout(template="Context:\n{{CONTEXT}}\n\nPrompt:\n{{INPUT_TEXT}}", task="", configs=[oil])
    contexts = ctx.save_artifact("contexts.json", checkout.model_dump_json().encode())
    ctx.save_dataset("exam", rows(), manifest={"kind": "golden", "contexts": contexts}, parents=[], rehearsal=False)
    adapter = add_adapter(ctx, str(base), cache=tmp_path, std=2.0)

    result = run(
        EvaluateConfig(
            dataset="dataset:exam@1", adapter=adapter.ref, max_new_tokens=40, speed_prompts=1,
            judge="graded", judge_samples=1, teacher="rehearsal", budget_usd=1,
        ),
        ctx,
    )  # fmt: skip

    found = {each.scorer: each for each in result.comparisons[0].scores}
    assert set(found) == set(SCORERS)
    known = [found[scorer].against for scorer in ("rules", "exact", "regex", "json_schema")]
    assert min(known) > 0.8, known
    assert {scorer: one.verdict for scorer, one in found.items()} == dict.fromkeys(found, "worse")
    assert (result.verdict, result.passed) == ("loses", False)
    assert all(f"worse than base by {scorer}" in result.why for scorer in SCORERS)
