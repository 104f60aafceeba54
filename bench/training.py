"""`python -m bench.training`: how fast we train on this machine beside TRL's own script, what being a job costs, what kill -9 loses.

Everyone trains SmolLM2-135M in a process of its own, one after the other, on the same rows. Nothing passes or fails by time: the
aims stand beside the numbers. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any
from uuid import uuid4

from rich.console import Console
from rich.table import Table

from bench.training_peers.rows import BASE
from tests.tiny import make_model

ROOT = Path(__file__).parent.parent
LINES = ("speed", "as_is", "loss", "overhead", "resume")
RECIPE: dict[str, Any] = {
    "lora_r": 16,
    "lora_alpha": 32,
    "learning_rate": 1e-3,
    "num_train_epochs": 1,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "gradient_checkpointing": False,
    "max_length": 3072,
    "seed": 1,
}
OURS = RECIPE | {"samples": 0, "checkpoint_every_s": 30.0}


def train(peer: str, order: dict[str, Any]) -> dict[str, Any]:
    return train_each(peer, order)[0]


def train_each(peer: str, order: dict[str, Any]) -> list[dict[str, Any]]:
    """One result for each seed."""
    process = subprocess.run(
        [sys.executable, "-m", f"bench.training_peers.{peer}"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    if process.returncode:
        raise SystemExit(f"{peer} failed: {process.stderr[-3000:]}")
    said = json.loads(process.stdout.splitlines()[-1])
    runs: list[dict[str, Any]] = said if isinstance(said, list) else [said]
    for done in runs:
        done["rate"] = done["tokens"] / done["seconds"] if "tokens" in done else 0.0
        Console(stderr=True).print(f"{peer}: {done}")
    return runs


def speed(cache: Path, rows: int, rounds: int, *, as_is: bool) -> Table:
    order = {"train": rows, "heldout": 12, "cache": str(cache), "as_is": as_is}
    ours = [train("bare", order | {"config": OURS}) for _ in range(rounds)]
    theirs = [train("trl_docs", order | {"config": RECIPE}) for _ in range(rounds)]
    table = Table("who", "useful tokens/s", "held-out loss", "steps")
    for name, made in (("Goldsmith's recipe, packed", ours), (f"TRL's script{', its own defaults' if as_is else ''}", theirs)):
        table.add_row(
            name, f"{median(one['rate'] for one in made):.0f}", f"{made[0]['heldout_loss']:.3f}", str(made[0]["steps"])
        )
    ratios = [one["rate"] / other["rate"] for one, other in zip(ours, theirs, strict=True)]
    table.caption = f"ratio {median(ratios):.2f} (aim 1.3), of rounds {', '.join(f'{ratio:.2f}' for ratio in ratios)}"
    return table


def loss(cache: Path, base: str, seeds: Sequence[int], more: dict[str, Any], rows: int) -> Table:
    """The held-out loss after many updates by both, from the same first weights and on the same rows. The seed decides the order of
    the rows and the adapter's first weights, which differ between the two: only their means can be compared."""
    order = {"train": rows, "heldout": 24, "cache": str(cache), "short": True, "base": base, "seeds": list(seeds)}
    ours = train_each("bare", order | {"config": OURS | more})
    theirs = train_each("trl_docs", order | {"config": RECIPE | more})
    table = Table("seed", "Goldsmith's recipe, packed", "TRL's script", "difference")
    gains = [one["heldout_loss"] - other["heldout_loss"] for one, other in zip(ours, theirs, strict=True)]
    for seed, one, other, gain in zip(seeds, ours, theirs, gains, strict=True):
        table.add_row(str(seed), f"{one['heldout_loss']:.4f}", f"{other['heldout_loss']:.4f}", f"{gain:+.4f}")
    spread = f" ± {stdev(gains) / len(gains) ** 0.5:.4f} (standard error)" if len(gains) > 1 else ""
    table.caption = (
        f"{ours[0]['steps']} and {theirs[0]['steps']} updates; mean difference {mean(gains):+.4f}{spread}; aim: not above 0"
    )
    return table


def overhead(cache: Path, rows: int, rounds: int) -> Table:
    order = {"train": rows, "heldout": 12, "cache": str(cache), "config": OURS}
    table = Table("round", "bare script, s", "job, s", "more")
    shares = []
    for number in range(rounds):  # in turns, so that neither has the better half of the time
        peers = ("bare", "job") if number % 2 == 0 else ("job", "bare")
        done = {peer: train(peer, order)["seconds"] for peer in peers}
        shares.append(done["job"] / done["bare"] - 1)
        table.add_row(str(number + 1), f"{done['bare']:.1f}", f"{done['job']:.1f}", f"{shares[-1]:+.1%}")
    table.caption = f"median {median(shares):+.1%} (aim at most 3 %), a checkpoint every {OURS['checkpoint_every_s']:.0f} s"
    return table


def resume(rounds: int, every: int) -> Table:
    table = Table("killed after step", "went on from", "steps lost")
    lost = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            order = {"model": str(make_model(Path(folder) / "model")), "folder": folder, "job": str(uuid4()), "every": every}
            command = [sys.executable, "-m", "bench.training_peers.kill"]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
            )
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(order | {"attempt": 1}))
            process.stdin.close()
            last, wanted = 0, random.randint(every + 1, 80)
            for line in process.stdout:
                last = int(line)
                if last >= wanted:
                    break
            process.kill()
            process.wait()
            done = train("kill", order | {"attempt": 2})
        lost.append(last - done["resumed_at"])
        table.add_row(str(last), str(done["resumed_at"]), str(lost[-1]))
    table.caption = f"at most {max(lost)} lost (aim at most the interval of {every} and the step in hand)"
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=LINES, nargs="+", default=LINES)
    parser.add_argument("--rows", type=int, default=32, help="training rows; eight make an update")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path(".goldsmith/models"), help="where the de-quantised base model lies")
    parser.add_argument("--seeds", type=int, default=8, help="of `loss`, on a tiny model; one of them on SmolLM2 too")
    asked = parser.parse_args()
    console = Console(width=110)
    if "speed" in asked.only:
        console.print(speed(asked.cache, asked.rows, asked.rounds, as_is=False))
    if "as_is" in asked.only:
        console.print(speed(asked.cache, max(4, asked.rows // 5), 1, as_is=True))
    if "loss" in asked.only:
        with tempfile.TemporaryDirectory() as folder:
            tiny = str(make_model(Path(folder)))
            console.print(loss(asked.cache, tiny, range(asked.seeds), {"learning_rate": 1e-2, "num_train_epochs": 4}, rows=240))
        console.print(loss(asked.cache, BASE, [1], {"per_device_train_batch_size": 4, "num_train_epochs": 2}, rows=48))
    if "overhead" in asked.only:
        console.print(overhead(asked.cache, asked.rows, asked.rounds))
    if "resume" in asked.only:
        console.print(resume(max(3, asked.rounds), every=4))


if __name__ == "__main__":
    main()
