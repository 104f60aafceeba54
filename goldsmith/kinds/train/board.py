"""A run's numbers as a file that TensorBoard reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tensorboardX import SummaryWriter

NAME = "events.out.tfevents.goldsmith"  # TensorBoard looks for the third word


def write_events(metrics: Iterable[Mapping[str, float]], heldout: Mapping[int, float], folder: Path) -> Path:
    """Each number of an update under `train/`, the held-out loss by step; put the file into a folder of its own and run
    `tensorboard --logdir <folder>`."""
    with SummaryWriter(str(folder)) as writer:
        for entry in metrics:
            for name in sorted(entry.keys() - {"step", "epoch"}):
                writer.add_scalar(f"train/{name}", entry[name], int(entry["step"]))
        for step, loss in heldout.items():
            writer.add_scalar("heldout/loss", loss, step)
    (file,) = folder.glob("events.out.tfevents.*")
    return file.rename(folder / NAME)
