"""The trained weights out of the student: the base model's, the adapter's, and both in one."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer

from goldsmith.errors import InvalidInput
from goldsmith.export.gguf_file import LoraPair


def base_weights(model: Any) -> dict[str, torch.Tensor]:
    """Without the adapter, under the names that the base model alone has. The tensors are the model's own."""
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    return {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in inner.state_dict().items()
        if ".lora_" not in name and ".modules_to_save." not in name
    }


def check_adapter(model: Any) -> None:
    """Raise `InvalidInput` for what is a whole model, trained by method `full`."""
    if not isinstance(model, PeftModel):
        raise InvalidInput(
            "formats: peft cannot be written: every weight was trained, so there is no adapter; ask for safetensors",
            errors=[{"field": "formats", "value": "peft", "message": "it is a whole model"}],
        )


def check_lora(model: Any) -> None:
    """Raise `InvalidInput` for an adapter that is more than the product of two small matrices for each weight."""
    config: Any = model.peft_config[model.active_adapter] if isinstance(model, PeftModel) else None
    why = None
    if config is None:
        why = "it is a whole model"
    elif config.peft_type != "LORA":
        why = f"it is of PEFT's type {config.peft_type}"
    elif config.use_dora:
        why = "it is a DoRA, whose norms llama.cpp cannot add"
    elif config.modules_to_save or config.bias != "none" or getattr(config, "trainable_token_indices", None):
        why = "it holds whole modules, tokens or biases beside LoRA's matrices"
    if why:
        raise InvalidInput(
            f"formats: gguf-lora cannot be written of this adapter: {why}; ask for gguf-merged",
            errors=[{"field": "formats", "value": "gguf-lora", "message": why}],
        )


def lora_pairs(model: Any) -> tuple[dict[str, LoraPair], float]:
    """The adapter's matrices by the weight that they change, and the alpha by which llama.cpp scales: alpha / rank.

    A scale that differs from that (rank-stabilised, or by module) is moved into the second matrix.
    """
    active = model.active_adapter
    alpha = float(model.peft_config[active].lora_alpha)
    pairs = {}
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer) and active in module.lora_A:
            layer: Any = module
            scaled = layer.scaling[active] * layer.r[active] / alpha
            a, b = layer.lora_A[active].weight.detach(), layer.lora_B[active].weight.detach()
            pairs[f"{name}.weight"] = LoraPair(a, b if scaled == 1 else b * scaled)
    return pairs, alpha


def merge(model: Any) -> Any:
    """The model with the adapter in its weights. The student's model is used up: nothing else can be asked of it then.

    Raises `ValueError` when a merged weight is not finite.
    """
    if not isinstance(model, PeftModel):
        return model
    peft: Any = model
    return peft.merge_and_unload(safe_merge=True, adapter_names=[peft.active_adapter])
