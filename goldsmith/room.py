"""Room on the GPU before a training's first step: measure, let others unload what the admin allows, measure again, or wait.

NVML alone says what is free: every service knows its own share only. Nothing is reserved, so what was free may be taken the next
moment; a run that meets that is told so by CUDA, and halves its batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import psutil

from goldsmith import gpu, unloading
from goldsmith.errors import OutOfMemory, Requeue
from goldsmith.footprint import Footprint, size
from goldsmith.gpu import Memory
from goldsmith.settings import Settings
from goldsmith.unloading import Held, Service, Trouble

ENOUGH, WAITS, MAY_NOT_FIT = "memory is enough", "waits for GPU memory", "may not fit into memory"
"""What the job's events say; how long it has waited is counted by them."""

FIRST_LOOK_S, LAST_LOOK_S = 60.0, 900.0  # each look costs a start of torch, half a minute of a core
SETTLE_S = 10.0  # a runner of Ollama is a process that has to end first
BESIDES = 2**30  # what a service frees beyond the model: caches, graphs, a CUDA context
SHOWN = 6


class Telling(Protocol):
    """What of a `JobContext` is used here."""

    def progress(self, percent: float, message: str = "", **metrics: float) -> None: ...
    def log(self, message: str, **data: Any) -> None: ...


@dataclass
class Report:
    """How the room was made, or why there is none."""

    memory: Memory
    unloaded: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """What stays, each with the reason."""
    notes: list[str] = field(default_factory=list)
    """What went wrong on the way."""


def ensure(
    need: Footprint,
    advice: str,
    gpu_id: str | None,
    settings: Settings,
    ctx: Telling,
    waited: Callable[[], tuple[int, float]],
) -> None:
    """Return when `need` fits on the device; where NVML knows none, when the RAM was looked at.

    Otherwise raises `Requeue` with the reason and the next look (1 minute, then doubling up to 15), or `OutOfMemory` with the
    advice: at once when the whole device is too small, else when the job has waited GOLDSMITH_GPU_WAIT_H. `waited` says how often
    it was put back so far and for how many seconds.
    """
    memory = gpu.memory(gpu_id) if gpu_id is not None else None
    if gpu_id is None or memory is None:
        _look_at_ram(need, ctx)
        return
    wanted = f"about {size(need.total)} of GPU memory are needed"
    waits = settings.gpu_wait_h > 0
    if waits and memory.total < need.total:
        raise OutOfMemory(f"{wanted}, and the whole device has {size(memory.total)}; {advice}")
    last = memory
    report = make_room(
        need.total,
        lambda: gpu.memory(gpu_id) or last,
        unloading.services(settings),
        busy=lambda: unloading.busy(settings),
        say=lambda words: ctx.progress(1, words),
    )
    fits = report.memory.free >= need.total
    data = told(report.memory) | {"needed_gb": need.as_gb(), "unloaded": report.unloaded, "left": report.left}
    if fits or not waits:
        ctx.log(ENOUGH if fits else MAY_NOT_FIT, **data, notes=report.notes)
        return
    why = _why(f"{wanted}, {size(report.memory.free)} are free", report)
    times, seconds = waited()
    if seconds >= settings.gpu_wait_h * 3600:
        raise OutOfMemory(f"after {seconds / 3600:.1f} hours of waiting (GOLDSMITH_GPU_WAIT_H) {why}; {advice}")
    ctx.log(WAITS, **data, notes=report.notes)
    raise Requeue(min(FIRST_LOOK_S * 2 ** min(times, 10), LAST_LOOK_S), f"Waits: {why}")


