"""How much memory a training needs, from the base model's config alone: nothing is loaded and no device is asked.

Weights, adapters, gradients and optimizer are counted exactly. Activations and logits are counted tensor by tensor as the
modules of transformers, PEFT and TRL save them for the backward pass (`block_bytes`); tests hold that to what torch
really saves. What no config tells (the CUDA context, cuBLAS, fragmentation) is an allowance: `CONTEXT` and `SLACK`.

Sources: parameters per map, Vaswani et al. 2017 with grouped keys (Ainslie et al. 2023); adapters, Hu et al. 2021, r * (in + out)
for each map, and one magnitude per output for DoRA (Liu et al. 2024); NF4 with double quantisation, Dettmers et al. 2023: half a
byte a weight, one byte for each block of 64 and four bytes for each 256 blocks; AdamW, two states a trained weight; activations
with and without checkpointing, Chen et al. 2016 and Korthikanti et al. 2022, counted anew for SwiGLU, RMSNorm and fused
attention.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

DENSE = ("llama", "mistral", "qwen2", "qwen3")
"""Decoders whose config says how large they are; of another `model_type` nothing is estimated."""

CONTEXT = 800 * 2**20  # CUDA's context is 450-550 MB on Ampere to Hopper, cuBLAS and bitsandbytes take the rest; an allowance
SLACK = 0.1  # of activations and logits: the caching allocator keeps blocks that are free but of another size; a guess
LOGITS_AT_ONCE = 1 << 26
"""Training computes the head for so many numbers at once: 256 MB in float32."""
LOGIT_BYTES = 16  # of one of them at the peak: itself in 16 bits, its softmax, and the gradients of both in float32
LIMITS = (512, 1024, 2048, 3072, 4096, 8192)


@dataclass(frozen=True)
class Shape:
    """A dense decoder of Llama's kind."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    qkv_bias: bool
    o_bias: bool
    mlp_bias: bool
    head_norms: bool

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape | None:
        """Of a `config.json`; None when its model_type is none of `DENSE` or a size is missing."""
        kind = config.get("model_type")
        try:
            hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
            return (
                cls(
                    hidden=hidden,
                    intermediate=int(config["intermediate_size"]),
                    layers=int(config["num_hidden_layers"]),
                    heads=heads,
                    kv_heads=int(config.get("num_key_value_heads") or heads),
                    head_dim=int(config.get("head_dim") or hidden // heads),
                    vocab=int(config["vocab_size"]),
                    tied=bool(config.get("tie_word_embeddings", False)),
                    qkv_bias=kind == "qwen2" or bool(config.get("attention_bias", False)),
                    o_bias=kind != "qwen2" and bool(config.get("attention_bias", False)),
                    mlp_bias=bool(config.get("mlp_bias", False)),
                    head_norms=kind == "qwen3",
                )
                if kind in DENSE
                else None
            )
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            return None

    @property
    def maps(self) -> dict[str, tuple[int, int]]:
        """The linear maps of one block: inputs and outputs."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, q),
            "k_proj": (self.hidden, kv),
            "v_proj": (self.hidden, kv),
            "o_proj": (q, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_weights(self) -> int:
        """Of the maps of all blocks: what 4-bit loading quantises."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.maps.values())

    @property
    def other_weights(self) -> int:
        """Embeddings, head, norms and biases."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        biases = (
            self.qkv_bias * (q + 2 * kv) + self.o_bias * self.hidden + self.mlp_bias * (2 * self.intermediate + self.hidden)
        )
        block = 2 * self.hidden + self.head_norms * 2 * self.head_dim + biases
        return (1 if self.tied else 2) * self.vocab * self.hidden + self.layers * block + self.hidden

    @property
    def parameters(self) -> int:
        return self.linear_weights + self.other_weights


@dataclass(frozen=True)
class Plan:
    """What of a training decides its memory."""

    method: Literal["lora", "dora", "full"]
    load_in_4bit: bool
    batch: int
    max_length: int
    """Of the longest row that there is, or may be."""
    checkpointing: Literal["none", "layers", "offloaded"]
    """Whether blocks keep all they computed, only what went into them, or that in the host's memory (Unsloth's)."""
    pairs: bool = False
    """Whether a row is a chosen and a rejected answer, which go through the model together."""
    lora_r: int = 16
    targets: Sequence[str] = ()
    adapted_layers: int | None = None
    """None: all."""
    dropout: bool = False
    weight_bytes: int = 2
    """Of a weight that is not quantised: 2 in bfloat16, 4 in float32."""
    kept_bytes: int = 2
    """Of embeddings and norms in 4-bit loading: PEFT's preparation makes them float32 (4)."""
    adapter_bytes: int = 4
    """PEFT trains adapters in float32."""
    optimizer_bytes: int = 8
    """For each trained weight in float32: 8 for AdamW, 2 for its 8-bit form."""
    compute_bytes: int = 2
    """Of an activation: 2 under bfloat16 autocast, 4 on a CPU."""
    device: Literal["cuda", "cpu"] = "cuda"

    @property
    def tokens(self) -> int:
        """That go through the model at once."""
        return self.batch * self.max_length * (2 if self.pairs else 1)

    @property
    def residual_bytes(self) -> int:
        """Of a number in the stream that runs through the blocks."""
        return max(self.compute_bytes, self.kept_bytes) if self.load_in_4bit else self.weight_bytes


