"""Adapters are added up as their updates are: the merged one answers as the weighted sum of its parents would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from goldsmith.adapters import AdapterVersion, NewAdapter
from goldsmith.errors import GoldsmithError, InvalidInput, ReferenceNotUsable
from goldsmith.kinds.merge import updates
from goldsmith.kinds.merge.run import run
from goldsmith.kinds.merge.schema import MergeConfig
from goldsmith.student import load_student
from tests.fakes import FakeContext
from tests.tiny import make_model

TOKENS = torch.tensor([[5, 17, 33, 120, 64, 7, 250]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("base"))


@pytest.fixture
def ctx(tmp_path: Path) -> FakeContext:
    return FakeContext(tmp_path, kind="merge")


Make = Callable[..., AdapterVersion]


@pytest.fixture
def make(base: Path, ctx: FakeContext, tmp_path: Path) -> Make:
    """An adapter whose random weights change the model, as PEFT saves it."""
    student = load_student(str(base), cache=tmp_path)

    def adapter(name: str, seed: int, hashes: dict[str, str] | None = None, **config: Any) -> AdapterVersion:
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_pretrained(base)
        given = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False} | config
        wrapped: Any = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **given))
        wrapped.peft_config["default"].base_model_name_or_path = str(base)
        folder = tmp_path / f"made-{name}"
        wrapped.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink()
        known = {each: getattr(student, each) for each in ("base_sha256", "tokenizer_sha256", "template_sha256")}
        new = NewAdapter(name, folder, str(base), **(known | (hashes or {})), dataset=f"dataset:{name}@1", method={})
        return ctx.register_adapter(new)

    return adapter


def logits(base: Path, *weighted: tuple[AdapterVersion, float]) -> torch.Tensor:
    """Of the base model with the updates added to its weights by hand, in float64."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    for adapter, weight in weighted:
        config = json.loads((adapter.folder / "adapter_config.json").read_text())
        tensors = load_file(adapter.folder / "adapter_model.safetensors")
        for key in [key for key in tensors if "lora_A" in key]:
            module = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            a, b = tensors[key].double(), tensors[key.replace("lora_A", "lora_B")].double()
            rank = a.shape[0]
            alpha = config["alpha_pattern"].get(module.rpartition(".")[2], config["lora_alpha"])
            scaling = alpha / (rank**0.5 if config["use_rslora"] else rank)
            model.get_submodule(module).weight.data += weight * scaling * (b @ a)
    with torch.no_grad():
        return model(TOKENS).logits


def answered(base: Path, adapter: AdapterVersion, cache: Path) -> torch.Tensor:
    """As every worker and server loads it."""
    student = load_student(str(base), adapter, cache=cache)
    with torch.no_grad():
        found: torch.Tensor = student.model(TOKENS).logits.double()
    return found


def config(*adapters: AdapterVersion, **more: Any) -> MergeConfig:
    return MergeConfig(adapters=[one.ref for one in adapters], name="both", **more)


def test_cat_answers_as_the_weighted_sum_of_its_parents(base: Path, make: Make, ctx: FakeContext, tmp_path: Path) -> None:
    one, two = make("one", 1), make("two", 2)

    result = run(config(one, two, weights=[0.7, -0.4]), ctx)

    assert (result.rank, result.modules, result.adapter) == (8, 4, "adapter:both@1")
    assert result.max_relative_error < 1e-6
    got = answered(base, ctx.adapter(result.adapter), tmp_path)
    assert torch.allclose(got, logits(base, (one, 0.7), (two, -0.4)), atol=1e-4)
    assert not torch.allclose(got, logits(base, (one, 0.5), (two, 0.5)), atol=1e-2)
    assert not torch.allclose(got, logits(base), atol=1e-2)


def test_parents_of_other_ranks_modules_and_scalings_are_added_up_the_same(
    base: Path, make: Make, ctx: FakeContext, tmp_path: Path
) -> None:
    one = make("one", 1, r=2, lora_alpha=2, target_modules=["q_proj", "down_proj"], layers_to_transform=[1])
    two = make("two", 2, r=6, use_rslora=True, target_modules=["v_proj", "q_proj"])
    three = make("three", 3, rank_pattern={"up_proj": 3}, alpha_pattern={"up_proj": 12}, target_modules=["up_proj", "o_proj"])

    result = run(config(one, two, three), ctx)

    assert (result.rank, result.modules) == (8, 9)
    assert result.weights == [1 / 3] * 3
    want = logits(base, (one, 1 / 3), (two, 1 / 3), (three, 1 / 3))
    assert torch.allclose(answered(base, ctx.adapter(result.adapter), tmp_path), want, atol=1e-4)


def test_what_is_registered_names_its_parents_and_its_numbers(make: Make, ctx: FakeContext) -> None:
    one, two = make("one", 1), make("two", 2)
    result = run(config(one, two, weights=[0.2, 0.8], alias="challenger"), ctx)

    version = ctx.adapter("adapter:both@challenger")
    assert version.parents == ["adapter:one@1", "adapter:two@1"]
    assert version.dataset == "dataset:two@1"  # the heavier one's; lineage has both
    assert (version.method["merge"], version.method["weights"], version.method["lora_r"]) == ("cat", [0.2, 0.8], 8)
    assert version.metrics["max_relative_error"] == result.max_relative_error
    assert sorted(version.files) == ["adapter_config.json", "adapter_model.safetensors", "merge.json"]
    report = json.loads(ctx.artifact(result.report).read_text())
    assert max(report["relative_errors"].values()) == result.max_relative_error
    assert len(report["relative_errors"]) == 4


