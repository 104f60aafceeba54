"""A language model small enough to be trained in a test, made on the spot, and gold for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from goldsmith.adapters import AdapterVersion
from goldsmith.datasets import Example, Message
from goldsmith.student import Student, load_student

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINGS = ("fox", "boat", "tower", "lamp", "river", "bird", "cloud", "bridge", "garden", "mirror", "drum", "kite")
COLOURS = ("red", "blue", "green", "grey")


def make_model(folder: Path, *, template: str | None = TEMPLATE, seed: int = 0) -> Path:
    """A Qwen3 of two blocks with random weights and a byte-level tokenizer of ChatML."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f"{prompt(thing)} {answer(thing)}" for thing in THINGS], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    if template is not None:
        fast.chat_template = template
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=512,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
        tie_word_embeddings=True,
        initializer_range=0.1,  # at the usual 0.02 the frozen head of so narrow a model can say nothing with confidence
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder


def prompt(thing: str) -> str:
    return f"Context:\nPaint with oil and name the pigments.\n\nPrompt:\na {COLOURS[len(thing) % 4]} {thing}"


def answer(thing: str) -> str:
    return (
        f"Oil and pigments lie thick on the canvas where the {COLOURS[len(thing) % 4]} {thing} stands in a warm evening light."
    )


def gold(heldout: int = 3) -> list[Example]:
    """A conversation for each thing; the last ones are held out."""
    return [
        Example(
            split="heldout" if number >= len(THINGS) - heldout else "train",
            messages=[Message(role="user", content=prompt(thing)), Message(role="assistant", content=answer(thing))],
            config_id="oil",
            context_lang="en",
            context_sha256="0" * 64,
            template_version="0" * 12,
            input=f"a {COLOURS[len(thing) % 4]} {thing}",
            language="en",
            group=thing,
            source=f"run-{number}",
        )
        for number, thing in enumerate(THINGS)
    ]


def student_factory(cache: Path) -> Callable[[str, AdapterVersion | None], Student]:
    return lambda base_model, adapter: load_student(base_model, adapter, cache=cache)
