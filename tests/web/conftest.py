"""A headless Chromium on the real API. `report` decides what the report's address answers, where a test says so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from goldsmith.embedded.valkey import EmbeddedValkey
from tests.client.server import Api, running_api
from tests.databases import Databases
from tests.web.browser import Opens, Reported
from tests.web.reports import ID, Report


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """For no longer than a module: while Playwright runs, its event loop is the thread's, and other tests start their own."""
    expect.set_options(timeout=60_000)
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if found is None:
        pytest.skip("NO CHROMIUM: the pages were not tested; on Debian and Ubuntu: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(databases: Databases, valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One API for a module of tests that only read."""
    with databases.fresh() as url, running_api(url, valkey, tmp_path_factory.mktemp("state")) as api:
        yield api


@pytest.fixture
def live(databases: Databases, valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[Api]:
    with databases.fresh() as url, running_api(url, valkey, tmp_path) as api:
        yield api


@pytest.fixture
def served_with_key(databases: Databases, valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[Api]:
    with databases.fresh() as url, running_api(url, valkey, tmp_path, api_key="a-key-for-tests") as api:
        yield api


@pytest.fixture
def opens(chromium: Browser) -> Iterator[Opens]:
    """`opens(address, width=360)`: a page in a browser context of its own. A page that complains fails its test."""
    contexts, complaints = [], []

    def told(message: ConsoleMessage) -> None:
        if (
            message.type in ("error", "warning") and "Failed to load resource" not in message.text
        ):  # a refusal that a test wants
            complaints.append(message.text)

    def start(
        address: str,
        report: Reported | None = None,
        *,
        width: int = 1100,
        height: int = 900,
        clock: bool = False,
        complains: bool = False,
        **more: Any,
    ) -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": height}, locale="en-GB", timezone_id="Europe/Berlin", **more
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        if not complains:  # as a test may want
            page.on("console", told)
            page.on("pageerror", lambda error: complaints.append(str(error)))
        if clock:  # time passes as the test says
            page.clock.install()
        if report is not None:
            page.route("**/report", report)
        page.goto(address)
        return page

    yield start
    for context in contexts:
        context.close()
    assert not complaints, complaints


@pytest.fixture
def page_of(served: Api, opens: Opens) -> Opens:
    """`page_of(report)`: the page of an experiment whose report is this one."""

    def start(report: Report | Reported, **more: Any) -> Page:
        answers = report if isinstance(report, Reported) else Reported(report)
        page = opens(f"{served.url}/experiments/{ID}", answers, **more)
        page.wait_for_selector("#report:not([hidden])")
        return page

    return start
