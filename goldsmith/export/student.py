"""The trained model that everything is compared with: in float32, on the CPU."""

from __future__ import annotations

from goldsmith.adapters import AdapterVersion
from goldsmith.context import JobContext
from goldsmith.errors import InvalidInput, NotFound
from goldsmith.export import parity, template
from goldsmith.student import Student


def load(adapter: AdapterVersion, ctx: JobContext) -> Student:
    """The base model with the adapter in use, its files and hashes checked. In bfloat16, as on a device, it would itself be
    farther from what was trained than a good file is."""
    student = ctx.student(adapter.base_model, adapter)
    student.model.float()
    return student


def probes(student: Student, adapter: AdapterVersion, number: int, max_new_tokens: int, ctx: JobContext) -> list[parity.Probe]:
    """From held-out rows of the adapter's dataset, where those are still there."""
    try:
        heldout = list(ctx.examples(adapter.dataset, "heldout"))
    except (InvalidInput, NotFound):
        heldout = []  # it was removed since, or the adapter was made of others
    room = int(template.options(student, adapter)["num_ctx"]) - max_new_tokens - 1  # Ollama cuts what is longer
    prompts = parity.frozen_prompts(heldout, student.tokenizer, number, room)
    if not prompts:
        why = f"an answer of {max_new_tokens} tokens leaves no room for a prompt in a context of {room + max_new_tokens + 1}; ask for less"
        raise InvalidInput(
            f"parity_tokens: {why}", errors=[{"field": "parity_tokens", "value": max_new_tokens, "message": why}]
        )
    return parity.probe(
        student,
        adapter,
        prompts,
        max_new_tokens,
        lambda share: ctx.progress(5 + 30 * share, f"asking the trained model {len(prompts)} prompts"),
    )


def context_size(probes: list[parity.Probe], room: int) -> int:
    """Tokens that a server needs for the longest of them; a multiple of 256, as llama.cpp takes it."""
    longest = max(len(one.ids) + len(one.given) + len(one.said) for one in probes) + 8
    return min(-(-longest // 256) * 256, -(-room // 256) * 256)
