"""From results to the table in `docs/ab.md` and its plots. SVG by hand: lines and words need no library."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
COLOURS = ("#0b6e4f", "#c1121f", "#1d4e89", "#e09f3e", "#6a4c93", "#8d6346", "#5c677d", "#2a9d8f")
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 360, 60, 48, 40
MARK = re.compile(r"(<!-- simulated -->\n).*?(<!-- end -->)", re.DOTALL)

Curves = dict[str, list[list[float]]]


def write(results: dict[str, Any]) -> None:
    page = DOCS / "ab.md"
    if page.exists():
        page.write_text(MARK.sub(lambda found: f"{found[1]}{table(results)}{found[2]}", page.read_text()))
    curves: Curves = {name: curve for part in results.values() for name, curve in part["curves"].items()}
    for name, draw in PLOTS.items():
        picture = draw(curves)
        if picture:
            (DOCS / f"ab-{name}.svg").write_text(picture)


def table(results: dict[str, Any]) -> str:
    lines = ["| claim | simulated | aim | measured | | runs |", "| --- | --- | --- | --- | --- | ---: |"]
    for part in results.values():
        for row in part["rows"]:
            met = {True: "✓", False: "✗ missed", None: ""}[row["met"]]
            lines.append(f"| {row['claim']} | {row['setting']} | {row['aim']} | {row['measured']} | {met} | {row['runs']:,} |")
    return "\n".join(lines) + "\n"


def lines(
    title: str, x_label: str, chosen: Curves, *, percent: bool = True, dashed: float | None = None, steps: int = 5
) -> str:
    """A picture of curves over one axis; `dashed` is a line across."""
    if not chosen:
        return ""
    xs = [x for curve in chosen.values() for x, _ in curve]
    ys = [y for curve in chosen.values() for _, y in curve] + ([dashed] if dashed is not None else [])
    low, high = (0.0, max(1.0, *ys)) if percent and max(ys) > 0.6 else (min(0.0, *ys), max(ys) * 1.1)
    left, right = min(xs), max(xs)

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - left) / (right - left) * (WIDTH - LEFT - 190)
        return round(across, 1), round(HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - BOTTOM - TOP), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<title>{escape(title)}</title><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{escape(title)}</text>',
    ]
    for step in range(steps + 1):
        y = low + (high - low) * step / steps
        (x1, height), (x2, _) = place(left, y), place(right, y)
        parts.append(f'<path d="M{x1} {height}H{x2}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{height + 4}" text-anchor="end">{y * 100:.0f} %</text>')
        x = left + (right - left) * step / steps
        across = place(x, low)[0]
        parts.append(f'<text x="{across}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x:,.1f}</text>'.replace(".0<", "<"))
    middle = (LEFT + WIDTH - 190) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>')
    if dashed is not None:
        (x1, height), (x2, _) = place(left, dashed), place(right, dashed)
        parts.append(f'<path d="M{x1} {height}H{x2}" stroke="#555" stroke-dasharray="5 4"/>')
    for number, (name, curve) in enumerate(chosen.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{across},{height}" for across, height in (place(x, y) for x, y in curve))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        row = TOP + 12 + 18 * number
        parts.append(f'<path d="M{WIDTH - 182} {row - 4}h18" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{WIDTH - 158}" y="{row}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _chosen(curves: Curves, prefix: str) -> Curves:
    return {name.removeprefix(prefix).strip(): curve for name, curve in curves.items() if name.startswith(prefix)}


PLOTS = {
    "alarms": lambda curves: lines(
        "Same arms: experiments that ever called a winner (dashed: 5 %)",
        "units looked at, one by one",
        _chosen(curves, "alarms"),
        dashed=0.05,
    ),
    "regression": lambda curves: lines(
        "Blocks 2 % → 12 % at 10/90: rolled back so far (vertical: 1.5 × the z-test)",
        "attempts of the bad arm",
        _chosen(curves, "regression 10/90"),
    ),
    "lift": lambda curves: lines(
        "Favourites 10 % → 13 % at 50/50: winners found (dashed: 80 %)",
        "units, as a multiple of what one z-test needs",
        _chosen(curves, "lift 50/50"),
        dashed=0.8,
        steps=4,
    ),
    "collapse": lambda curves: lines(
        "A fifth of the vocabulary left: alarms so far (dashed: 95 %)",
        "outputs since then",
        _chosen(curves, "collapse"),
        dashed=0.95,
    ),
    "example": lambda curves: lines(
        "One experiment with a lift of 3 points (dashed)", "units", _chosen(curves, "example"), percent=False, dashed=0.03
    ),
}
