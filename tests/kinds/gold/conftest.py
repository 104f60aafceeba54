from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from goldsmith import gates

known = cache(gates.check)


@pytest.fixture(autouse=True)
def each_answer_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The teacher writes the same answers in every test, and the gates take half of a run: 15 ms an answer."""

    def check(text: str, **asked: Any) -> dict[str, str | None]:
        return dict(known(text, **asked))

    monkeypatch.setattr(gates, "check", check)
