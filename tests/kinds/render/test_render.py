from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from goldsmith.datasets import Example, Message
from goldsmith.devserver.checkout import Checkout, read_checkout
from goldsmith.devserver.prompts import render
from goldsmith.errors import InvalidInput
from goldsmith.kinds.render.run import run
from goldsmith.kinds.render.schema import RenderConfig
from tests.fakes import FakeContext

CHECKOUT = read_checkout(Path("examples/workshop"))[0].model_copy(update={"wiki": "\n\nAsk for an article."})
NEWER = CHECKOUT.model_copy(update={"template": CHECKOUT.template.replace("Prompt:", "Wish:"), "task": "Schreibe anders."})


def rows(checkout: Checkout = CHECKOUT, *, answered: bool = True, wiki: bool = False) -> list[Example]:
    made = []
    for number, config in enumerate(checkout.configs):
        prompt = render(checkout, config.config_id, "de", f"Ein Wal, Nummer {number}", wiki=wiki)
        answer = [Message(role="assistant", content=f"Der Wal {number}.")] if answered else []
        made.append(
            Example(
                split="heldout" if number == 0 else "train",
                messages=[Message(role="user", content=prompt.content), *answer],
                config_id=config.config_id,
                **prompt.model_dump(exclude={"content"}),
                input=f"Ein Wal, Nummer {number}",
                language="de",
                group=str(number),
                source=f"run_{number}",
                origin="synthetic",
                gates={"model": "m"} if answered else {},
            )
        )
    return made


def given(tmp_path: Path, newer: Checkout = NEWER, examples: list[Example] | None = None) -> tuple[FakeContext, str]:
    """A corpus, gold of it, and where a newer template lies."""
    earlier = FakeContext(tmp_path, kind="corpus")
    contexts = earlier.save_artifact("pinned-contexts.json", CHECKOUT.model_dump_json().encode())
    ctx = FakeContext(tmp_path, kind="render")
    template = earlier.save_artifact("contexts.json", newer.model_dump_json().encode())
    ctx.save_dataset(
        "prompts", rows(answered=False), manifest={"contexts": contexts}, parents=[], rehearsal=False, checkout=CHECKOUT
    )
    told = {"kind": "gold", "config": {"min_words": 20}, "teacher": "anthropic", "filters": {"K4_meta": 2}}
    ctx.save_dataset("gold", examples or rows(), manifest=told, parents=["dataset:prompts@1"], rehearsal=True)
    return ctx, template


def config(template: str, **change: Any) -> RenderConfig:
    return RenderConfig(**{"dataset": "dataset:gold@1", "template": template, **change})


def test_old_gold_becomes_a_new_version_in_the_newer_template(tmp_path: Path) -> None:
    ctx, template = given(tmp_path)
    result = run(config(template), ctx)
    assert (result.dataset, result.rows, result.changed) == ("dataset:gold@2", 6, 6)
    assert (result.template_versions, result.template_version) == ([CHECKOUT.template_version], NEWER.template_version)
    assert (result.drift, result.rehearsal, result.label) == ([], True, "REHEARSAL")
    assert list(ctx.examples(result.dataset)) == rows(NEWER)
    assert list(ctx.examples("dataset:gold@1")) == rows()
    version = ctx.dataset(result.dataset)
    assert version.parents == ["dataset:gold@1", template]
    told = ctx.dataset("dataset:gold@1").manifest
    assert {name: version.manifest[name] for name in ("kind", "config", "teacher", "filters")} == {
        name: told[name] for name in ("kind", "config", "teacher", "filters")
    }
    assert version.manifest["rendered"]["before"] == [CHECKOUT.template_version]
    pinned = Checkout.model_validate_json(ctx.artifact(version.manifest["contexts"]).read_bytes())
    assert pinned == NEWER
    assert run(config(template, dataset="dataset:prompts@1", name="anew"), ctx).dataset == "dataset:anew@1"
    assert list(ctx.examples("dataset:anew@1")) == rows(NEWER, answered=False)


def test_a_version_that_was_rendered_anew_can_be_rendered_back(tmp_path: Path) -> None:
    ctx, template = given(tmp_path)
    run(config(template), ctx)
    back = run(config(ctx.dataset("dataset:prompts@1").manifest["contexts"], dataset="dataset:gold@2"), ctx)
    assert list(ctx.examples(back.dataset)) == rows()
    assert ctx.dataset("dataset:gold@3").content_sha256 == ctx.dataset("dataset:gold@1").content_sha256


def test_contexts_stay_those_that_the_answers_were_made_for_and_their_drift_is_told(tmp_path: Path) -> None:
    changed = NEWER.configs[1].model_copy(update={"context": {"de": "Etwas anderes.", "en": "Another."}})
    newer = NEWER.model_copy(update={"configs": [changed, *NEWER.configs[2:]]})
    ctx, template = given(tmp_path, newer)
    result = run(config(template), ctx)
    assert [change.partition(":")[0] for change in result.drift] == [
        CHECKOUT.configs[0].config_id,
        f"{CHECKOUT.configs[1].config_id} (de)",
    ]
    assert list(ctx.examples(result.dataset)) == rows(NEWER)


def test_the_wiki_block_is_that_of_the_new_template(tmp_path: Path) -> None:
    newer = NEWER.model_copy(update={"wiki": "\n\nLook it up."})
    ctx, template = given(tmp_path, newer, rows(wiki=True))
    assert list(ctx.examples(run(config(template), ctx).dataset)) == rows(newer, wiki=True)
    without = NEWER.model_copy(update={"wiki": ""})
    ctx, template = given(tmp_path, without, rows(wiki=True))
    found = list(ctx.examples(run(config(template), ctx).dataset))
    assert found == rows(without)
    assert not any(row.wiki for row in found)


def test_what_cannot_be_rendered_is_named(tmp_path: Path) -> None:
    ctx, template = given(tmp_path)
    with pytest.raises(InvalidInput, match=r"template: job:.*/nothing.json does not exist"):
        run(config(template.replace("contexts.json", "nothing.json")), ctx)
    ctx.save_artifact("x.json", b"[]")
    with pytest.raises(InvalidInput, match="is something else"):
        run(config(f"{ctx.ref}/x.json"), ctx)
    with pytest.raises(InvalidInput, match=r"template: upload:.* does not exist"):
        run(config(f"upload:{uuid4()}"), ctx)
    ctx.save_dataset("alone", rows(), manifest={}, parents=[], rehearsal=False)
    with pytest.raises(InvalidInput, match="dataset:alone@1 does not say which contexts"):
        run(config(template, dataset="dataset:alone@1"), ctx)
    foreign = [rows()[0].model_copy(update={"context_sha256": "f" * 64})]
    ctx.save_dataset("foreign", foreign, manifest={}, parents=["dataset:prompts@1"], rehearsal=False)
    with pytest.raises(InvalidInput, match=r"row 0 of dataset:foreign@1 \(run_0, .*\) cannot be rendered"):
        run(config(template, dataset="dataset:foreign@1"), ctx)