@dataclass(frozen=True)
class Footprint:
    """Bytes, by what they are for."""

    weights: int
    adapters: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    context: int

    @property
    def total(self) -> int:
        return (
            self.weights
            + self.adapters
            + self.gradients
            + self.optimizer
            + round((1 + SLACK) * (self.activations + self.logits))
            + self.context
        )

    def as_gb(self) -> dict[str, float]:
        parts = {name: getattr(self, name) for name in self.__dataclass_fields__} | {"total": self.total}
        return {name: round(value / 1e9, 2) for name, value in parts.items()}


def footprint(shape: Shape, plan: Plan) -> Footprint:
    """The most that training this model so holds at one time.

    weights: 4-bit loading takes `nf4_bytes` for the blocks' maps and `kept_bytes` for each other weight.
    gradients: as large as what is trained; AdamW: twice that (`optimizer_bytes`).
    activations: with checkpointing what enters each block (nothing when it is offloaded) and one block in full, without it every
    block in full; and the gradients that flow back through one block.
    logits: those of one part of the answers, with what the loss makes of each.
    """
    quantised = nf4_bytes(shape) + shape.other_weights * plan.kept_bytes
    weights = quantised if plan.load_in_4bit else shape.parameters * plan.weight_bytes
    trained = shape.parameters if plan.method == "full" else adapter_parameters(shape, plan)
    trained_bytes = plan.weight_bytes if plan.method == "full" else plan.adapter_bytes

    tokens, residual = plan.tokens, plan.residual_bytes
    block = block_bytes(shape, plan)
    match plan.checkpointing:
        case "none":
            activations = shape.layers * block
        case "layers":
            activations = shape.layers * tokens * residual * shape.hidden + block
        case "offloaded":
            activations = block
    activations += tokens * (3 * plan.compute_bytes * shape.intermediate + 8 * shape.hidden)  # gradients that flow back
    if plan.load_in_4bit:  # the largest map, made 16-bit again for its product
        activations += 2 * max(inputs * outputs for inputs, outputs in shape.maps.values())
    logits = min(tokens * shape.vocab, LOGITS_AT_ONCE) * LOGIT_BYTES
    if residual > plan.compute_bytes:  # autocast makes a 16-bit copy of the head
        logits += 2 * shape.vocab * shape.hidden
    return Footprint(
        weights=weights,
        adapters=0 if plan.method == "full" else trained * trained_bytes,
        gradients=trained * trained_bytes,
        optimizer=trained * plan.optimizer_bytes * trained_bytes // 4,
        activations=activations,
        logits=logits,
        context=CONTEXT if plan.device == "cuda" else 0,
    )


def adapter_parameters(shape: Shape, plan: Plan) -> int:
    layers = shape.layers if plan.adapted_layers is None else plan.adapted_layers
    chosen = [shape.maps[name] for name in plan.targets if name in shape.maps]
    magnitudes = sum(outputs for _, outputs in chosen) if plan.method == "dora" else 0
    return layers * (plan.lora_r * sum(inputs + outputs for inputs, outputs in chosen) + magnitudes)


