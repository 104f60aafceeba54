"""The proof that nothing crosses the split, from the finished rows alone."""

from __future__ import annotations

from collections.abc import Sequence

from goldsmith.datasets import Example
from goldsmith.errors import GoldsmithError
from goldsmith.kinds.corpus.near import Tick, highest
from goldsmith.kinds.corpus.schema import LeakCheck
from goldsmith.kinds.corpus.words import normal, shingles, template


def check(examples: Sequence[Example], threshold: float, tick: Tick) -> LeakCheck:
    """Compare both sides of the split; raises `GoldsmithError` when a side is empty or anything is on both."""
    inputs = {split: sorted({row.input for row in examples if row.split == split}) for split in ("train", "heldout")}
    groups = {split: {row.group for row in examples if row.split == split} for split in inputs}
    texts = {split: {normal(text) for text in inputs[split]} for split in inputs}
    templates = {split: {template(text) for text in inputs[split]} - {None} for split in inputs}
    found = LeakCheck(
        shared_prompts=len(texts["train"] & texts["heldout"]),
        shared_templates=len(templates["train"] & templates["heldout"]),
        shared_groups=len(groups["train"] & groups["heldout"]),
        max_similarity=highest(
            [shingles(text) for text in inputs["heldout"]], [shingles(text) for text in inputs["train"]], tick, threshold
        ),
    )
    leaks = found.shared_prompts or found.shared_templates or found.shared_groups or found.max_similarity >= threshold
    if leaks or not all(inputs.values()):
        raise GoldsmithError(f"the split leaks or has an empty side, so nothing was saved: {found.model_dump_json()}")
    return found
