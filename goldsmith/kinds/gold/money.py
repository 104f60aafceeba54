"""What a gold job says of its money: the cache and why, what was lost, and what was billed above its worst case."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from goldsmith.datasets import Example
from goldsmith.kinds.gold.questions import SYSTEM, beginning, shared
from goldsmith.kinds.gold.schema import GoldConfig
from goldsmith.teacher import Teacher

LOOKED_AT = 20  # beginnings of prompts, the most common ones first; each may be counted by the provider


async def report(rows: Sequence[Example], teacher: Teacher, config: GoldConfig, *, batch: bool) -> dict[str, Any]:
    """The fields of `GoldResult` about money that no row knows of."""
    cache = await _cache(rows, teacher, batch=batch)
    told = await teacher.statement()
    warnings = []
    if told.overbilled:
        warnings.append(
            f"{told.overbilled} answers were billed above their worst case, by {told.overbilled_usd} USD in all: the teacher"
            " does not keep to `max_tokens`, or its price is not the one in the price list"
        )
    if teacher.spent_usd > config.budget_usd:
        warnings.append(f"so {teacher.spent_usd:.6f} USD were spent, above the budget of {config.budget_usd} USD")
    if told.lost:
        warnings.append(
            f"{told.lost} questions were paid and brought no answer (lost on the way, or unreadable): {told.lost_usd} USD"
        )
    return {
        "cache": cache,
        "cache_read_tokens": told.cache_read_tokens,
        "cache_write_tokens": told.cache_write_tokens,
        "reserved_by": teacher.counted,
        "warnings": warnings,
    }


async def _cache(rows: Sequence[Example], teacher: Teacher, *, batch: bool) -> str:
    """Beginnings that fare alike are told together, with the numbers of the one that most rows share."""
    sharing = Counter(map(beginning, rows))
    first = {beginning(row): row for row in reversed(rows)}
    why: dict[str, list[str]] = {}
    for start, questions in sharing.most_common(LOOKED_AT):
        row = first[start]
        plan = await teacher.cache_plan(
            system=SYSTEM, prompt=row.messages[0].content, shared=shared(row), sharing=questions, batch=batch
        )
        said = ("used: " if plan.ttl else "not used: ") + plan.why
        why.setdefault(re.sub(r"\d+", "", said), []).append(said)
    return "; ".join(f"{len(alike)} of {len(sharing)} beginnings of prompts {alike[0]}" for alike in why.values())
