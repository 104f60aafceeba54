"""How many questions may be in flight, and when the next one may go. Pure: time, events and state come from outside.

Three things slow us down, each for what it says:

    the window   additive increase; cut in proportion to the share of answers that were 529 or 5xx, so that a stray one costs
                 little and an outage halves it again and again
    the bucket   what we believe of the provider's: so many questions a second run in, one is taken out by each that goes.
                 Where headers say the limit and what remains, they say both numbers; else the first 429 says that it is empty,
                 and what went between two 429s is what ran in meanwhile
    the pause    `retry-after` of a 429: nobody sends before it is over
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

FIRST_WINDOW = 16.0
MOST = 256  # in flight; beyond it a limit of connections is met, not one of the provider
LOST_AFTER_S = 15.0  # a process that does not report holds nothing any more
AHEAD_S = 0.1  # what goes in that time is let through in one turn
EPOCH_S = 0.5  # all 429s of half a second are one
SLOWEST = 0.2  # questions a second
TURNED_AWAY_S = 0.05  # a shorter pause than that says nothing of the rate
NO_WORD_S = 1.0  # the pause after a 429 without `retry-after`
AT_ONCE = 8  # part of the window that goes in one turn while no limit is known: a 429 should be heard before the rest is sent
SPEND_S = 0.5  # what is left above the reserve is spent in about that time, and what lacks is saved in it
RESERVE = 0.06  # seconds of the rate that stay in the bucket, for what arrives out of step
CUT, SURE = 0.97, 0.995
MEASURED_S, MEASURED = 1.0, 4  # a shorter time or fewer questions measure no rate
PROBE = (5.0, 0.001, 0.1)  # after so many seconds the rate grows by that part a second, which doubles every second, up to that
PROBE_GUESS = (1.0, 0.02, 0.5)  # the same for a rate that is no more than a guess
SEVERAL = 2
MISLED = 3  # so many 429s against what the headers said, and they are not believed any more
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
    said: int = 0
    """Responses whose headers said what remains."""
    apart: float = 0.0
    """Summed over them: what they said, less what we had counted when the question was let through."""


@dataclass
class State:
    window: float = FIRST_WINDOW
    doubling: bool = True
    rate: float | None = None
    """Questions a second; None: no limit is known."""
    ceiling: float | None = None
    """The provider's own word: the rate is not probed beyond it."""
    counted: float = 0.0
    """What ran into the bucket, less what was let through."""
    counted_at: float = 0.0
    apart: float | None = None
    """What the headers say is in the bucket, less `counted`; None: they say nothing, and `counted` is the bucket."""
    burst: float | None = None
    """Most that the bucket holds, where only 429s tell."""
    evenly: bool = False
    """Questions go one by one, for nobody knows how many the bucket takes together."""
    crossed: int = 0
    """How often a limit that was known was crossed all the same."""
    guessed: bool = True
    """The rate has not been measured well."""
    misled: int = 0
    next_at: float = 0.0
    pause_until: float = 0.0
    emptied_at: float = 0.0
    """When a 429 last said that the bucket is empty; at first, when the first question went."""
    paused_s: float = 0.0
    """How long nobody sent then."""
    emptied_rate: float = 0.0
    """The rate that we went on with."""
    went: int = 0
    """Questions that went since, and were not turned away."""
    latency: float = 0.0
    share: float = 0.0
    """Of the answers, how many were 529 or another 5xx."""
    held: dict[str, list[float]] = field(default_factory=dict)
    """Process → how many it has in flight, and when it said so."""

    def as_json(self) -> dict[str, Any]:
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Grant:
    """Some questions may go, each at its moment."""

    count: int
    wait: float
    """Seconds until it is worth asking for more; infinite: until one has ended."""
    first: float = 0.0
    """Seconds until the first may go."""
    step: float = 0.0
    """Seconds from one to the next."""
    counted: float = 0.0
    """The state's, before the first of them."""


def turn(state: State, now: float, holder: str, report: Report, wanted: int) -> Grant:
    """Take a report in and let some of `wanted` questions go. `state` is changed in place."""
    if state.counted_at > now + 1:  # another server's clock, or one that was set back
        move(state, now - state.counted_at)
    state.held = {name: seen for name, seen in state.held.items() if now - seen[1] < LOST_AFTER_S and name != holder}
    in_flight = int(sum(count for count, _ in state.held.values())) + report.in_flight
    _take_in(state, report)
    state.went -= report.limited
    _fill(state, now)
    _hear(state, report, in_flight)
    if report.limited:
        _meet_the_limit(state, now, report)
    _move_the_window(state, in_flight, report)
    grant = _grant(state, now, min(wanted, int(state.window) - in_flight))
    state.went += grant.count
    state.emptied_at = state.emptied_at or now
    if report.in_flight + grant.count:
        state.held[holder] = [report.in_flight + grant.count, now]
    return grant


def share_of(state: State, holder: str) -> State:
    """What one process may take of a state that it can share no more."""
    sharing = max(1, len({*state.held, holder}))

    def part(value: float | None) -> float | None:
        return None if value is None else value / sharing

    share = replace(state, window=max(1.0, state.window / sharing), held={}, rate=part(state.rate), burst=part(state.burst))
    if share.apart is None:
        share.counted /= sharing
    return share


def move(state: State, seconds: float) -> None:
    """To a clock that is so much ahead."""
    for name in ("counted_at", "next_at", "pause_until", "emptied_at"):
        if at := getattr(state, name):
            setattr(state, name, at + seconds)


def _take_in(state: State, report: Report) -> None:
    if report.accepted:
        mean = report.seconds / report.accepted
        state.latency = mean if not state.latency else state.latency + (mean - state.latency) / 8
    ended = report.accepted + report.overloaded
    if ended:
        state.share += (report.overloaded / ended - state.share) * (1 - (1 - SHARE_GAIN) ** ended)


