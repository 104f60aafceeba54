"""Read the parents, add them up module by module, save, compare what was saved with the sum, register."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors.torch import save_file

from goldsmith.adapters import AdapterVersion, NewAdapter
from goldsmith.context import JobContext
from goldsmith.errors import GoldsmithError, InvalidInput
from goldsmith.kinds.merge import updates
from goldsmith.kinds.merge.schema import EXACT, MergeConfig, MergeResult
from goldsmith.kinds.merge.updates import Adapter, Update


def run(config: MergeConfig, ctx: JobContext) -> MergeResult:
    parents = [ctx.adapter(ref) for ref in config.adapters]
    _fit_together(parents)
    weights = config.weights or [1 / len(parents)] * len(parents)

    ctx.progress(1, "reading the adapters")
    for parent in parents:
        parent.verify()
    adapters = [updates.read(parent.ref, parent.folder) for parent in parents]
    modules = updates.modules_of(adapters)
    merged = _merge(adapters, weights, modules, config, ctx)
    rank = max(one.a.shape[0] for one in merged.values())

    folder = ctx.scratch / "adapter"
    _save(merged, rank, adapters, parents[0], folder)
    saved = updates.read(f"job:{ctx.job_id}", folder)
    errors = {}
    for number, module in enumerate(modules):
        ctx.progress(50 + 45 * number / len(modules), f"comparing {module} with its parents")
        errors[module] = updates.relative_error(saved.updates[module], adapters, weights, module)
    _near_enough(errors, config)

    numbers = {
        "rank": rank,
        "modules": len(modules),
        "max_relative_error": max(errors.values()),
        "mean_relative_error": sum(errors.values()) / len(errors),
    }
    return _register(config, parents, weights, numbers, errors, folder, ctx)


def _fit_together(parents: Sequence[AdapterVersion]) -> None:
    first = parents[0]
    if len({parent.ref for parent in parents}) < len(parents):
        raise _wrong("the same adapter stands there twice; give it one weight", [parent.ref for parent in parents])
    for parent in parents:
        if "adapter_config.json" not in parent.files:
            raise _wrong(
                f"{parent.ref} was trained with method {parent.method.get('method', 'full')}: it is a whole model, and merge adds"
                " LoRA updates; train it with method lora or qlora",
                parent.ref,
            )
    for parent in parents[1:]:
        for what in ("base", "tokenizer", "template"):
            expected, actual = getattr(first, f"{what}_sha256"), getattr(parent, f"{what}_sha256")
            if expected != actual:
                raise _wrong(
                    f"{parent.ref} was trained on another {what} than {first.ref}: expected sha256 {expected}"
                    f" ({first.base_model}), found {actual} ({parent.base_model})",
                    parent.ref,
                )


def _wrong(why: str, value: object) -> InvalidInput:
    return InvalidInput(f"adapters: {why}", errors=[{"field": "adapters", "value": value, "message": why}])


def _merge(
    adapters: Sequence[Adapter], weights: Sequence[float], modules: Sequence[str], config: MergeConfig, ctx: JobContext
) -> dict[str, Update]:
    merged = {}
    for number, module in enumerate(modules):
        ctx.progress(5 + 45 * number / len(modules), f"adding up {module}")
        one = updates.added(adapters, weights, module)
        merged[module] = one if config.rank is None else updates.cut(one, config.rank)
    return merged


def _save(merged: dict[str, Update], rank: int, adapters: Sequence[Adapter], parent: AdapterVersion, folder: Path) -> None:
    """As PEFT saves it, in float32; alpha is the rank, so that the scaling is 1."""
    tensors = {}
    for module, update in merged.items():
        one = updates.padded(update, rank)
        tensors[f"base_model.model.{module}.lora_A.weight"] = one.a.to(torch.float32).contiguous()
        tensors[f"base_model.model.{module}.lora_B.weight"] = one.b.to(torch.float32).contiguous()
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    peft = LoraConfig(
        task_type=adapters[0].config.get("task_type"),
        r=rank,
        lora_alpha=rank,
        **_targets(adapters, list(merged)),
        inference_mode=True,
    )
    peft.base_model_name_or_path = parent.base_model
    peft.save_pretrained(str(folder))


def _targets(adapters: Sequence[Adapter], modules: list[str]) -> dict[str, Any]:
    """As the parents say it, where they all say the same; else every module by its full name."""
    names = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")
    said = [{name: _sorted(one.config.get(name)) for name in names} for one in adapters]
    same = all(one == said[0] for one in said) and all(one.updates.keys() == set(modules) for one in adapters)
    return said[0] if same else {"target_modules": modules}


def _sorted(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


def _near_enough(errors: dict[str, float], config: MergeConfig) -> None:
    bound = config.max_relative_error or (EXACT if config.method == "cat" else None)
    worst = max(errors, key=lambda module: errors[module])
    if bound is not None and not errors[worst] <= bound:
        raise GoldsmithError(
            f"the merged update of {worst} is {errors[worst]:.3g} away from the weighted sum of its parents'; at most {bound:g}"
            f" is allowed (max_relative_error){'; take a higher rank, or cat' if config.method == 'svd' else ''}"
        )


def _register(
    config: MergeConfig,
    parents: Sequence[AdapterVersion],
    weights: Sequence[float],
    numbers: dict[str, Any],
    errors: dict[str, float],
    folder: Path,
    ctx: JobContext,
) -> MergeResult:
    first = parents[0]
    heaviest = max(zip(weights, parents, strict=True), key=lambda pair: abs(pair[0]))[1]
    method = {
        "merge": config.method,
        "parents": [parent.ref for parent in parents],
        "weights": list(weights),
        "lora_r": numbers["rank"],
        "lora_alpha": numbers["rank"],
    }
    told = {
        "method": method,
        "result": numbers,
        "relative_errors": errors,
        "versions": {name: version(name) for name in ("torch", "peft", "safetensors")},
    }
    (folder / "merge.json").write_text(json.dumps(told, indent=2), encoding="utf-8")
    report = ctx.save_artifact("merge.json", folder / "merge.json", "application/json")
    (folder / "README.md").unlink(missing_ok=True)
    ctx.progress(98, "registering the adapter")
    adapter = ctx.register_adapter(
        NewAdapter(
            name=config.name,
            folder=folder,
            base_model=first.base_model,
            base_revision=first.base_revision,
            base_files=first.base_files,
            base_sha256=first.base_sha256,
            tokenizer_sha256=first.tokenizer_sha256,
            template_sha256=first.template_sha256,
            dataset=heaviest.dataset,
            parents=tuple(parent.ref for parent in parents),
            method=method,
            metrics={name: float(value) for name, value in numbers.items()},
            rehearsal=any(parent.rehearsal for parent in parents),
            alias=config.alias,
        )
    )
    return MergeResult(
        adapter=adapter.ref,
        parents=[parent.ref for parent in parents],
        weights=list(weights),
        method=config.method,
        base_model=first.base_model,
        report=report,
        rehearsal=adapter.rehearsal,
        label="REHEARSAL" if adapter.rehearsal else "",
        **numbers,
    )
