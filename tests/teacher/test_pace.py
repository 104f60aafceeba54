"""The limiter's reasoning, against a server with a token bucket and a clock of its own."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from goldsmith.teacher.pace import AHEAD_S, LOST_AFTER_S, Grant, Report, State, said_by, share_of, turn


@dataclass
class Run:
    """How a number of questions got through."""

    share_of_limit: float
    refused: float
    """429s, as a share of the questions."""
    state: State


@dataclass
class Process:
    report: Report = field(default_factory=Report)
    in_flight: int = 0
    held_until: float = 0.0


def through(
    *,
    questions: int = 2000,
    rate: float = 50,
    burst: float = 50,
    latency: float = 0.2,
    headers: bool = True,
    retry_after: bool = True,
    processes: int = 1,
    overloaded: float = 0.0,
    late: float = 0.0,
    at_once: int = 128,
) -> Run:
    """`late`: the share of the turns that come up to a second too late, as on a machine that is busy."""
    chance, numbers = random.Random(1), itertools.count()
    state, began = State(), 1000.0
    bucket, filled_at, last = burst, began, began
    left, done, refused = questions, 0, 0
    all_ = [Process() for _ in range(processes)]
    coming: list[tuple[float, int, str, Process, Any]] = []

    def then(at: float, what: str, process: Process, about: Any = None) -> None:
        heapq.heappush(coming, (at, next(numbers), what, process, about))

    for number, process in enumerate(all_):
        then(began + number * 0.003, "turn", process)
    while done < questions:
        now, _, what, process, about = heapq.heappop(coming)
        assert now - began < 2000, "it does not end"
        report = process.report
        if what == "turn":
            report.in_flight, process.report = process.in_flight, Report()
            grant = turn(state, now, str(id(process)), report, min(left, at_once - process.in_flight))
            left -= grant.count
            process.in_flight += grant.count
            for number in range(grant.count):
                then(now + grant.first + number * grant.step, "go", process, grant.counted - number)
            pause = 0.01 if state.rate is None else AHEAD_S
            then(now + pause + (chance.random() if chance.random() < late else 0.0), "turn", process)
        elif what == "go":
            if process.held_until > now:
                then(process.held_until, "go", process, about)
            else:
                then(now + 0.002 + chance.random() * 0.004, "meet", process, about)
        elif what == "meet":
            bucket, filled_at = min(burst, bucket + (now - filled_at) * rate), now
            if bucket < 1:
                refused += 1
                then(now + 0.005, "429", process, (about, 0.0))
                continue
            bucket -= 1
            busy = chance.random() < overloaded
            took = latency * chance.uniform(0.7, 1.3)
            then(now + (0.01 if busy else took), "529" if busy else "200", process, (about, float(math.floor(bucket))))
        else:
            process.in_flight -= 1
            if headers:
                report.limit_per_minute = rate * 60
                report.said += 1
                report.apart += about[1] - about[0]
            if what == "200":
                done, last = done + 1, now
                report.accepted += 1
                report.seconds += latency
                continue
            left += 1
            if what == "429":
                report.limited += 1
                report.retry_after_s = 1.0 if retry_after else None
                process.held_until = now + 1.0
            else:
                report.overloaded += 1
    return Run(questions / (last - began) / rate, refused / questions, state)


@pytest.mark.parametrize("latency", [0.05, 0.2, 1.0])
@pytest.mark.parametrize("processes", [1, 4])
def test_a_stated_limit_is_used_up_and_hardly_ever_crossed(latency: float, processes: int) -> None:
    run = through(latency=latency, processes=processes)
    assert run.share_of_limit >= 0.97
    assert run.refused <= 0.002


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("retry_after", [True, False])
def test_a_limit_that_is_not_stated_is_found(processes: int, retry_after: bool) -> None:
    run = through(headers=False, processes=processes, retry_after=retry_after)
    assert run.share_of_limit >= 0.97
    assert run.refused <= 0.015


@pytest.mark.parametrize("rate", [5, 300])
def test_other_limits_are_found_too(rate: float) -> None:
    assert through(questions=int(40 * rate), rate=rate, burst=rate).share_of_limit >= 0.97
    assert through(questions=int(40 * rate), rate=rate, burst=rate, headers=False).share_of_limit >= 0.9


@pytest.mark.parametrize("headers", [True, False])
def test_turns_that_come_late_are_made_up_for(headers: bool) -> None:
    run = through(headers=headers, late=0.03)
    assert run.share_of_limit >= 0.93
    assert run.refused <= 0.01


def test_headers_that_promise_too_much_are_not_believed() -> None:
    state, now = State(), 1000.0
    for _ in range(100):
        grant = turn(state, now, "a", Report(said=1, apart=40 - state.counted, limit_per_minute=6000, limited=1), 50)
        now += max(grant.wait, 0.1) if math.isfinite(grant.wait) else 0.1
        now += 1
    assert state.apart is None
    assert state.rate is not None
    assert state.rate < 10


def test_what_one_process_goes_on_with_alone_is_its_share() -> None:
    state = State(window=20, rate=50, ceiling=50, burst=40, counted=8, held={"a": [5, 1.0], "b": [5, 1.0]})
    share = share_of(state, "a")
    assert (share.window, share.rate, share.burst, share.counted, share.held) == (10, 25, 20, 4, {})
    assert share_of(State(), "a") == State()


def test_a_clock_that_was_set_back_stops_nobody() -> None:
    state = State()
    turn(state, 5000.0, "a", Report(limited=1, retry_after_s=7), 5)
    assert turn(state, 100.0, "a", Report(), 5).wait == pytest.approx(7.0)


def test_a_limit_that_is_never_met_slows_nobody_down() -> None:
    run = through(burst=3000, headers=False)
    assert run.state.rate is None
    assert run.share_of_limit > 5
    assert through(burst=3000).share_of_limit > 5


def test_a_stray_529_costs_little_and_an_outage_closes_the_window() -> None:
    assert through(overloaded=0.01).share_of_limit >= 0.97
    state = State(window=100, doubling=False)
    for second in range(20):
        turn(state, float(second), "a", Report(overloaded=5), 0)
    assert state.window < 4
    for second in range(20, 60):
        turn(state, float(second), "a", Report(accepted=4, seconds=1.0), 0)
    assert state.window >= 8  # half unused: no reason to grow further


def test_nobody_sends_before_retry_after_is_over() -> None:
    state = State()
    assert turn(state, 1.0, "a", Report(limited=1, retry_after_s=7), 5) == Grant(0, 7.0)
    assert turn(state, 7.9, "b", Report(), 5).count == 0
    assert turn(state, 8.1, "b", Report(), 5).count > 0


def test_all_processes_share_one_window_and_a_dead_one_gives_its_part_back() -> None:
    state = State(window=10, rate=None)
    taken = sum(turn(state, 0.0, "a", Report(in_flight=n), 10).count for n in (0, 2, 4, 6, 8, 10))
    assert taken == 10
    assert turn(state, 1.0, "b", Report(), 10).count == 0
    assert turn(state, 1.0 + LOST_AFTER_S, "b", Report(), 10).count > 0


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"anthropic-ratelimit-requests-limit": "3000", "anthropic-ratelimit-requests-remaining": "17"}, (3000, 17)),
        ({"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0"}, (60, 0)),
        ({"anthropic-ratelimit-requests-remaining": "17", "anthropic-ratelimit-output-tokens-remaining": "0"}, (None, 0)),
        ({"anthropic-ratelimit-requests-limit": "many"}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_what_the_headers_say(headers: dict[str, str], said: tuple[float | None, float | None]) -> None:
    assert said_by(headers) == said
