"""Weights of a model into memory, one model at a time in a process."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

_one_at_a_time = threading.Lock()


def load(auto: Any, folder: Path, **more: Any) -> Any:
    """`auto.from_pretrained(folder)` of a class of transformers, from this machine alone; any thread may call it.

    While transformers 5 loads, `PreTrainedModel.tie_weights` is another function for the whole process, and each load puts back what
    it found: of two at once the second puts back the other's, and every later model of the process is left with half of its weights.
    """
    with _one_at_a_time:
        return auto.from_pretrained(folder, local_files_only=True, **more)