def nf4_bytes(shape: Shape) -> int:
    """Of the blocks' maps, quantised as bitsandbytes does it: blocks of 64 weights, their scales in blocks of 256."""
    total = 0
    for inputs, outputs in shape.maps.values():
        blocks = math.ceil(inputs * outputs / 64)
        # two weights a byte; a byte for each scale; float32 for each 256 scales; two tables of 16 and 256, and an offset
        total += math.ceil(inputs * outputs / 2) + blocks + 4 * math.ceil(blocks / 256) + 4 * (16 + 256 + 1)
    return shape.layers * total


def block_bytes(shape: Shape, plan: Plan) -> int:
    """What one block saves for its backward pass."""
    width, residual, full = plan.compute_bytes, plan.residual_bytes, plan.method == "full"
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    maps = shape.maps
    chosen = [name for name in maps if full or name in plan.targets]
    # Autocast makes a 16-bit copy of the input for each map that is trained in another precision; in one they share it.
    mixed = width == 2 and (residual == 4 or (not full and plan.adapter_bytes == 4))

    def read(*names: str) -> int:
        trained = [maps[name][0] for name in names if name in chosen]
        return sum(trained if mixed or plan.dropout else trained[:1])

    token = 2 * 4 * shape.hidden + shape.head_norms * 4 * (q + kv)  # RMSNorm computes in float32
    token += 4 * width * q + 4 * shape.heads  # queries, keys and values for every head, answers; log-sum-exp
    token += 3 * width * shape.intermediate  # gate, its SiLU, up
    token += width * (read("q_proj", "k_proj", "v_proj") + read("o_proj") + read("gate_proj", "up_proj") + read("down_proj"))
    fixed = 0
    if full:  # the norms are trained too
        token += 2 * residual * shape.hidden + shape.head_norms * width * (q + kv)
    else:
        token += width * plan.lora_r * len(chosen)
    if plan.dropout:  # what was dropped: a byte on CUDA, a number on a CPU
        token += (1 if plan.device == "cuda" else plan.adapter_bytes) * sum(maps[name][0] for name in chosen)
    if plan.method == "dora":  # the outputs of map and adapter before the magnitude; the identity that its norm is made with
        token += 2 * width * sum(maps[name][1] for name in chosen)
        fixed += width * sum(maps[name][0] ** 2 for name in chosen)
    if width == 2 and not plan.load_in_4bit and plan.weight_bytes == 4:
        fixed += 2 * shape.linear_weights // shape.layers
    if mixed and not full:
        fixed += 2 * sum(plan.lora_r * sum(maps[name]) for name in chosen)
    return plan.tokens * token + fixed


def savings(shape: Shape, plan: Plan) -> list[tuple[str, int]]:
    """What would make it smaller, as the options of a job spell it, and by how many bytes; the largest first."""
    now = footprint(shape, plan).total
    shorter = max((limit for limit in LIMITS if limit < plan.max_length), default=plan.max_length // 2)
    changes = [(f"max_length: {shorter}", replace(plan, max_length=shorter))]
    if plan.batch > 1:
        changes.append((f"per_device_train_batch_size: {plan.batch // 2}", replace(plan, batch=plan.batch // 2)))
    if plan.checkpointing == "none":
        changes.append(("gradient_checkpointing: true", replace(plan, checkpointing="layers")))
    if plan.method == "full":
        changes.append(("method: lora", replace(plan, method="lora", targets=tuple(shape.maps))))
    elif plan.lora_r > 1:
        changes.append((f"lora_r: {plan.lora_r // 2}", replace(plan, lora_r=plan.lora_r // 2)))
    if plan.method != "full" and not plan.load_in_4bit:
        changes.append(("method: qlora", replace(plan, method="lora", load_in_4bit=True)))
    saved = [(words, now - footprint(shape, changed).total) for words, changed in changes]
    return sorted(((words, number) for words, number in saved if number > 0), key=lambda one: -one[1])


def size(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"
