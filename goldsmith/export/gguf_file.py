"""GGUF files: a whole model, or a LoRA adapter alone. Llama and Qwen3; any other architecture is refused by its name."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type

from goldsmith.errors import InvalidInput
from goldsmith.export import vocabulary

Outtype = Literal["f32", "f16"]


class LoraPair(NamedTuple):
    """What an adapter adds to one weight is b @ a, times alpha / rank."""

    a: torch.Tensor
    """rank × in"""
    b: torch.Tensor
    """out × rank"""


ARCHITECTURES = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen3": gguf.MODEL_ARCH.QWEN3}
# What the gguf package quantises by itself; the K-quants need llama.cpp's own program.
BY_GGUF = {"q8_0": Type.Q8_0, "q5_1": Type.Q5_1, "q5_0": Type.Q5_0, "q4_1": Type.Q4_1, "q4_0": Type.Q4_0}
FILE_TYPES = {name: gguf.LlamaFileType[f"MOSTLY_{name.upper()}"] for name in ("f16", *BY_GGUF)}


def check_architecture(config: Any) -> None:
    """Raise `InvalidInput` for a model that cannot be written, before anything is computed."""
    if config.model_type not in ARCHITECTURES:
        raise InvalidInput(
            f"adapter: its base model is of the architecture {config.model_type!r}; "
            f"GGUF is written for {' and '.join(ARCHITECTURES)}",
            errors=[{"field": "adapter", "value": config.model_type, "allowed": sorted(ARCHITECTURES)}],
        )
    rope = config.rope_parameters["rope_type"]
    if rope != "default" or getattr(config, "use_sliding_window", False) or config.hidden_act != "silu":
        raise InvalidInput(
            f"adapter: its base model ({config.model_type}) has rope_type {rope!r}, hidden_act {config.hidden_act!r} or a sliding"
            " window; GGUF is written for rope_type 'default', hidden_act 'silu' and no sliding window"
        )


def write_model(weights: Mapping[str, torch.Tensor], config: Any, tokenizer: Any, path: Path, outtype: str, name: str) -> None:
    """The whole model. `outtype`: f32, f16, or one of `BY_GGUF`. Weights go to the file one by one."""
    writer = gguf.GGUFWriter(path, arch=gguf.MODEL_ARCH_NAMES[ARCHITECTURES[config.model_type]])
    writer.add_name(name)
    _shape(writer, config)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32 if outtype == "f32" else FILE_TYPES[outtype])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    vocabulary.write(writer, tokenizer, config.vocab_size)
    _write(writer, [(target, tensor, _type(target, tensor, outtype)) for _, target, tensor in _named(weights, config)])


def write_adapter(pairs: Mapping[str, LoraPair], config: Any, path: Path, outtype: Outtype, alpha: float, name: str) -> None:
    """The adapter alone, for a runtime that has the base model; the rows that it adds to are in llama.cpp's order."""
    if config.tie_word_embeddings and "lm_head.weight" in pairs:
        raise InvalidInput("formats: gguf-lora cannot adapt lm_head where it is the embeddings, too; ask for gguf-merged")
    writer = gguf.GGUFWriter(path, arch=gguf.MODEL_ARCH_NAMES[ARCHITECTURES[config.model_type]])
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_name(name)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    kind = Type.F32 if outtype == "f32" else Type.F16
    tensors = []
    for source, target, b in _named({name: pair.b for name, pair in pairs.items()}, config):
        tensors += [(f"{target}.lora_a", pairs[source].a, kind), (f"{target}.lora_b", b, kind)]
    _write(writer, tensors)


def write_quantised(source: Path, model: Any, tokenizer: Any, path: Path, quantization: str, name: str) -> None:
    """The merged model, smaller: from its weights where the gguf package can, else from `source` by llama.cpp's program."""
    if quantization in BY_GGUF:
        write_model(model.state_dict(), model.config, tokenizer, path, quantization, name)
        return
    command = [llama_quantize(quantization), str(source), str(path), quantization.upper()]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode != 0 or not path.is_file():
        said = (done.stderr or done.stdout)[-500:].strip()
        raise InvalidInput(f"quantization: {command[0]} failed ({done.returncode}): {said}")


def llama_quantize(quantization: str) -> str:
    """Where the program is; raises `InvalidInput` that says what to install."""
    program = shutil.which("llama-quantize")
    if program is None:
        raise InvalidInput(
            f"quantization: {quantization} needs the program llama-quantize, which is not on this worker's PATH; install"
            f" llama.cpp (its releases on GitHub, or `brew install llama.cpp`), or choose one of {', '.join(BY_GGUF)}",
            errors=[{"field": "quantization", "value": quantization, "allowed": list(BY_GGUF)}],
        )
    return program


def _shape(writer: gguf.GGUFWriter, config: Any) -> None:
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _named(weights: Mapping[str, torch.Tensor], config: Any) -> Iterator[tuple[str, str, torch.Tensor]]:
    """Each weight with its name here and in llama.cpp, its rows in llama.cpp's order."""
    names = gguf.get_tensor_name_map(ARCHITECTURES[config.model_type], config.num_hidden_layers)
    for name, tensor in weights.items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue  # llama.cpp takes the embeddings for it
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise InvalidInput(f"adapter: GGUF has no name for the weight {name} of a {config.model_type} model")
        if config.model_type == "llama" and ".q_proj." in name:
            tensor = _permuted(tensor, config.num_attention_heads)
        elif config.model_type == "llama" and ".k_proj." in name:
            tensor = _permuted(tensor, config.num_key_value_heads)
        yield name, found, tensor


def _permuted(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """llama.cpp turns neighbouring rows of a Llama head against each other, transformers those half a head apart."""
    return tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)


def _type(name: str, tensor: torch.Tensor, outtype: str) -> Type:
    if outtype == "f32" or tensor.dim() == 1:
        return Type.F32
    if outtype == "f16" or tensor.shape[-1] % 32:  # the blocks that share a scale
        return Type.F16
    if name in ("token_embd.weight", "output.weight"):
        return Type.Q8_0  # these decide every token; llama.cpp's own program spares them too
    return BY_GGUF[outtype]


def _write(writer: gguf.GGUFWriter, tensors: list[tuple[str, torch.Tensor, Type]]) -> None:
    for name, tensor, kind in tensors:
        shape = gguf.quant_shape_to_byte_shape(tuple(tensor.shape), kind) if kind in BY_GGUF.values() else tuple(tensor.shape)
        dtype = {Type.F32: np.float32, Type.F16: np.float16}.get(kind, np.uint8)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        writer.add_tensor_info(name, shape, np.dtype(dtype), size, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, tensor, kind in tensors:
        writer.write_tensor_data(gguf.quantize(tensor.detach().float().contiguous().cpu().numpy(), kind))
    writer.close()
