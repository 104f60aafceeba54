"""The limiter's reasoning, against a server with a token bucket and a clock of its own."""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass

import pytest

from goldsmith.teacher.pace import LOST_AFTER_S, Report, State, said_by, turn

TICK_S = 0.01


@dataclass
class Run:
    """How a number of questions got through."""

    share_of_limit: float
    refused: float
    """429s, as a share of the questions."""
    most_in_flight: int
    state: State


def through(
    *,
    questions: int = 1000,
    rate: float = 50,
    burst: float = 50,
    latency: float = 0.2,
    headers: bool = True,
    processes: int = 1,
    overloaded: float = 0.0,
) -> Run:
    chance = random.Random(1)
    state, now, began = State(), 1000.0, 1000.0
    bucket, filled_at = burst, now
    left, done, refused, most, count = questions, 0, 0, 0, 0
    reports, in_flight = [Report() for _ in range(processes)], [0] * processes
    coming: list[tuple[float, int, int, str, float | None]] = []
    while done < questions:
        now += TICK_S
        assert now - began < 2000, "it does not end"
        while coming and coming[0][0] <= now:
            _, _, who, what, remaining = heapq.heappop(coming)
            in_flight[who] -= 1
            if headers:
                reports[who].limit_per_minute, reports[who].remaining = rate * 60, remaining
            if what == "200":
                done += 1
                reports[who].accepted += 1
                reports[who].seconds += latency
                continue
            left += 1
            if what == "429":
                reports[who].limited += 1
                reports[who].retry_after_s = 1.0
            else:
                reports[who].overloaded += 1
        for who in range(processes):
            reports[who].in_flight = in_flight[who]
            granted, _ = turn(state, now, str(who), reports[who], min(left, 256 // processes))
            reports[who] = Report()
            for _ in range(granted):
                count, left, at = count + 1, left - 1, now + chance.random() * 0.005
                in_flight[who] += 1
                bucket, filled_at = min(burst, bucket + max(0.0, at - filled_at) * rate), max(at, filled_at)
                if bucket < 1:
                    refused += 1
                    heapq.heappush(coming, (at + 0.005, count, who, "429", 0.0))
                    continue
                bucket -= 1
                what = "529" if chance.random() < overloaded else "200"
                heapq.heappush(coming, (at + latency, count, who, what, float(math.floor(bucket))))
        most = max(most, sum(in_flight))
    return Run(questions / (now - began) / rate, refused / questions, most, state)


@pytest.mark.parametrize("latency", [0.05, 0.2, 1.0])
@pytest.mark.parametrize("processes", [1, 4])
def test_a_stated_limit_is_used_up_and_hardly_ever_crossed(latency: float, processes: int) -> None:
    run = through(questions=2000, latency=latency, processes=processes)
    assert run.share_of_limit >= 0.96
    assert run.refused <= 0.01


@pytest.mark.parametrize("latency", [0.05, 0.2])
def test_a_limit_that_is_not_stated_is_found(latency: float) -> None:
    run = through(questions=2000, latency=latency, headers=False)
    assert run.share_of_limit >= 0.95
    assert run.refused <= 0.02


def test_a_limit_that_is_never_met_slows_nobody_down() -> None:
    run = through(questions=2000, burst=3000)
    assert run.state.rate is None
    assert run.share_of_limit > 5


def test_a_stray_529_costs_little_and_an_outage_closes_the_window() -> None:
    assert through(questions=2000, overloaded=0.01).share_of_limit >= 0.9
    state = State(window=100, doubling=False)
    for second in range(20):
        turn(state, float(second), "a", Report(overloaded=5), 0)
    assert state.window < 4
    for second in range(20, 60):
        turn(state, float(second), "a", Report(accepted=4, seconds=1.0), 0)
    assert state.window >= 8  # half unused: no reason to grow further


def test_nobody_sends_before_retry_after_is_over() -> None:
    state = State()
    assert turn(state, 0.0, "a", Report(limited=1, retry_after_s=7), 5) == (0, 7.0)
    assert turn(state, 6.9, "b", Report(), 5)[0] == 0
    assert turn(state, 7.1, "b", Report(), 5)[0] > 0


def test_all_processes_share_one_window_and_a_dead_one_gives_its_part_back() -> None:
    state = State(window=10, rate=None)
    taken = sum(turn(state, 0.0, "a", Report(in_flight=n), 10)[0] for n in (0, 2, 4, 6, 8, 10))
    assert taken == 10
    assert turn(state, 1.0, "b", Report(), 10)[0] == 0
    assert turn(state, 1.0 + LOST_AFTER_S, "b", Report(), 10)[0] > 0


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