# -- the bucket


def _fill(state: State, now: float) -> None:
    """What ran in since the last turn; and the rate is probed, where nothing has happened for a while."""
    passed = max(0.0, now - state.counted_at) if state.counted_at else 0.0
    state.counted_at = now
    if state.rate is None:
        return
    state.counted += state.rate * passed
    if state.apart is None and state.burst is not None:
        state.counted = min(state.counted, state.burst)
    after_s, part, most = PROBE_GUESS if state.guessed else PROBE
    quiet = now - max(state.emptied_at, state.pause_until) - after_s
    if quiet > 0 and (state.ceiling is None or state.rate < state.ceiling):
        growth = min(most, part * 2 ** min(quiet, 10.0)) * min(1.0, passed)
        state.rate = min(state.rate * (1 + growth), state.ceiling or 10.0 * MOST)


def _hear(state: State, report: Report, in_flight: int) -> None:
    """What the headers say."""
    if not report.said or state.misled >= MISLED:
        return
    if report.limit_per_minute:
        stated = report.limit_per_minute / 60
        if state.rate is None or state.ceiling is None:
            state.rate = stated
        state.ceiling = stated
    if state.rate is None:
        return  # they say what remains, but not how soon it comes back: a 429 will
    heard = report.apart / report.said
    if state.apart is None:
        state.apart = heard
    else:  # as fast as a second's answers; the newest half counts most
        state.apart += (heard - state.apart) * min(1.0, report.said / 8)


def _in_bucket(state: State) -> float:
    return state.counted + (state.apart or 0.0)


def _meet_the_limit(state: State, now: float, report: Report) -> None:
    pause = NO_WORD_S if report.retry_after_s is None else report.retry_after_s
    paused = state.pause_until > now
    state.pause_until = max(state.pause_until, now + pause)
    if paused or (state.rate is not None and now - state.emptied_at < EPOCH_S):
        return  # of those that were under way when the bucket was empty
    thought, passed = _in_bucket(state), now - state.emptied_at
    if state.rate is None:
        # too high by the first bucketful; the next 429 says by how much
        state.rate = max(SLOWEST, state.went / max(1.0, passed), 1 / max(pause, TURNED_AWAY_S))
        state.evenly = True
    else:
        state.evenly = state.apart is None or state.crossed >= SEVERAL
        state.crossed += 1
        believed = state.apart is not None  # then the rate is said too, and what remains was counted wrong
        if believed and thought > 2 + 2 * RESERVE * state.rate:
            state.misled += 1
            believed = state.misled < MISLED
        if not believed:
            state.apart = None
            state.rate = max(SLOWEST, _measured(state, passed, thought))
    state.counted = max(0.0, 1 - state.rate * pause) - (state.apart or 0.0)  # one may go when the pause is over
    state.emptied_at, state.went = now, 0
    state.paused_s, state.emptied_rate = state.pause_until - now, state.rate
    state.next_at = state.pause_until
    state.doubling = False
    state.window = max(2.0, min(state.window, 2 + 2 * state.rate * max(state.latency, 0.05)))


def _measured(state: State, passed: float, thought: float) -> float:
    """The rate by what went since the bucket was last empty; `thought` is what we took to be in it still."""
    assert state.rate is not None
    if state.burst is not None:
        state.burst = max(1.0, state.burst - max(0.0, thought))
    full = state.paused_s - state.burst / state.rate if state.burst is not None else 0.0  # of the pause, nothing ran in then
    useful = passed - max(0.0, full)
    if useful < MEASURED_S or state.went < MEASURED:
        return CUT * state.rate
    measured = state.went / useful
    if state.rate > 1.05 * state.emptied_rate:  # most of the time it was not used up: this is too low
        measured = max(measured, 0.7 * state.rate)
        state.guessed = measured < 0.9 * state.rate
    else:
        state.guessed = state.paused_s > passed / 4
    if state.burst is None:
        state.burst = measured
    return SURE * min(measured, 1.25 * state.rate)


# -- the window


def _move_the_window(state: State, in_flight: int, report: Report) -> None:
    if report.overloaded and state.share > STRAY:
        state.doubling = state.doubling and state.share < 5 * STRAY
        state.window = max(1.0, state.window * (1 - (state.share - STRAY) / 2) ** min(report.overloaded, 4))
    if report.accepted and in_flight + report.accepted >= state.window / 2:  # an unused window tells nothing
        state.window += report.accepted * (1.0 if state.doubling else max(1 / state.window, 1 / 16))
        if state.doubling and report.limit_per_minute:  # the provider says itself how much it takes
            state.window = max(state.window, 1.5 * state.latency * report.limit_per_minute / 60)
    state.window = min(state.window, MOST)


# -- what goes


def _grant(state: State, now: float, most: int) -> Grant:
    if now < state.pause_until:
        return Grant(0, state.pause_until - now)
    if most <= 0:
        return Grant(0, math.inf)
    counted = state.counted
    if state.rate is None:
        count = min(most, math.ceil(state.window / AT_ONCE))
        state.counted -= count
        return Grant(count, 0.0, counted=counted)
    reserve = (RESERVE if state.evenly else RESERVE + AHEAD_S) * state.rate
    pace = max(state.rate / 4, state.rate + (_in_bucket(state) - reserve) / SPEND_S)
    first = max(state.next_at, now)
    count = max(0, min(most, math.ceil((now + AHEAD_S - first) * pace)))
    state.counted -= count
    if count:
        state.next_at = first + count / pace
    # together they wake this process up once instead of five times, which is a third of all CPU
    return Grant(count, max(0.0, state.next_at - now), first - now, 1 / pace if state.evenly else 0.0, counted)


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
