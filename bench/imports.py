"""How fast recordings come in, beside `find` and reading each metadata.json: `python -m bench.imports`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from uuid import UUID, uuid4

from bench.servers import ROOT, Servers
from goldsmith.db import Database, connect
from goldsmith.kinds.imports.run import run
from goldsmith.kinds.imports.schema import ImportConfig, ImportResult
from goldsmith.settings import Settings
from worker.context import RunContext

WORKSHOP = ROOT / "examples" / "workshop"
IMAGE_BYTES = 2_000_000
RUNS_OF_A_DEVICE = 10
EDITED = 5  # one run in so many has an edited answer
CLEAR = "DELETE FROM run_imports; DELETE FROM feedback; DELETE FROM runs; DELETE FROM import_index"


def generate(folder: Path, runs: int) -> None:
    """Recordings of the Lab: the workshop's sentences, shuffled; images are sparse files, so their 2 MB take no disk."""
    sentences = {"de": [], "en": []}
    inputs: dict[str, list[str]] = {"de": [], "en": []}
    for path in WORKSHOP.rglob("prompting_process/00*.txt"):
        text = path.read_text()
        if "@" in text or re.search(r"\d{3}", text):
            continue  # what is personal there stays there
        language = "de" if re.search(r"[äöüß]|\b(?:der|die|und|ein)\b", text) else "en"
        if path.name == "003_interception.txt":
            sentences[language] += re.split(r"(?<=\.)\s", text)
        elif path.name == "001_input.txt":
            inputs[language] += text.split()
    contexts = {
        path.stem: json.loads(path.read_text())["context"]
        for path in (WORKSHOP / "devserver/schemas/configs/interception").glob("*.json")
    }
    configs = ["herbarium", "loom", "mosaic", "paper_cut", "risograph"]
    pick = random.Random(4)
    for number in range(runs):
        language = "de" if number % 2 else "en"
        config = configs[number % len(configs)]
        day = f"2026-03-{1 + number * 20 // runs:02d}"
        run_id = f"run_{1773130000000 + number * 1000}_{number:06x}"
        device = f"{number // RUNS_OF_A_DEVICE:08x}-6f0e-4c53-9f1e-2f1f7f3c9a11_{day}"
        answer = " ".join(pick.sample(sentences[language], 9))
        final = answer if number % EDITED else answer.replace(".", " still.", 1)
        process = {
            "input": " ".join(pick.sample(inputs[language], 15)),
            "context_prompt": contexts[config][language],
            "interception": answer,
        }
        saved = {
            "input": process["input"],
            "context_prompt": process["context_prompt"],
            "interception": final,
            "generation_prompt": final,
        }
        _write(folder / day / device / run_id, run_id, device, config, f"{day}T10:00:00.{number:06d}", process, saved)


def _write(
    folder: Path, run_id: str, device: str, config: str, at: str, process: dict[str, str], saved: dict[str, str]
) -> None:
    for below in ("final", "prompting_process"):
        (folder / below).mkdir(parents=True)
    steps, entities = [], []
    for number, (kind, text) in enumerate(process.items(), 1):
        name = f"prompting_process/{number:03d}_{kind}.txt"
        (folder / name).write_text(text)
        steps.append({"sequence": number, "type": kind, "filename": name, "timestamp": at, "metadata": {}})
    for number, (kind, text) in enumerate(saved.items(), 1):
        name = f"{number:02d}_{kind}.txt"
        (folder / "final" / name).write_text(text)
        entities.append({"sequence": number, "type": kind, "filename": name, "timestamp": at, "metadata": {}})
    with (folder / "final" / "05_output_image.png").open("wb") as image:
        image.truncate(IMAGE_BYTES)
    made = {"config": "sd35_large", "format": "png", "backend": "swarmui", "seed": 123456789, "width": 1024, "height": 1024}
    entities.append(
        {"sequence": 5, "type": "output_image", "filename": "05_output_image.png", "timestamp": at, "metadata": made}
    )
    document = {
        "run_id": run_id, "timestamp": at, "config_name": config, "execution_mode": "eco", "safety_level": "youth", "user_id": "anonymous",
        "device_id": device, "expected_outputs": ["input", "translation", "safety", "interception", "safety_pre_output", "output_image"],
        "current_state": {"stage": 0, "step": "initialized", "progress": "5/6"}, "entities": entities,
        "models_used": {"stage2_interception": "local/qwen3:4b", "stage4_output": "sd35_large"}, "prompting_process": steps,
        "interception_config": config,
    }  # fmt: skip
    (folder / "metadata.json").write_text(json.dumps(document, indent=2))


