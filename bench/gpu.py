"""`python -m bench.gpu`: QLoRA of Qwen3-4B's shape on this machine's CUDA device, beside TRL's script and Unsloth's notebook.

Weights are random: speed and memory do not see the difference, so no loss is compared here (the tests marked `gpu` do that). Each
peer trains the same rows in a process of its own, one after the other; the first steps, in which kernels are compiled, are not
timed. Nothing passes or fails by time: the aims stand beside the ratios. No table is kept here yet: it has not been run on a device.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
SHAPE = {  # of Qwen3-4B-Instruct-2507
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
    "max_position_embeddings": 262144,
}
PEERS = {"trl": "TRL + PEFT, QLoRA script", "unsloth": "Unsloth's notebook", "peft": "ours, peft", "ours": "ours, unsloth"}
WARM_UP = 3
"""Steps that are not timed."""
MISSION_ROWS, MISSION_EPOCHS, MISSION_MINUTES, MISSION_GB = 8_000, 3, 90, 4


def clock() -> Any:
    """A callback that times the steps after the first ones. Made late: Unsloth must be imported before transformers."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == WARM_UP:
                torch.cuda.synchronize()
                self.began = time.monotonic()

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            torch.cuda.synchronize()
            self.seconds, self.steps = time.monotonic() - self.began, state.global_step

    return Clock()


def make_model(folder: Path) -> None:
    """Random weights in bfloat16, and the tests' tokenizer of a few hundred tokens: its ids are all that a row needs."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from tests import tiny

    tiny.make_model(folder)
    written = json.loads((folder / "config.json").read_text())
    ends = {name: written[name] for name in ("eos_token_id", "pad_token_id")}
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        kind: Any = Qwen3ForCausalLM
        kind(Qwen3Config(**SHAPE, **ends)).save_pretrained(folder)


def conversations(rows: int) -> list[Any]:
    """With prompts as long as a devserver's: its templates take 1,000 to 1,700 tokens."""
    from bench.training_peers.rows import CONTEXT, examples
    from goldsmith.datasets import Message

    made = []
    for row in examples(rows, 2):
        asked, *rest = row.messages
        made.append(row.model_copy(update={"messages": [Message(role="user", content=CONTEXT * 6 + asked.content), *rest]}))
    return made


def ours(order: dict[str, Any]) -> tuple[Any, int]:
    from goldsmith.kinds.train import backends
    from goldsmith.kinds.train.schema import TrainConfig

    config = TrainConfig(
        dataset="dataset:bench@1",
        name="bench",
        base_model=order["model"],
        method="qlora",
        num_train_epochs=1,
        backend="unsloth" if order["peer"] == "ours" else "peft",
    )
    backend = backends.choose(config)  # imports Unsloth, before transformers
    from goldsmith.footprint import Shape, footprint
    from goldsmith.kinds.train import memory, packed
    from goldsmith.kinds.train.rows import checked, tokenized
    from goldsmith.kinds.train.trainer import Trainer
    from goldsmith.student import load_student

    student = load_student(order["model"], cache=Path(order["folder"]))
    data = tokenized(student.tokenizer, checked("bench", conversations(order["rows"])), config.max_length)
    shape = Shape.of(SHAPE | {"model_type": "qwen3", "num_hidden_layers": order["layers"]})
    assert shape is not None
    order["estimated_gb"] = footprint(shape, memory.plan(config, backend, data.train)).as_gb()["total"]
    model = backends.adapted(backend, student, config)
    packs = backend == "unsloth" or packed.can_pack(model)
    trainer = Trainer(model, data.train, config, Path(order["folder"]), backend=backend, packed=packs)
    timed = clock()
    trainer.add_callback(timed)
    with packed.attention(model, on=packs and backend != "unsloth"):
        trainer.train()
    return timed, config.per_device_train_batch_size * config.gradient_accumulation_steps


def trl(order: dict[str, Any]) -> tuple[Any, int]:
    """As TRL's documentation has it, with the mission's recipe: 4-bit, r 32, two rows at a time, eight times."""
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    quantized: Any = BitsAndBytesConfig
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(
            order["model"],
            dtype=torch.bfloat16,
            device_map={"": 0},
            quantization_config=quantized(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=torch.bfloat16,
            ),
        ),
        args=SFTConfig(
            order["folder"],
            per_device_train_batch_size=2,
            gradient_accumulation_steps=8,
            num_train_epochs=1,
            learning_rate=2e-4,
            lr_scheduler_type="cosine",
            max_length=3072,
            **QUIET,
        ),
        train_dataset=dataset(order),
        processing_class=AutoTokenizer.from_pretrained(order["model"]),
        peft_config=LoraConfig(r=32, lora_alpha=64, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[timed := clock()],
    )
    trainer.train()
    return timed, 16


