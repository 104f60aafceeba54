"""The estimate of a training's memory, held to what torch, PEFT and bitsandbytes really allocate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from goldsmith.footprint import Plan, Shape, adapter_parameters, block_bytes, footprint, nf4_bytes, savings

SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TINY: dict[str, Any] = {
    "vocab_size": 400,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
QWEN3_4B = {
    "model_type": "qwen3",
    "vocab_size": 151936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
}
LLAMA_8B = {
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "tie_word_embeddings": False,
}
SMOLLM2 = {
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}
QWEN25_7B = {
    "model_type": "qwen2",
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
}


def shape(config: PretrainedConfig | dict[str, Any]) -> Shape:
    found = Shape.of(config if isinstance(config, dict) else config.to_dict())
    assert found is not None
    return found


def made(config: PretrainedConfig) -> Any:
    kind: Any = Qwen3ForCausalLM if config.model_type == "qwen3" else LlamaForCausalLM
    return kind(config)


def plan(**more: Any) -> Plan:
    values: dict[str, Any] = {
        "method": "lora",
        "load_in_4bit": False,
        "batch": 2,
        "max_length": 128,
        "checkpointing": "none",
        "targets": SEVEN,
    }
    return Plan(**(values | more))


@pytest.mark.parametrize(
    ("config", "parameters"),
    [(QWEN3_4B, 4_022_468_096), (LLAMA_8B, 8_030_261_248), (SMOLLM2, 134_515_008), (QWEN25_7B, 7_615_616_512)],
)
def test_published_models_have_their_published_size(config: dict[str, Any], parameters: int) -> None:
    assert shape(config).parameters == parameters


@pytest.mark.parametrize(
    ("config", "r", "parameters"), [(SMOLLM2, 16, 4_884_480), (LLAMA_8B, 16, 41_943_040), (QWEN3_4B, 32, 66_060_288)]
)
def test_known_adapters_have_their_known_size(config: dict[str, Any], r: int, parameters: int) -> None:
    assert adapter_parameters(shape(config), plan(lora_r=r)) == parameters


@pytest.mark.parametrize(
    ("model", "config"),
    [
        (LlamaForCausalLM, LlamaConfig(**TINY)),
        (LlamaForCausalLM, LlamaConfig(**TINY, attention_bias=True, mlp_bias=True, tie_word_embeddings=True)),
        (MistralForCausalLM, MistralConfig(**TINY, head_dim=24)),
        (Qwen2ForCausalLM, Qwen2Config(**TINY)),
        (Qwen3ForCausalLM, Qwen3Config(**TINY, head_dim=32, tie_word_embeddings=True)),
        (Qwen3ForCausalLM, Qwen3Config(**TINY, head_dim=32, attention_bias=True, tie_word_embeddings=False)),
    ],
)
def test_every_parameter_is_counted(model: type[PreTrainedModel], config: PretrainedConfig) -> None:
    assert shape(config).parameters == sum(one.numel() for one in model(config).parameters())


@pytest.mark.parametrize("method", ["lora", "dora", "full"])
@pytest.mark.parametrize("layers", [None, [0, 2]])
def test_weights_adapters_gradients_and_optimizer_are_exact(method: Any, layers: list[int] | None) -> None:
    config = Qwen3Config(**TINY, head_dim=32)
    model: Any = made(config)
    targets = SEVEN if layers is None else ("q_proj", "down_proj")
    asked = plan(
        method=method,
        targets=targets,
        lora_r=4,
        adapted_layers=layers and len(layers),
        weight_bytes=4,
        compute_bytes=4,
        device="cpu",
    )
    weights = sum(one.nbytes for one in model.parameters())
    if method != "full":
        model = get_peft_model(
            model,
            LoraConfig(
                task_type="CAUSAL_LM",
                r=4,
                target_modules=list(targets),
                use_dora=method == "dora",
                layers_to_transform=layers,
            ),
        )
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    model(input_ids=torch.arange(8)[None], labels=torch.arange(8)[None]).loss.backward()
    optimizer.step()

    found = footprint(shape(config), asked)

    assert found.weights == weights
    assert found.adapters == (0 if method == "full" else sum(one.nbytes for one in trained))
    assert found.gradients == sum(one.grad.nbytes for one in trained if one.grad is not None)
    states = [value for state in optimizer.state.values() for name, value in state.items() if name != "step"]
    assert found.optimizer == sum(value.nbytes for value in states)
    assert found.context == 0


def test_quantised_weights_are_exact() -> None:
    from bitsandbytes.functional import quantize_4bit

    config = Qwen3Config(**TINY, head_dim=32)
    total = 0
    for name, weight in made(config).named_parameters():
        if not name.endswith("_proj.weight"):
            continue
        packed, state = quantize_4bit(weight.detach(), quant_type="nf4", compress_statistics=True)
        parts = (packed, state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code)
        total += sum(part.nbytes for part in parts)
    assert nf4_bytes(shape(config)) == total


def saved_bytes(config: PretrainedConfig, weights: torch.dtype, adapters: torch.dtype, method: str, dropout: float) -> int:
    """What torch keeps of one forward pass through the blocks for the backward pass, weights aside."""
    model = made(config).to(weights)
    backbone = model.model
    if method != "full":
        lora = LoraConfig(r=16, lora_dropout=dropout, target_modules=list(SEVEN), use_dora=method == "dora")
        model = get_peft_model(model, lora)
        for one in model.parameters():
            if one.requires_grad:
                one.data = one.data.to(adapters)
        model.enable_input_require_grads()
    model.train()
    own = {one.untyped_storage().data_ptr() for one in model.parameters()}
    seen: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            seen.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    ids = torch.randint(0, config.vocab_size, (2, 128))
    mask = torch.ones_like(ids)
    mask[0, :7] = 0
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=(weights, adapters) != (torch.float32, torch.float32)),
    ):
        backbone(input_ids=ids, attention_mask=mask, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in seen.values())


@pytest.mark.parametrize("config", [Qwen3Config(**TINY, head_dim=32), LlamaConfig(**TINY)], ids=["qwen3", "llama"])
@pytest.mark.parametrize(
    ("weights", "adapters", "method", "dropout"),
    [
        (torch.float32, torch.float32, "lora", 0.0),
        (torch.bfloat16, torch.float32, "lora", 0.0),
        (torch.bfloat16, torch.bfloat16, "lora", 0.0),
        (torch.float32, torch.bfloat16, "lora", 0.0),
        (torch.bfloat16, torch.float32, "lora", 0.1),
        (torch.bfloat16, torch.float32, "dora", 0.0),
        (torch.float32, torch.float32, "full", 0.0),
    ],
)
def test_a_block_saves_what_is_said(
    config: PretrainedConfig, weights: torch.dtype, adapters: torch.dtype, method: Any, dropout: float
) -> None:
    found = saved_bytes(config, weights, adapters, method, dropout)
    asked = plan(
        method=method,
        dropout=dropout > 0,
        weight_bytes=weights.itemsize,
        adapter_bytes=adapters.itemsize,
        compute_bytes=4 if weights == adapters == torch.float32 else 2,
        device="cpu",
    )
    assert config.num_hidden_layers * block_bytes(shape(config), asked) == pytest.approx(found, rel=0.06)


def test_qlora_takes_about_what_others_state() -> None:
    """Unsloth states 6 GB as the least for an 8B: one short row, offloaded. A 4B at the usual length is said to take 4-6 GB."""
    least = plan(load_in_4bit=True, batch=1, max_length=512, adapter_bytes=2, checkpointing="offloaded")
    assert 6e9 < footprint(shape(LLAMA_8B), least).total < 9e9
    usual = replace(least, batch=2, max_length=3072, lora_r=32)
    assert 4e9 < footprint(shape(QWEN3_4B), usual).total < 7.5e9


def test_checkpointing_shorter_rows_and_fewer_bits_take_less() -> None:
    one = plan(batch=2, max_length=3072, checkpointing="none", lora_r=32)
    whole = footprint(shape(QWEN3_4B), one)
    assert footprint(shape(QWEN3_4B), replace(one, checkpointing="layers")).activations < whole.activations / 10
    assert footprint(shape(QWEN3_4B), replace(one, max_length=1536)).activations == pytest.approx(
        whole.activations / 2, rel=0.01
    )
    assert footprint(shape(QWEN3_4B), replace(one, load_in_4bit=True)).weights < whole.weights / 2
    assert footprint(shape(QWEN3_4B), replace(one, pairs=True)).activations == pytest.approx(2 * whole.activations, rel=0.01)


def test_advice_is_the_largest_saving_first_and_true() -> None:
    asked = plan(batch=2, max_length=3072, checkpointing="none", lora_r=32)
    now = footprint(shape(QWEN3_4B), asked).total
    found = savings(shape(QWEN3_4B), asked)
    assert [words for words, _ in found] == [
        "gradient_checkpointing: true",
        "per_device_train_batch_size: 1",
        "max_length: 2048",
        "method: qlora",
        "lora_r: 16",
    ]
    assert dict(found)["max_length: 2048"] == now - footprint(shape(QWEN3_4B), replace(asked, max_length=2048)).total
    least = plan(batch=1, max_length=300, checkpointing="layers", load_in_4bit=True, lora_r=8)
    assert [words for words, _ in savings(shape(QWEN3_4B), least)] == ["max_length: 150", "lora_r: 4"]
    assert savings(shape(QWEN3_4B), replace(least, method="full", load_in_4bit=False))[0][0] == "method: lora"


@pytest.mark.parametrize("config", [{}, {"model_type": "gpt2"}, {"model_type": "qwen3"}, {**QWEN3_4B, "hidden_size": "x"}])
def test_of_an_unknown_model_nothing_is_made_up(config: dict[str, Any]) -> None:
    assert Shape.of(config) is None
