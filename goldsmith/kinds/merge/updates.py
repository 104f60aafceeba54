"""LoRA files as the updates that they stand for: read, added up, cut to a rank, compared. All sums are in float64."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from goldsmith.errors import InvalidInput

WEIGHT = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")

# What a parent's configuration may say without its update being another than B·A·scaling.
FREE = {"task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "r"}
FREE |= {
    "target_modules",
    "exclude_modules",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "layers_to_transform",
    "layers_pattern",
}
FREE |= {"rank_pattern", "alpha_pattern", "runtime_config", "init_lora_weights"}
PLAIN_INIT = (True, False, "gaussian", "orthogonal", "eva")  # others change the base's weights, too

CANCELLED = 1e-6  # where parents nearly cancel each other, the error is relative to this share of their sizes


@dataclass(frozen=True)
class Update:
    """`b @ a`: what one module's weight gains; the scaling is in `b`."""

    a: Tensor
    b: Tensor


@dataclass(frozen=True)
class Adapter:
    """An adapter's files as updates by the module's name in the base model."""

    ref: str
    config: dict[str, Any]
    updates: dict[str, Update]


def read(ref: str, folder: Path) -> Adapter:
    """Raise `InvalidInput` for an adapter whose update is not B·A·scaling for each module."""
    try:
        config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "adapter_model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise _refused(ref, f"holds no LoRA weights that can be read ({error})") from None
    _check(ref, config)
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        match = WEIGHT.fullmatch(key)
        if match is None or tensor.ndim != 2:
            raise _refused(ref, f"holds {key}, which is no part of a plain LoRA update")
        if not torch.isfinite(tensor).all():
            raise _refused(ref, f"holds numbers that are not finite in {key}")
        parts.setdefault(match[1], {})[match[2]] = tensor.to(torch.float64)
    updates = {}
    for module, part in parts.items():
        if part.keys() != {"A", "B"} or part["A"].shape[0] != part["B"].shape[1]:
            raise _refused(ref, f"holds only a half of the update of {module}, or halves of different ranks")
        updates[module] = Update(part["A"], part["B"] * _scaling(config, module, part["A"].shape[0]))
    return Adapter(ref, config, updates)


def _check(ref: str, config: dict[str, Any]) -> None:
    if config.get("peft_type") != "LORA":
        raise _refused(ref, f"is {config.get('peft_type')!r}; only LORA adapters can be added up")
    plain: dict[str, Any] = LoraConfig().to_dict()  # type: ignore[no-untyped-call]
    for name, value in config.items():
        if name not in FREE and value and value != plain.get(name):
            raise _refused(
                ref, f"was made with {name}: {json.dumps(value)[:100]}; such an update is more than a product of two"
            )
    if config.get("init_lora_weights", True) not in PLAIN_INIT:
        raise _refused(
            ref, f"was made with init_lora_weights: {config['init_lora_weights']!r}, which changes the base model, too"
        )


def _refused(ref: str, why: str) -> InvalidInput:
    return InvalidInput(f"adapters: {ref} {why}", errors=[{"field": "adapters", "value": ref, "message": why}])


def _scaling(config: dict[str, Any], module: str, rank: int) -> float:
    alphas = config.get("alpha_pattern") or {}
    alpha = alphas.get(get_pattern_key(list(alphas), module), config["lora_alpha"])
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def modules_of(adapters: Iterable[Adapter]) -> list[str]:
    """Raise `InvalidInput` when a module has another shape in one of them than in another."""
    shapes: dict[str, tuple[str, tuple[int, int]]] = {}
    for adapter in adapters:
        for module, update in adapter.updates.items():
            shape = (update.b.shape[0], update.a.shape[1])
            ref, first = shapes.setdefault(module, (adapter.ref, shape))
            if shape != first:
                raise _refused(adapter.ref, f"changes {module} as {shape}, {ref} as {first}: they are on different models")
    return sorted(shapes)


def added(adapters: Sequence[Adapter], weights: Sequence[float], module: str) -> Update:
    """The exact weighted sum: ranks side by side. Who does not change the module adds nothing."""
    found = [(weight, one.updates[module]) for one, weight in zip(adapters, weights, strict=True) if module in one.updates]
    return Update(torch.cat([one.a for _, one in found]), torch.cat([weight * one.b for weight, one in found], dim=1))


def cut(update: Update, rank: int) -> Update:
    """The nearest update of at most `rank` (Eckart and Young), found without ever writing the whole product down."""
    outer, left = torch.linalg.qr(update.b)
    inner, right = torch.linalg.qr(update.a.T)
    u, sizes, v = torch.linalg.svd(left @ right.T)
    root = sizes[:rank].sqrt()
    return Update(root[:, None] * (v[:rank] @ inner.T), (outer @ u[:, :rank]) * root)


def padded(update: Update, rank: int) -> Update:
    """With zeros up to `rank`: every module of a file has one, which all servers read alike."""
    more = rank - update.a.shape[0]
    return Update(torch.nn.functional.pad(update.a, (0, 0, 0, more)), torch.nn.functional.pad(update.b, (0, more)))


def relative_error(merged: Update, adapters: Sequence[Adapter], weights: Sequence[float], module: str) -> float:
    """How far `merged` is from the weighted sum of the parents' updates, each written down in full."""
    parts = [
        weight * (one.updates[module].b @ one.updates[module].a)
        for one, weight in zip(adapters, weights, strict=True)
        if module in one.updates
    ]
    wanted = torch.stack(parts).sum(dim=0) if len(parts) > 1 else parts[0]
    difference = float(torch.linalg.norm(merged.b @ merged.a - wanted))
    size = max(float(torch.linalg.norm(wanted)), CANCELLED * sum(float(torch.linalg.norm(part)) for part in parts))
    return difference / size if size else difference
