"""How many questions may be in flight, and how soon the next one may go. Pure: time, events and state come from outside.

Three things slow us down, each for what it says:

    the window   additive increase; cut in proportion to the share of answers that were 529 or 5xx, so that a stray one costs
                 little and an outage halves it again and again
    the rate     unknown until the provider shows a limit: a 429, or headers that say nothing remains. Then it is what was
                 accepted meanwhile, or what the headers say where that agrees; probed upwards by a hundredth a second
    the pause    `retry-after` of a 429: nobody sends before it is over
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

FIRST_WINDOW = 16.0
MOST = 256  # in flight; beyond it a limit of connections is met, not one of the provider
LOST_AFTER_S = 15.0  # a process that does not report holds nothing any more
LATE_S = 0.5  # a turn that comes so much too late makes up for it: on a busy machine many do
CELL_S, CELLS = 0.25, 40  # what was let through is counted in cells of a quarter second, for ten seconds
EPOCH_S = 0.5  # one cut of the rate for all 429s of half a second
NO_WORD_S = 1.0  # the pause after a 429 without `retry-after`
AT_ONCE = 8  # part of the window that goes in one turn while no rate is known: a 429 should be heard before the rest is sent
CUT = 0.97
PROBE_AFTER_S, PROBE, MOST_PROBE = 3.0, 0.005, 0.25  # a second; doubled every second that nothing happens
SHARE_GAIN = 1 / 16  # DCTCP's
STRAY = 0.02  # a share of 5xx that says nothing of the load


@dataclass
class Report:
    """What one process saw since its last turn."""

    in_flight: int = 0
    accepted: int = 0
    seconds: float = 0.0
    """Summed over the accepted ones."""
    limited: int = 0
    """429s."""
    overloaded: int = 0
    """529 and other 5xx."""
    retry_after_s: float | None = None
    limit_per_minute: float | None = None
    remaining: float | None = None
    """What the newest headers said."""


@dataclass
class State:
    window: float = FIRST_WINDOW
    doubling: bool = True
    rate: float | None = None
    ceiling: float | None = None
    """The provider's own word: the rate is not probed beyond it."""
    left: float | None = None
    """What remains by the newest headers, less what was sent since."""
    next_at: float = 0.0
    pause_until: float = 0.0
    cut_at: float = 0.0
    turned_at: float = 0.0
    latency: float = 0.0
    share: float = 0.0
    """Of the answers, how many were 529 or another 5xx."""
    cells: dict[str, int] = field(default_factory=dict)
    held: dict[str, list[float]] = field(default_factory=dict)
    """Process → how many it has in flight, and when it said so."""

    def as_json(self) -> dict[str, Any]:
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(self).items()}


def turn(state: State, now: float, holder: str, report: Report, wanted: int) -> tuple[int, float]:
    """Take a report in and let some of `wanted` questions go: how many, and the seconds until it is worth asking again.

    `state` is changed in place.
    """
    state.held = {name: seen for name, seen in state.held.items() if now - seen[1] < LOST_AFTER_S and name != holder}
    in_flight = int(sum(count for count, _ in state.held.values())) + report.in_flight
    _take_in(state, report)
    if report.remaining is not None:
        state.left = report.remaining - in_flight  # sent after the headers were written, as far as anyone can tell
    if report.limited:
        _meet_the_limit(state, now, report)
    elif state.rate is not None:
        _probe(state, now)
    elif state.left is not None and state.left <= 0:
        _see_the_limit(state, now, report)
    _move_the_window(state, in_flight, report)
    state.turned_at = now
    granted, wait = _grant(state, now, min(wanted, int(state.window) - in_flight))
    _let_through(state, now, granted - report.limited)
    if report.in_flight + granted:
        state.held[holder] = [report.in_flight + granted, now]
    return granted, wait


def _take_in(state: State, report: Report) -> None:
    if report.accepted:
        mean = report.seconds / report.accepted
        state.latency = mean if not state.latency else state.latency + (mean - state.latency) / 8
    ended = report.accepted + report.overloaded
    if ended:
        state.share += (report.overloaded / ended - state.share) * (1 - (1 - SHARE_GAIN) ** ended)


def _let_through(state: State, now: float, count: int) -> None:
    """Count what was sent and not turned away."""
    cell = int(now / CELL_S)
    state.cells = {name: there for name, there in state.cells.items() if cell - int(name) < CELLS}
    if count:
        state.cells[str(cell)] = state.cells.get(str(cell), 0) + count


