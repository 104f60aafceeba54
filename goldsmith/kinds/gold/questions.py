"""What the teacher is asked: a system prompt of its own, the student's prompt, and once more with the reasons."""

from __future__ import annotations

from pathlib import Path

from goldsmith.datasets import Example

SYSTEM = Path(__file__).with_name("system.md").read_text(encoding="utf-8").strip()

REPAIR = """{prompt}

Rejected answer:
{answer}

Reasons:
{reasons}

Write the answer anew so that every reason is gone. Give the answer alone."""


def shared(row: Example) -> int:
    """How many leading characters of the prompt it has in common with the other rows of its config: all before the input."""
    return max(0, row.messages[0].content.rfind(row.input))


def beginning(row: Example) -> str:
    """What it has in common with them."""
    return row.messages[0].content[: shared(row)]
