"""TRL's own script (`SFTTrainer`, `peft_config`) on the same rows, batch and recipe, without packing.

Reads an order as JSON from stdin, writes what came of each seed as JSON to stdout. `as_is` leaves TRL's defaults of precision and
checkpointing, which are for a GPU; without it they are set to what is fastest here, as Goldsmith has them.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import LoraConfig
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from bench.training_peers.rows import BASE, examples
from goldsmith.kinds.train.rows import turns
from goldsmith.student import load_student
from goldsmith.student.conversation import tokenize
from goldsmith.student.local import likelihood

order = json.load(sys.stdin)
config = order["config"]
own = {} if order.get("as_is") else {"bf16": False, "gradient_checkpointing": config["gradient_checkpointing"]}


def trained(seed: int) -> dict[str, Any]:
    student = load_student(order.get("base", BASE), cache=Path(order["cache"]))
    rows = examples(order["train"], order["heldout"], short=order.get("short", False))
    train = [turns(row) for row in rows if row.split == "train"]
    heldout = [tokenize(student.tokenizer, turns(row)) for row in rows if row.split == "heldout"]
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=str(student.folder),
            args=SFTConfig(
                folder,
                per_device_train_batch_size=config["per_device_train_batch_size"],
                gradient_accumulation_steps=config["gradient_accumulation_steps"],
                num_train_epochs=config["num_train_epochs"],
                learning_rate=config["learning_rate"],
                lr_scheduler_type="cosine",
                warmup_steps=0.05,
                max_length=None,
                packing=False,
                seed=seed,
                use_cpu=True,
                dataloader_pin_memory=False,
                logging_steps=1,
                disable_tqdm=True,
                save_strategy="no",
                report_to="none",
                **own,
            ),
            train_dataset=Dataset.from_list([{"prompt": row[:-1], "completion": row[-1:]} for row in train]),
            processing_class=student.tokenizer,
            peft_config=LoraConfig(
                r=config["lora_r"], lora_alpha=config["lora_alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
            ),
        )
        began = time.monotonic()
        trainer.train()
        seconds = time.monotonic() - began
    losses = likelihood(trainer.model, heldout)
    return {
        "tokens": sum(len(tokenize(student.tokenizer, row).input_ids) for row in train) * config["num_train_epochs"],
        "seconds": seconds,
        "steps": trainer.state.global_step,
        "heldout_loss": sum(loss for loss, _ in losses) / sum(number for _, number in losses),
    }


print(json.dumps([trained(seed) for seed in order.get("seeds", [config["seed"]])]))