def test_svd_is_the_nearest_of_its_rank_and_says_how_near(base: Path, make: Make, ctx: FakeContext, tmp_path: Path) -> None:
    one, two = make("one", 1), make("two", 2)
    whole = run(config(one, two, method="svd", rank=8), ctx)
    half = run(config(one, two, method="svd", rank=4), ctx)

    assert whole.max_relative_error < 1e-6
    assert torch.allclose(answered(base, ctx.adapter(whole.adapter), tmp_path), logits(base, (one, 0.5), (two, 0.5)), atol=1e-4)
    assert half.rank == 4
    assert 0.05 < half.mean_relative_error <= half.max_relative_error < 1
    adapters = [updates.read(parent.ref, parent.folder) for parent in (one, two)]
    errors = json.loads(ctx.artifact(half.report).read_text())["relative_errors"]
    for module, error in errors.items():
        full = sum(0.5 * (adapter.updates[module].b @ adapter.updates[module].a) for adapter in adapters)
        sizes = torch.linalg.svdvals(full)
        assert error == pytest.approx(float(sizes[4:].norm() / sizes.norm()), rel=1e-4)


def test_an_svd_beyond_the_allowed_error_registers_nothing(make: Make, ctx: FakeContext) -> None:
    one, two = make("one", 1), make("two", 2)
    with pytest.raises(GoldsmithError, match=r"away from the weighted sum .*0\.01 is allowed .*take a higher rank, or cat"):
        run(config(one, two, method="svd", rank=1, max_relative_error=0.01), ctx)
    assert "both" not in ctx.adapters


def test_a_merge_that_is_not_the_sum_fails(make: Make, ctx: FakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """As PEFT's `linear` would make it: factors are added, not their products."""

    def linear(adapters: Any, weights: Any, module: str) -> updates.Update:
        found = [one.updates[module] for one in adapters]
        return updates.Update(
            sum(weight**0.5 * one.a for one, weight in zip(found, weights, strict=True)),
            sum(weight**0.5 * one.b for one, weight in zip(found, weights, strict=True)),
        )

    monkeypatch.setattr(updates, "added", linear)
    with pytest.raises(GoldsmithError, match="away from the weighted sum of its parents'; at most 1e-05 is allowed"):
        run(config(make("one", 1), make("two", 2)), ctx)
    assert "both" not in ctx.adapters


def test_what_cancels_out_is_nothing(base: Path, make: Make, ctx: FakeContext, tmp_path: Path) -> None:
    one, two = make("one", 1), make("two", 1)
    result = run(config(one, two, weights=[1.0, -1.0]), ctx)
    assert torch.allclose(answered(base, ctx.adapter(result.adapter), tmp_path), logits(base), atol=1e-4)


@pytest.mark.parametrize("what", ["base", "tokenizer", "template"])
def test_parents_on_something_else_are_refused(make: Make, ctx: FakeContext, what: str) -> None:
    one, other = make("one", 1), make("two", 2, hashes={f"{what}_sha256": "f" * 64})
    expected = getattr(one, f"{what}_sha256")
    with pytest.raises(InvalidInput, match=f"another {what} than adapter:one@1: expected sha256 {expected}.*found {'f' * 64}"):
        run(config(one, other), ctx)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "lora_only"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"lora_bias": True}, "lora_bias"),
    ],
)
def test_updates_that_are_no_product_of_two_are_refused(make: Make, ctx: FakeContext, more: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=f"adapter:two@1 was made with {says}"):
        run(config(make("one", 1), make("two", 2, **more)), ctx)


def test_a_flipped_byte_of_a_parent_is_refused(make: Make, ctx: FakeContext) -> None:
    one, two = make("one", 1), make("two", 2)
    weights = two.folder / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ReferenceNotUsable, match=r"adapter:two@1: its file adapter_model\.safetensors changed"):
        run(config(one, two), ctx)


def test_weights_that_are_not_finite_are_refused(make: Make, ctx: FakeContext, tmp_path: Path) -> None:
    folder = make("one", 1).folder
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors[next(iter(tensors))][0, 0] = float("nan")
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(InvalidInput, match="adapter:one@1 holds numbers that are not finite"):
        updates.read("adapter:one@1", folder)


def test_a_whole_model_is_refused_as_what_it_is(base: Path, make: Make, ctx: FakeContext) -> None:
    lora = make("one", 1)
    known = {each: getattr(lora, each) for each in ("base_sha256", "tokenizer_sha256", "template_sha256")}
    new = NewAdapter("whole", base, str(base), **known, dataset="dataset:gold@1", method={"method": "full"})
    whole = ctx.register_adapter(new)
    for parents in ((lora, whole), (whole, lora)):
        with pytest.raises(
            InvalidInput, match=r"adapters: adapter:whole@1 was trained with method full: it is a whole model"
        ) as no:
            run(config(*parents), ctx)
        assert no.value.errors[0]["value"] == "adapter:whole@1"
        assert str(ctx.scratch.parent) not in no.value.detail


def test_the_same_adapter_twice_is_refused(make: Make, ctx: FakeContext) -> None:
    one = make("one", 1)
    with pytest.raises(InvalidInput, match="stands there twice"):
        run(config(one, one), ctx)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"adapters": ["adapter:one@1"]}, "adapters"),
        ({"weights": [1.0]}, "weights: 1 for 2 adapters"),
        ({"weights": [0.0, 0.0]}, "weights: all are 0"),
        ({"weights": [1.0, float("nan")]}, "weights"),
        ({"method": "svd"}, "rank: svd needs one"),
        ({"rank": 8}, "rank: only svd has one"),
        ({"method": "linear"}, "cat"),
    ],
)
def test_wrong_options_are_refused_by_name(more: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        MergeConfig.model_validate({"adapters": ["adapter:one@1", "adapter:two@1"], "name": "both", **more})
