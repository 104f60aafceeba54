"""Goldsmith's recipe as a bare script: the same trainer on the same rows, told nothing and keeping nothing.

Reads an order as JSON from stdin, writes what came of each seed as JSON to stdout.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.training_peers.rows import BASE, examples
from goldsmith.kinds.train import backends, packed
from goldsmith.kinds.train.fit import heldout_nll, mean
from goldsmith.kinds.train.rows import checked, tokenized
from goldsmith.kinds.train.schema import TrainConfig
from goldsmith.kinds.train.trainer import Trainer
from goldsmith.student import load_student

order = json.load(sys.stdin)
base = order.get("base", BASE)


def trained(seed: int) -> dict[str, Any]:
    config = TrainConfig(dataset="dataset:bench@1", name="bench", base_model=base, **(order["config"] | {"seed": seed}))
    student = load_student(base, cache=Path(order["cache"]))
    rows = examples(order["train"], order["heldout"], short=order.get("short", False))
    data = tokenized(student.tokenizer, checked("bench", rows), config.max_length)
    model = backends.adapted("peft", student, config)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(model, data.train, config, Path(folder), packed=config.packing)
        began = time.monotonic()
        with packed.attention(model, on=config.packing):
            trainer.train()
        seconds = time.monotonic() - began
    return {
        "tokens": trainer.tokens_read,
        "seconds": seconds,
        "steps": trainer.state.global_step,
        "heldout_loss": mean(heldout_nll(model, data.heldout)),
    }


print(json.dumps([trained(seed) for seed in order.get("seeds", [order["config"]["seed"]])]))
