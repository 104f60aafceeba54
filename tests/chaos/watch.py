"""Watches the device from outside, by pid: `python -m tests.chaos.watch FOLDER`. Prints a line whenever two processes live on it."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import psutil


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def main(folder: Path) -> None:
    """Until it is ended. Every process that ever said that it is on the device is looked at again and again until it is gone."""
    on_device: dict[int, psutil.Process] = {}
    looks = 0
    effects = folder / "effects.jsonl"
    effects.touch()
    with effects.open() as file, (folder / "watched.jsonl").open("a") as out:
        rest = ""
        while True:
            rest += file.read()
            *lines, rest = rest.split("\n")
            for line in lines:
                effect = json.loads(line)
                if effect["effect"] == "on the device":
                    try:
                        on_device[effect["pid"]] = psutil.Process(effect["pid"])
                    except psutil.NoSuchProcess:
                        continue  # gone before we looked
            on_device = {pid: process for pid, process in on_device.items() if alive(process)}
            looks += 1
            if len(on_device) > 1:
                out.write(json.dumps({"time": time.time(), "pids": sorted(on_device)}) + "\n")
                out.flush()
            if looks % 50 == 0:
                (folder / "looks").write_text(str(looks))
            time.sleep(0.02)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