def make_room(
    needed: int,
    measure: Callable[[], Memory],
    services: Sequence[Service],
    *,
    busy: Callable[[], str | None],
    say: Callable[[str], None],
    settle_s: float = SETTLE_S,
) -> Report:
    """Unload one model after the other until `needed` bytes are free, and no more than that takes.

    Nothing is unloaded when all of it together would not do, and nothing more once somebody waits for ComfyUI. Before each step
    every service is asked anew. A model is asked for once; a service whose model went without memory coming back here (it lies
    on another device) is asked for no more.
    """
    report = Report(measure())
    tried: set[tuple[str, str]] = set()
    elsewhere: set[str] = set()
    while (missing := needed - report.memory.free) > 0:
        held, report.left = _list(services)
        choice = [one for one in held if (one.service, one.model) not in tried and one.service not in elsewhere]
        if not choice or _hopeless(choice, missing):
            report.left += [f"{one} (would not be enough)" for one in choice]
            return report
        if (why := busy()) is not None:
            report.left += [f"{one} ({why})" for one in choice]
            return report
        one = _next(choice, missing)
        tried.add((one.service, one.model))
        say(f"asking {one.service} to unload {one.model}")
        before = report.memory.free
        trouble = _unload(services, one)
        report.memory = _settled(measure, before, one, needed, 0 if trouble else settle_s)
        if trouble is None and report.memory.free - before >= min((one.bytes or 1) // 2, missing):
            report.unloaded.append(str(one))
        elif trouble is None and not _still_there(services, one):
            report.unloaded.append(f"{one}, which freed nothing here")
            elsewhere.add(one.service)
        else:
            report.notes.append(f"{one.service} {one.model}: {trouble or 'it says that it unloaded it, and keeps it'}")
    _, report.left = _list(services) if report.unloaded else ([], report.left)
    return report


def _list(services: Sequence[Service]) -> tuple[list[Held], list[str]]:
    """What may go, and why the rest may not."""
    may_go: list[Held] = []
    left: list[str] = []
    for service in services:
        try:
            for one in service.held():
                if one.kept:
                    left.append(f"{one} ({one.kept})")
                else:
                    may_go.append(one)
        except Trouble as error:
            left.append(f"{service.name} ({error})")
    return may_go, left


def _hopeless(choice: Sequence[Held], missing: int) -> bool:
    return all(one.bytes for one in choice) and sum((one.bytes or 0) + BESIDES for one in choice) < missing


def _next(choice: Sequence[Held], missing: int) -> Held:
    """The smallest that closes the gap alone, else the largest: the fewest models go."""
    enough = [one for one in choice if (one.bytes or 0) >= missing]
    return min(enough, key=lambda one: one.bytes or 0) if enough else max(choice, key=lambda one: one.bytes or 0)


def _unload(services: Sequence[Service], one: Held) -> Trouble | None:
    try:
        next(service for service in services if service.name == one.service).unload(one)
    except Trouble as error:
        return error
    return None


def _settled(measure: Callable[[], Memory], before: int, one: Held, needed: int, seconds: float) -> Memory:
    """The memory once the model's share is back, or the time is over."""
    end = time.monotonic() + seconds
    while True:
        now = measure()
        if now.free >= needed or (one.bytes and now.free - before >= one.bytes) or time.monotonic() >= end:
            return now
        time.sleep(0.1)


def _still_there(services: Sequence[Service], one: Held) -> bool:
    try:
        return any(other.model == one.model for service in services if service.name == one.service for other in service.held())
    except Trouble:
        return True


def _look_at_ram(need: Footprint, ctx: Telling) -> None:
    """Only told: the system swaps and takes back caches, so nobody can say that it does not fit."""
    free = psutil.virtual_memory().available
    if free < need.total:
        ctx.log(MAY_NOT_FIT, needed_gb=need.as_gb(), free_gb=round(free / 1e9, 1))


def _why(words: str, report: Report) -> str:
    parts = [words]
    if report.memory.holders:
        parts.append(f"held by {_few([str(one) for one in report.memory.holders])}")
    if report.unloaded:
        parts.append(f"unloaded {_few(report.unloaded)}")
    if report.left:
        parts.append(f"not unloaded {_few(report.left)}")
    parts += report.notes
    return "; ".join(parts)


def _few(parts: Sequence[str]) -> str:
    more = f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
    return ", ".join(parts[:SHOWN]) + more


def told(memory: Memory) -> dict[str, Any]:
    """For an event: numbers and programs' names."""
    return {
        "free_gb": round(memory.free / 1e9, 2),
        "total_gb": round(memory.total / 1e9, 2),
        "processes": [
            {"pid": one.pid, "name": one.name, "mb": None if one.bytes is None else round(one.bytes / 1e6)}
            for one in memory.holders
        ],
    }
