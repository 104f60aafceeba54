"""The model card: what this is, what it was made from, how good it is, and what it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from goldsmith.adapters import AdapterVersion
from goldsmith.context import JobContext
from goldsmith.datasets import DatasetVersion
from goldsmith.errors import InvalidInput, NotFound
from goldsmith.export.report import NOT_CHECKED, Parity

METHOD = (
    "method", "objective", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "load_in_4bit", "learning_rate",
    "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps", "max_length", "seed", "backend", "shuffled",
)  # fmt: skip


def write(adapter: AdapterVersion, files: Sequence[str], parities: Sequence[Parity], ctx: JobContext) -> str:
    """In Markdown, with the metadata that model hubs read."""
    dataset = _dataset(adapter.dataset, ctx)
    gold = _gold(dataset, ctx)
    config = gold.get("config", {})
    licence = dataset.manifest.get("licence") if dataset else None
    teacher = " ".join(str(part) for part in (config.get("teacher"), gold.get("model")) if part)
    lines = [
        "---",
        f"base_model: {adapter.base_model}",
        "pipeline_tag: text-generation",
        "library_name: peft",
        "tags: [lora, goldsmith]",
    ]
    lines += ["---", "", f"# {adapter.name}, version {adapter.version}", ""]
    if adapter.rehearsal:
        lines += [
            "> **REHEARSAL**: the answers that this was trained on were written by rules, to try the machinery out. It shows that"
            " training and serving work, and nothing else; do not deploy it.",
            "",
        ]
    if adapter.warning:
        lines += [f"> **{adapter.warning}**", ""]
    if not parities:
        lines += [f"> **{NOT_CHECKED}** (`parity: false`).", ""]
    lines += [f"A small model that was taught one task by a larger one: `{adapter.ref}` on `{adapter.base_model}`.", ""]
    lines += ["## Data", "", f"- Dataset: `{adapter.dataset}`" + (f", sha256 `{dataset.content_sha256}`" if dataset else "")]
    if dataset:
        lines.append(f"- Rows: {', '.join(f'{number} {split}' for split, number in dataset.counts.items())}")
    lines.append(f"- Teacher: {teacher or 'not recorded'}; its answers were checked by rules, not by people")
    lines += ["", "## Licence", ""]
    lines.append(
        f"- Data: {licence or 'not recorded; ask whoever made the dataset'}\n- Weights: those of the base model's licence, and what"
        " the teacher's terms allow to be trained on its answers. Read both before you pass this on."
    )
    lines += ["", "## Metrics", ""]
    lines += [f"- {name}: {value:.6g}" for name, value in sorted(adapter.metrics.items()) if isinstance(value, int | float)]
    if not adapter.metrics:
        lines.append("- none were recorded")
    lines += ["", "## How it was trained", ""]
    lines += [f"- {name}: {adapter.method[name]}" for name in METHOD if adapter.method.get(name) is not None]
    for what in ("base", "tokenizer", "template"):
        lines.append(f"- sha256 of the {what}: `{getattr(adapter, f'{what}_sha256')}`")
    lines += ["", "## Served as trained", ""]
    lines += [_parity(one) for one in parities] or [f"- {NOT_CHECKED}."]
    lines += ["", "## Files", "", *(f"- `{name}`" for name in files)]
    lines += [
        "",
        "## Limits",
        "",
        "- It knows the task of its dataset; on anything else it is its base model, or worse.",
        "- Rules judged the answers that it learned from, so it repeats what the rules let pass. Facts are not checked.",
        "- It has no filter of its own for what must not be said to children: keep the one in front of it and behind it.",
        "- Prompts must be written by the same template as in training, and not be longer than max_length.",
    ]
    return "\n".join(lines) + "\n"


def _parity(one: Parity) -> str:
    off = (
        "no log-probabilities told"
        if one.largest_difference is None
        else f"log-probabilities at most {one.largest_difference:.2g} off"
    )
    return (
        f"- {one.served} in {one.by}: {one.prompts} prompts, {one.tokens} tokens, {one.stops} ends: the same"
        f" ({off}; {one.undecided} tokens undecided; tolerance {one.tolerance.margin:g})"
    )


def _dataset(ref: str, ctx: JobContext) -> DatasetVersion | None:
    try:
        return ctx.dataset(ref)
    except (InvalidInput, NotFound):  # it was removed since, or the adapter was made of others
        return None


def _gold(dataset: DatasetVersion | None, ctx: JobContext) -> Mapping[str, Any]:
    """The manifest that says who wrote the answers: the dataset's own, or that of the one that it was made from."""
    while dataset is not None and "model" not in dataset.manifest:
        parent = next((parent for parent in dataset.parents if parent.startswith("dataset:")), None)
        dataset = _dataset(parent, ctx) if parent else None
    return dataset.manifest if dataset else {}