def _let_through_per_s(state: State, now: float) -> float:
    """Since the last cut, at most for ten seconds; at least over one."""
    cells = [(int(name), count) for name, count in state.cells.items() if int(name) * CELL_S >= state.cut_at]
    if not cells:
        return 0.0
    began = min(cell for cell, _ in cells) * CELL_S
    return max(0, sum(count for _, count in cells)) / max(1.0, now - began)


def _meet_the_limit(state: State, now: float, report: Report) -> None:
    state.pause_until = max(state.pause_until, now + (NO_WORD_S if report.retry_after_s is None else report.retry_after_s))
    if now - state.cut_at < EPOCH_S:
        return
    measured = _let_through_per_s(state, now)
    if state.rate is None:
        state.ceiling = _stated(measured, report)
        state.rate = max(0.2, state.ceiling or measured)
    else:
        state.rate = max(0.2, min(max(measured, 0.7 * state.rate), CUT * state.rate))
    state.cut_at = now
    state.doubling = False
    state.next_at = max(state.next_at, state.pause_until)
    state.window = max(2.0, min(state.window, 2 + 2 * state.rate * max(state.latency, 0.05)))


def _see_the_limit(state: State, now: float, report: Report) -> None:
    """The headers say that what is in flight may use up all that remains."""
    state.left = None
    if stated := _stated(_let_through_per_s(state, now), report):
        state.rate = state.ceiling = stated
        state.next_at = now
        state.doubling = False


def _stated(measured: float, report: Report) -> float | None:
    """The provider's word in requests a second, unless what it lets through shows that it counts in something else."""
    said = report.limit_per_minute / 60 if report.limit_per_minute else 0.0
    return said if said and said >= measured / 3 else None


def _probe(state: State, now: float) -> None:
    quiet = now - state.cut_at - PROBE_AFTER_S
    if quiet > 0 and state.rate is not None:
        growth = min(MOST_PROBE, PROBE * 2 ** min(quiet, 8.0)) * min(1.0, max(0.0, now - state.turned_at))
        state.rate = min(state.rate * (1 + growth), state.ceiling or float(10 * MOST))


def _move_the_window(state: State, in_flight: int, report: Report) -> None:
    if report.overloaded and state.share > STRAY:
        state.doubling = state.doubling and state.share < 5 * STRAY
        state.window = max(1.0, state.window * (1 - (state.share - STRAY) / 2) ** min(report.overloaded, 4))
    if report.accepted and in_flight + report.accepted >= state.window / 2:  # an unused window tells nothing
        state.window += report.accepted * (1.0 if state.doubling else max(1 / state.window, 1 / 16))
        if state.doubling and report.limit_per_minute:  # the provider says itself how much it takes
            state.window = max(state.window, 1.5 * state.latency * report.limit_per_minute / 60)
    state.window = min(state.window, MOST)


def _grant(state: State, now: float, most: int) -> tuple[int, float]:
    if now < state.pause_until:
        return 0, state.pause_until - now
    if most <= 0:
        return 0, math.inf  # until one ends
    if state.rate is None:
        most = min(most, math.ceil(state.window / AT_ONCE))
        if state.left is not None:
            most = min(most, max(0, math.ceil(state.left)))
            state.left -= most
        return most, 0.0
    state.next_at = max(state.next_at, now - LATE_S)
    granted = 0
    while granted < most and state.next_at <= now:
        state.next_at += 1 / state.rate
        granted += 1
    return granted, max(0.0, state.next_at - now)


def said_by(headers: Mapping[str, str]) -> tuple[float | None, float | None]:
    """Requests a minute and what remains of them, as Anthropic's or OpenAI's headers say; no token of any kind left counts as
    nothing remaining."""
    limit = _number(headers.get("anthropic-ratelimit-requests-limit") or headers.get("x-ratelimit-limit-requests"))
    left = _number(headers.get("anthropic-ratelimit-requests-remaining") or headers.get("x-ratelimit-remaining-requests"))
    for kind in ("tokens", "input-tokens", "output-tokens"):
        if _number(headers.get(f"anthropic-ratelimit-{kind}-remaining")) == 0:
            return None, 0.0
    return limit, left


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None
