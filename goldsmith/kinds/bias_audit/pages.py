"""A report's blocks, written as Markdown and as one HTML file that prints: no script, nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple

from goldsmith.traditions import folded

STYLE = """
body { font: 16px/1.5 Georgia, serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; background: #fff }
h1, h2, h3, th, caption, .verdict { font-family: system-ui, sans-serif; line-height: 1.25 }
h2 { margin-top: 2.2rem; border-bottom: 1px solid #999; padding-bottom: .2rem }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; font-size: .92rem }
th, td { border: 1px solid #999; padding: .35rem .5rem; text-align: left; vertical-align: top }
h1, td { overflow-wrap: break-word }
thead th { background: #f0f0f0 }
tbody th { font-weight: normal }
caption { text-align: left; font-weight: bold; padding: .3rem 0 }
mark { background: #ffe08a; color: inherit; text-decoration: underline }
.verdict { padding: .8rem 1rem; border: 3px solid #1a1a1a; font-size: 1.1rem }
.scroll { overflow-x: auto }
@media print { body { font-size: 10.5pt; max-width: none; margin: 0 } h2, h3 { break-after: avoid } tr { break-inside: avoid } .scroll { overflow: visible }
  mark { background: none; font-weight: bold } @page { margin: 16mm } }
"""


class Marked(NamedTuple):
    """A text of a model, and the words in it that are to be seen."""

    text: str
    words: Sequence[str]


Cell = str | Marked


@dataclass
class Page:
    title: str
    language: str
    lines: list[str] = field(default_factory=list)
    """Of the Markdown."""
    body: list[str] = field(default_factory=list)
    """Of the HTML."""

    def heading(self, text: str) -> None:
        self.lines += [f"## {_plain(text)}", ""]
        self.body.append(f"<h2>{escape(text)}</h2>")

    def say(self, text: str) -> None:
        self.lines += [_plain(text), ""]
        self.body.append(f"<p>{escape(text)}</p>")

    def verdict(self, text: str) -> None:
        self.lines += [f"> **{_plain(text)}**", ""]
        self.body.append(f'<p class="verdict">{escape(text)}</p>')

    def points(self, texts: Sequence[str]) -> None:
        self.lines += [*(f"- {_plain(text)}" for text in texts), ""]
        self.body.append("<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[Cell]], caption: str = "") -> None:
        self.lines += [f"**{_plain(caption)}**", ""] if caption else []
        self.lines += [_row(head), _row(["---"] * len(head)), *(_row([_in_table(cell) for cell in row]) for row in rows), ""]
        named = f"<caption>{escape(caption)}</caption>" if caption else ""
        heads = "".join(f'<th scope="col">{escape(one)}</th>' for one in head)
        cells = "".join(map(_line, rows))
        whole = f"<table>{named}<thead><tr>{heads}</tr></thead><tbody>{cells}</tbody></table>"
        self.body.append(
            f'<div class="scroll" role="group" aria-label="{escape(caption or head[0])}" tabindex="0">{whole}</div>'
        )

    def markdown(self) -> str:
        return "\n".join([f"# {_plain(self.title)}", "", *self.lines])

    def html(self) -> str:
        title, body = escape(self.title), "\n".join(self.body)
        return (
            f'<!doctype html>\n<html lang="{self.language}"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}</title><style>{STYLE}</style></head>\n<body><main><h1>{title}</h1>\n{body}\n</main></body></html>\n"
        )


def parts(cell: Marked) -> list[tuple[str, bool]]:
    """The text in pieces, each with whether it is marked. Found without case and accents, as the words were."""
    letters, places = "", []
    for place, letter in enumerate(cell.text):
        for one in folded(letter):
            letters += one
            places.append(place)
    marked = [False] * len(cell.text)
    for word in cell.words:
        pattern = r"[\s-]+".join(re.escape(part) for part in re.split(r"[\s-]+", folded(word)))
        for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", letters):
            for place in places[match.start() : match.end()]:
                marked[place] = True
    found: list[tuple[str, bool]] = []
    for letter, is_marked in zip(cell.text, marked, strict=True):
        if found and found[-1][1] == is_marked:
            found[-1] = (found[-1][0] + letter, is_marked)
        else:
            found.append((letter, is_marked))
    return found


def _line(row: Sequence[Cell]) -> str:
    first, *others = [_cell(cell) for cell in row]
    return f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{one}</td>" for one in others) + "</tr>"


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return escape(cell)
    return "".join(f"<mark>{escape(text)}</mark>" if marked else escape(text) for text, marked in parts(cell))


def _in_table(cell: Cell) -> str:
    if isinstance(cell, str):
        return _plain(cell)
    return "".join(f"**{_plain(text)}**" if marked else _plain(text, ends=True) for text, marked in parts(cell))


def _plain(text: str, *, ends: bool = False) -> str:
    """What a model wrote is no Markdown and no HTML. `ends`: spaces at both ends are kept."""
    said = " ".join(text.split())
    if ends and said:
        said = (" " if text[0].isspace() else "") + said + (" " if text[-1].isspace() else "")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", said).replace("<", "&lt;")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
