"""What the corpus is about: prompts by tradition, preset, origin and language, and the traditions times the configs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from goldsmith.datasets import SPLITS, Example
from goldsmith.traditions import table

CELL_W, CELL_H, LEFT, TOP = 46, 20, 150, 110


def report(rows: Sequence[Example], configs: Sequence[str], more: Iterable[str] = ()) -> dict[str, Any]:
    """Counts of prompts (each text once) and, for traditions times configs, of rows."""
    traditions = list(dict.fromkeys([*table(), *more]))
    prompts = {row.input: row for row in rows}.values()
    named = Counter(tradition for row in prompts for tradition in row.traditions)
    cells = Counter((tradition, row.config_id) for row in rows for tradition in row.traditions)
    return {
        "prompts": len(prompts),
        "rows": len(rows),
        "traditions": {
            tradition: {
                "name": table()[tradition].name["en"] if tradition in table() else tradition,
                "prompts": named[tradition],
                "by_config": {config_id: cells[tradition, config_id] for config_id in configs},
            }
            for tradition in traditions
        },
        "uncovered": [tradition for tradition in traditions if not named[tradition]],
        "evenness": evenness([named[tradition] for tradition in traditions]),
        "without_tradition": sum(not row.traditions for row in prompts),
        "by_preset": dict(sorted(Counter(row.preset for row in prompts if row.preset).items())),
        "by_origin": dict(sorted(Counter(row.origin for row in prompts).items())),
        "by_language": dict(sorted(Counter(row.language for row in prompts).items())),
        "by_split": {split: sum(row.split == split for row in prompts) for split in SPLITS},
        "rows_by_config": {config_id: sum(row.config_id == config_id for row in rows) for config_id in configs},
    }


def evenness(counts: Sequence[int]) -> float:
    """Shannon entropy over its highest value: 1 when all are named equally often, 0 when one or none is."""
    total = sum(counts)
    if not total or len(counts) < 2:
        return 0.0
    entropy = -sum(each / total * math.log(each / total) for each in counts if each)
    return round(entropy / math.log(len(counts)), 4)


def heat_map(found: Mapping[str, Any]) -> str:
    """The report's traditions times configs as SVG: the darker, the more rows; on the right the prompts of each tradition."""
    traditions, configs = found["traditions"], list(found["rows_by_config"])
    highest = max([1, *(count for each in traditions.values() for count in each["by_config"].values())])
    width, height = LEFT + CELL_W * (len(configs) + 1) + 20, TOP + CELL_H * len(traditions) + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for column, name in enumerate([*configs, "prompts"]):
        x = LEFT + CELL_W * column + CELL_W // 2
        parts.append(f'<text transform="translate({x},{TOP - 6}) rotate(-55)">{escape(name[:24])}</text>')
    for line, each in enumerate(traditions.values()):
        y = TOP + CELL_H * line
        parts.append(f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(each["name"])}</text>')
        for column, count in enumerate([*each["by_config"].values(), each["prompts"]]):
            shade = 0.0 if column == len(configs) else count / highest
            parts.append(_cell(LEFT + CELL_W * column, y, count, shade))
    said = f"{found['prompts']} prompts, {found['rows']} rows; {found['without_tradition']} prompts name no tradition; evenness {found['evenness']}"
    parts += [f'<text x="12" y="{height - 12}">{escape(said)}</text>', "</svg>"]
    return "\n".join(parts) + "\n"


def _cell(x: int, y: int, count: int, shade: float) -> str:
    red, green, blue = (round(255 - shade * (255 - dark)) for dark in (23, 78, 110))
    ink = "#fff" if shade > 0.55 else "#222"
    return (
        f'<rect x="{x}" y="{y}" width="{CELL_W - 2}" height="{CELL_H - 2}" fill="rgb({red},{green},{blue})" stroke="#ddd"/>'
        f'<text x="{x + CELL_W // 2 - 1}" y="{y + 13}" text-anchor="middle" fill="{ink}">{count}</text>'
    )
