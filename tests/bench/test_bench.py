"""The benchmark itself, small: that it measures, not what. One set of servers for all of it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from bench import lines
from bench.apps import missing
from bench.lines import LINES, QUICK, Bench
from bench.queue import conditions, rows_of
from bench.sample import Sample
from bench.servers import Servers

PEERS = ["plain", "procrastinate", "taskiq"]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    servers = Servers([name for name in ("goldsmith", "raw", *PEERS) if name not in missing()])
    try:
        servers.start(finished=0)
        yield Bench(servers, replace(QUICK, jobs=10, readers=5, event_seconds=0.2))
    finally:
        servers.stop()


@pytest.fixture(scope="module")
def finished(bench: Bench) -> dict[str, Sample]:
    """What each app needed for a few jobs; all at once, for here no time counts."""
    names = [name for name in bench.servers.ports if name != "raw"]
    with ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(lambda name: lines.finish(bench, name, False), names), strict=True))


@pytest.mark.parametrize("name", ["goldsmith", *PEERS])
def test_an_app_takes_jobs_and_finishes_them(finished: dict[str, Sample], name: str) -> None:
    if name in missing():
        pytest.skip(f"NOT INSTALLED: {name}; `make bench` gets it")
    assert finished[name].rate > 0
    assert 0 < finished[name].p50_ms <= finished[name].p99_ms


def test_a_job_of_a_peer_is_seen_when_it_starts(bench: Bench) -> None:
    name = "goldsmith" if "procrastinate" in missing() else "procrastinate"
    with bench.servers.worker(name):
        assert lines.pickup(bench, name, False).p50_ms > 0


def test_goldsmith_shows_events_to_readers(bench: Bench) -> None:
    assert lines.stream(bench, "crowd", False).p50_ms > 0


@pytest.mark.parametrize("what", [lines.batch, lines.status])
def test_goldsmith_and_the_raw_driver_take_the_same_requests(bench: Bench, what: lines.Measure) -> None:
    assert what(bench, "goldsmith", False).rate > 0
    assert what(bench, "raw", False).rate > 0


def test_the_raw_driver_takes_single_jobs(bench: Bench) -> None:
    assert lines.submit(bench, "raw", False).rate > 0


def test_a_ratio_is_the_median_of_the_rounds_own() -> None:
    ours = [Sample(1, 2, rate) for rate in (100, 300, 200)]
    theirs = [Sample(1, 2, rate) for rate in (100, 100, 400)]  # of the medians it would be 2.00
    samples = {"goldsmith": ours, "plain": theirs, "raw": theirs}
    rows = rows_of(LINES["batch"], samples, QUICK)
    assert [row[2] for row in rows] == ["200", "100", "100"]
    assert [row[5:7] for row in rows] == [("", ""), ("1.00", "≥ 15"), ("1.00", "")]


def test_a_peer_that_is_not_installed_is_named_in_the_table() -> None:
    found = [Sample(1, 2)]
    rows = rows_of(LINES["pickup"], {"goldsmith": found}, QUICK)
    assert rows[1][1:3] == ("procrastinate", "not installed")
    absent = ["procrastinate", *(set(missing()) - {"procrastinate"})]
    assert "NOT INSTALLED and left out: procrastinate" in conditions(QUICK, absent)
