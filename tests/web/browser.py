"""What a browser is shown instead of the server's answer, and where its pictures go."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, Route

from tests.web.reports import Report

SHOTS = Path(os.environ.get("GOLDSMITH_SCREENSHOTS") or Path(__file__).parent / "screenshots")
"""Where pictures of the pages are left for whoever wants to see them."""

Answer = Report | int
Opens = Callable[..., Page]


class Reported:
    """What the report's address answers from now on: a report, or a status that is none."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[dict[str, str]] = []

    def __call__(self, route: Route) -> None:
        self.asked.append(route.request.headers)
        if isinstance(self.answer, int) and not self.answer:
            route.abort("connectionrefused")
        elif isinstance(self.answer, int):
            problem = {"title": "No", "status": self.answer, "detail": f"refused with {self.answer}"}
            route.fulfill(status=self.answer, body=json.dumps(problem), content_type="application/problem+json")
        else:
            body = json.dumps(self.answer)
            tag = f'"{hash(body)}"'
            same = route.request.headers.get("if-none-match") == tag
            route.fulfill(
                status=304 if same else 200,
                body="" if same else body,
                headers={"ETag": tag, "Content-Type": "application/json"},
            )


def shot(page: Page, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)