def peer(folder: Path) -> int:
    """What anybody would write first: `find`, and each metadata.json read in plain Python."""
    found = subprocess.run(["find", folder, "-name", "metadata.json"], check=True, capture_output=True, text=True)
    return len([json.loads(Path(path).read_text()) for path in found.stdout.splitlines()])


def imported(database: Database, url: str, settings: Settings, folder: Path) -> ImportResult:
    job_id, scratch = uuid4(), settings.state_dir / "scratch"
    with connect(url) as conn:
        conn.execute(
            "INSERT INTO jobs (id, kind, config, status, queue, timeout, attempt, max_attempts, worker, started_at, heartbeat_at) "
            "VALUES (%s, 'import', '{}', 'running', 'io', 3600, 1, 3, 'io@bench:1', now(), now())",
            (job_id,),
        )
    scratch.mkdir(parents=True, exist_ok=True)
    ctx = RunContext(database, settings, job_id=UUID(str(job_id)), kind="import", attempt=1, scratch=scratch)
    return asyncio.run(run(ImportConfig(folder=str(folder), checkout=str(WORKSHOP)), ctx))


def timed(call: Callable[[], object]) -> tuple[float, int]:
    """Seconds of the wall clock, and bytes that this process read."""
    before, start = _bytes_read(), time.perf_counter()
    call()
    return time.perf_counter() - start, _bytes_read() - before


def _bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.imports", description=__doc__)
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    servers = Servers([])
    export = servers.folder / "export"
    try:
        generate(export, asked.runs)
        servers.start(finished=0)
        url = servers.postgres.url()
        settings = Settings(
            _env_file=None, state_dir=servers.folder / "state", database_url=url, import_roots=[servers.folder, WORKSHOP]
        )
        database = Database(url).open()
        imported(database, url, settings, export)  # a worker has its lists of names in memory
        times: dict[str, list[float]] = {"find and read": [], "first import": [], "second import": []}
        for _ in range(asked.rounds):
            with connect(url) as conn:
                conn.execute(CLEAR)
            times["find and read"].append(timed(lambda: peer(export))[0])
            seconds, read = timed(lambda: imported(database, url, settings, export))
            times["first import"].append(seconds)
            times["second import"].append(timed(lambda: imported(database, url, settings, export))[0])
        result = imported(database, url, settings, export)
        database.close()
        sizes = [path.stat() for path in export.rglob("*") if path.is_file()]
        gigabytes, on_disk = sum(each.st_size for each in sizes) / 1e9, sum(each.st_blocks for each in sizes) * 512 / 1e6
        print(f"{asked.runs:,} runs, {gigabytes:.1f} GB by size and {on_disk:.0f} MB on disk: the images are sparse files.")
        print(
            f"The first import read {read / 1e6:.1f} MB. {result.may_train:,} runs may train; of {result.runs:,}, {result.unchanged:,} were there before."
        )
        print("\n| what | s | runs/s | of find and read | of the first import |\n| --- | ---: | ---: | ---: | ---: |")
        middle = {name: median(values) for name, values in times.items()}
        for name, seconds in middle.items():
            print(
                f"| {name} | {seconds:.2f} | {asked.runs / seconds:,.0f} | {seconds / middle['find and read']:.2f} | {seconds / middle['first import']:.2f} |"
            )
        print(f"\nMedians of {asked.rounds} rounds, interleaved, files in the page cache, {os.cpu_count()} CPU cores.")
    finally:
        if servers.processes:
            servers.stop()
        else:
            shutil.rmtree(servers.folder)


if __name__ == "__main__":
    main()
