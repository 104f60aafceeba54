"""Tiny models with an adapter that changes what they say, for whoever exports or serves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from goldsmith.adapters import AdapterVersion, NewAdapter
from goldsmith.student.conversation import IGNORED, tokenize
from goldsmith.student.local import LocalStudent
from tests.fakes import FakeContext
from tests.tiny import gold, make_model, student_factory

FITTING = 50  # steps until it speaks like the gold, and ends
SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make_llama(folder: Path) -> Path:
    """A Llama of two blocks, with a head of its own, and the tokenizer of `make_model`."""
    make_model(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 3,  # models are often padded to round numbers
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
        initializer_range=0.1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def context(tmp_path: Path, base_model: str, *, cache: Path | None = None, std: float = 0.3, **lora: Any) -> FakeContext:
    """A context with `adapter:tiny@1` and its dataset. Its second matrices are random by `std`; 0 is trained on the gold."""
    ctx = FakeContext(tmp_path, kind="export")
    ctx.student_factory = student_factory(cache or tmp_path)
    ctx.save_dataset(
        "gold", gold(), manifest={"config": {"teacher": "rehearsal"}, "model": "rules"}, parents=[], rehearsal=True
    )
    add_adapter(ctx, base_model, cache=cache or tmp_path, std=std, **lora)
    return ctx


def add_adapter(
    ctx: FakeContext, base_model: str, *, cache: Path, std: float = 0.3, seed: int = 7, **lora: Any
) -> AdapterVersion:
    student = LocalStudent.load(base_model, None, cache=cache)
    torch.manual_seed(seed)
    fresh = AutoModelForCausalLM.from_pretrained(student.folder)
    model = get_peft_model(fresh, LoraConfig(**{"r": 16, "target_modules": SEVEN, "task_type": "CAUSAL_LM"} | lora))
    if std:
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weights, std=std)
    else:
        _fit(model, student)
    folder = ctx.scratch / f"adapter-{seed}"
    model.save_pretrained(folder)
    return ctx.register_adapter(
        NewAdapter(
            name="tiny",
            folder=folder,
            base_model=base_model,
            base_sha256=student.base_sha256,
            base_files=student.base_files,
            tokenizer_sha256=student.tokenizer_sha256,
            template_sha256=student.template_sha256,
            dataset="dataset:gold@1",
            method={"max_length": 1024, "lora_r": 16},
            metrics={"heldout_loss_after": 1.25},
            rehearsal=True,
        )
    )


def _fit(model: Any, student: LocalStudent) -> None:
    """Learns how the gold speaks, closing tokens included."""
    rows = [tokenize(student.tokenizer, [turn.model_dump() for turn in example.messages]) for example in gold()]
    width = max(len(row.input_ids) for row in rows)
    ids = torch.tensor([row.input_ids + [0] * (width - len(row.input_ids)) for row in rows])
    labels = torch.tensor([row.labels + [IGNORED] * (width - len(row.labels)) for row in rows])
    optimiser = torch.optim.AdamW([weights for weights in model.parameters() if weights.requires_grad], lr=1e-2)
    for _ in range(FITTING):
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert loss.item() < 1.2, loss.item()