def unsloth(order: dict[str, Any]) -> tuple[Any, int]:
    """The settings of its notebook for Qwen3 (4B) Instruct; only the length is 3,072, for 2,048 would cut prompts."""
    from unsloth import FastLanguageModel  # before TRL
    from unsloth.chat_templates import train_on_responses_only

    model, tokenizer = FastLanguageModel.from_pretrained(order["model"], max_seq_length=3072, load_in_4bit=True)
    model = FastLanguageModel.get_peft_model(
        model,
        r=32,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        lora_alpha=32,
        lora_dropout=0,
        bias="none",
        use_gradient_checkpointing="unsloth",
        random_state=3407,
    )
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer  # as Unsloth has patched them

    texts = [
        tokenizer.apply_chat_template([turn.model_dump() for turn in row.messages], tokenize=False)
        for row in conversations(order["rows"])
        if row.split == "train"
    ]
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"text": texts}),
        args=SFTConfig(
            order["folder"],
            dataset_text_field="text",
            per_device_train_batch_size=2,
            gradient_accumulation_steps=4,
            warmup_steps=5,
            num_train_epochs=1,
            learning_rate=2e-4,
            optim="adamw_8bit",
            weight_decay=0.001,
            lr_scheduler_type="linear",
            seed=3407,
            **QUIET,
        ),
        callbacks=[timed := clock()],
    )
    trainer = train_on_responses_only(trainer, instruction_part="<|im_start|>user\n", response_part="<|im_start|>assistant\n")
    trainer.train()
    return timed, 8


QUIET: dict[str, Any] = {"logging_steps": 1, "disable_tqdm": True, "save_strategy": "no", "report_to": "none"}


def dataset(order: dict[str, Any]) -> Any:
    from datasets import Dataset

    turns = [[turn.model_dump() for turn in row.messages] for row in conversations(order["rows"]) if row.split == "train"]
    return Dataset.from_list([{"prompt": row[:-1], "completion": row[-1:]} for row in turns])


def peer(order: dict[str, Any]) -> dict[str, Any]:
    """Train in this process. Tokens are the rows' own, prompts included, padding not, counted alike for everyone."""
    timed, rows_per_step = {"trl": trl, "unsloth": unsloth, "peft": ours, "ours": ours}[order["peer"]](order)
    from transformers import AutoTokenizer

    from goldsmith.student.conversation import tokenize

    tokenizer = AutoTokenizer.from_pretrained(order["model"])
    rows = [row for row in conversations(order["rows"]) if row.split == "train"]
    tokens = sum(len(tokenize(tokenizer, [turn.model_dump() for turn in row.messages]).input_ids) for row in rows)
    share = (timed.steps - WARM_UP) * rows_per_step / len(rows)  # of all rows; those of a step are chosen at random
    return {
        "tokens_per_s": tokens * share / timed.seconds,
        "mean_tokens": tokens / len(rows),
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9,
        "reserved_gb": torch.cuda.max_memory_reserved() / 1e9,
        "estimated_gb": order.get("estimated_gb"),
    }


def start(order: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.gpu", "--order", json.dumps(order)]
    process = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False
    )
    if process.returncode:
        raise SystemExit(f"{order.get('peer', 'the model')} failed:\n{process.stderr[-4000:]}")
    done: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    Console(stderr=True).print(f"{order.get('peer', 'made')}: {done}")
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=320, help="training rows: 20 updates of 16")
    parser.add_argument("--layers", type=int, default=SHAPE["num_hidden_layers"], help="fewer: does it work?")
    parser.add_argument("--only", choices=PEERS, nargs="+", default=list(PEERS))
    parser.add_argument("--order", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.order:
        print(json.dumps(make(asked.order) if "make" in asked.order else peer(asked.order)))
        return
    if not torch.cuda.is_available():
        raise SystemExit("this needs a CUDA device; on a CPU there is bench.training")
    names = [name for name in asked.only if name not in ("unsloth", "ours") or importlib.util.find_spec("unsloth")]
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        start({"make": str(model), "layers": asked.layers})
        order = {"model": str(model), "folder": folder, "rows": asked.rows, "layers": asked.layers}
        done = {name: start(order | {"peer": name}) for name in names}
    Console(width=120).print(table(done, asked.layers))


def make(order: dict[str, Any]) -> dict[str, Any]:
    SHAPE["num_hidden_layers"] = order["layers"]
    make_model(Path(order["make"]))
    return {"model": order["make"]}


def table(done: dict[str, dict[str, Any]], layers: int) -> Table:
    shown = Table(
        "who", "useful tokens/s", "× TRL", "× Unsloth", "peak GB", "reserved GB", "estimated GB", "8,000 rows × 3, min"
    )
    for name, one in done.items():
        ratios = [
            f"{one['tokens_per_s'] / done[other]['tokens_per_s']:.2f}" if other in done else "-" for other in ("trl", "unsloth")
        ]
        minutes = MISSION_ROWS * MISSION_EPOCHS * one["mean_tokens"] / one["tokens_per_s"] / 60
        estimated = f"{one['estimated_gb']:.1f}" if one["estimated_gb"] else "-"
        memory = [f"{one['peak_gb']:.1f}", f"{one['reserved_gb']:.1f}", estimated]
        shown.add_row(PEERS[name], f"{one['tokens_per_s']:.0f}", *ratios, *memory, f"{minutes:.0f}")
    mean = next(iter(done.values()))["mean_tokens"]
    shown.caption = (
        f"{torch.cuda.get_device_name(0)}; {layers} layers; {mean:.0f} tokens a row; {versions()}. Aims: ours at least 2 × TRL and 1 ×"
        f" Unsloth; the mission's guess: {MISSION_MINUTES} minutes, {MISSION_GB} GB"
    )
    return shown


def versions() -> str:
    found = []
    for name in ("torch", "transformers", "trl", "peft", "bitsandbytes", "unsloth"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


if __name__ == "__main__":
    main()
