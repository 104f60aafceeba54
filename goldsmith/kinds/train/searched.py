"""What was looked for in the rows that are trained on. It stands in train.json beside the weights, and in the passport."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from goldsmith import privacy
from goldsmith.datasets import Example


def report(splits: Mapping[str, Sequence[Example]]) -> dict[str, Any]:
    """Of rows that `rows.checked` let pass: whoever shares a prompt or a group between the splits is refused there.

    Personal data is looked for in what was typed and in the answers, about 200,000 characters a second.
    """
    found: Counter[str] = Counter()
    rows = 0
    for example in (one for split in splits.values() for one in split):
        texts = (example.input, example.messages[-1].content, example.rejected or "")
        kinds = {finding.kind for text in texts for finding in privacy.find(text, example.language)}
        rows += bool(kinds)
        found.update(kinds)
    return {
        "at": datetime.now(UTC).isoformat(),
        "rows": {split: len(examples) for split, examples in splits.items()},
        "leakage": {"shared_prompts": 0, "shared_groups": 0},
        "personal_data": {"rows": rows, "by_kind": dict(sorted(found.items())), "search": privacy.version()},
    }
