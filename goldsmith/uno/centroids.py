"""The centroids that queries are sent to, as a file: plain arrays, never a pickle."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy
from numpy.typing import NDArray

from goldsmith.errors import InvalidInput

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Centroids:
    vectors: NDArray[numpy.float32]
    """One row per cluster."""
    cluster_ids: list[str]
    encoder: str

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or not len(self.vectors) or len(self.vectors) != len(self.cluster_ids):
            raise InvalidInput(
                f"centroids: shape {self.vectors.shape} for {len(self.cluster_ids)} cluster ids; one row each is wanted"
            )
        if not numpy.isfinite(self.vectors).all():
            raise InvalidInput("centroids: a number of them is not finite")

    def to_bytes(self) -> bytes:
        return _packed(
            {
                "format_version": numpy.array(FORMAT_VERSION),
                "centroids": self.vectors,
                "cluster_ids": numpy.array(self.cluster_ids, dtype=numpy.str_),
                "encoder": numpy.array(self.encoder, dtype=numpy.str_),
            }
        )

    def of(self, cluster_ids: Container[str | None]) -> Centroids:
        """Those of these clusters, in their order."""
        rows = [row for row, one in enumerate(self.cluster_ids) if one in cluster_ids]
        return Centroids(self.vectors[rows], [self.cluster_ids[row] for row in rows], self.encoder)


def means(queries: NDArray[numpy.float32], labels: NDArray[numpy.int64]) -> NDArray[numpy.float32]:
    """A centroid for each label from 0: the mean of its queries' vectors, not brought to length 1. Every label has a query."""
    found = [queries[labels == label].mean(axis=0, dtype=numpy.float64) for label in range(int(labels.max()) + 1)]
    return numpy.stack(found).astype(numpy.float32)


def nearest(queries: NDArray[numpy.float32], centroids: NDArray[numpy.float32]) -> NDArray[numpy.int64]:
    """The label of the nearest centroid; of equals the first."""
    found = numpy.empty(len(queries), dtype=numpy.int64)
    wide = centroids.astype(numpy.float64)
    for row, query in enumerate(queries):
        found[row] = int(((wide - query) ** 2).sum(axis=1).argmin())
    return found


def moved_on(
    centroids: NDArray[numpy.float32],
    sizes: NDArray[numpy.int64],
    queries: NDArray[numpy.float32],
    labels: NDArray[numpy.int64],
) -> NDArray[numpy.float32]:
    """The centroids after queries were added under these labels, one after the other: c ← (c·n + a) / (n + 1), where n is how many
    the cluster has by then, `sizes` at first."""
    wide, counts = centroids.astype(numpy.float64), sizes.copy()
    for label, query in zip(labels, queries, strict=True):
        wide[label] = (wide[label] * counts[label] + query) / (counts[label] + 1)
        counts[label] += 1
    return wide.astype(numpy.float32)


ARRAYS = ("centroids.npz", "embeddings.npz")
"""What a cluster job leaves, both with the ids of its sessions."""


def without(files: Mapping[str, Path], gone: Container[str]) -> dict[str, bytes] | None:
    """`ARRAYS` anew without these sessions: a centroid is the mean of whoever is left, a cluster of nobody is gone; None where nobody
    is left at all. Raises `InvalidInput` for files that cannot be read."""
    known = read_centroids(files["centroids.npz"])
    try:
        with numpy.load(files["centroids.npz"], allow_pickle=False) as kept:
            sessions, labels = [str(one) for one in kept["sessions"]], kept["labels"]
        with numpy.load(files["embeddings.npz"], allow_pickle=False) as vectors:
            queries, rules = vectors["queries"], vectors["rules"]
    except (KeyError, ValueError, BadZipFile, EOFError) as error:
        raise InvalidInput(f"centroids.npz and embeddings.npz cannot be read ({error})") from None
    rows = [row for row, session in enumerate(sessions) if session not in gone]
    if not rows:
        return None
    left, new = numpy.unique(labels[rows], return_inverse=True)
    names = numpy.array([sessions[row] for row in rows], dtype=numpy.str_)
    both = {"format_version": numpy.array(FORMAT_VERSION), "encoder": numpy.array(known.encoder), "sessions": names}
    ids = numpy.array([known.cluster_ids[label] for label in left], dtype=numpy.str_)
    of_centroids = {"centroids": means(queries[rows], new), "cluster_ids": ids, "sizes": numpy.bincount(new), "labels": new}
    return {
        "centroids.npz": _packed(both | of_centroids),
        "embeddings.npz": _packed(both | {"queries": queries[rows], "rules": rules[rows]}),
    }


def _packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    out = BytesIO()
    numpy.savez(out, allow_pickle=False, **arrays)
    return out.getvalue()


def read_centroids(file: Path | bytes) -> Centroids:
    """`centroids.npz` of a cluster job or a router; plain arrays, never a pickle. Raises `InvalidInput` for another version."""
    try:
        with numpy.load(BytesIO(file) if isinstance(file, bytes) else file, allow_pickle=False) as arrays:
            version = int(arrays["format_version"])
            if version != FORMAT_VERSION:
                raise InvalidInput(
                    f"centroids.npz has format version {version}; this Goldsmith reads {FORMAT_VERSION}: cluster again"
                )
            vectors = numpy.ascontiguousarray(arrays["centroids"], dtype=numpy.float32)
            return Centroids(vectors, [str(one) for one in arrays["cluster_ids"]], str(arrays["encoder"]))
    except (KeyError, ValueError, BadZipFile, EOFError) as error:
        raise InvalidInput(f"centroids.npz cannot be read ({error}): cluster again with this version") from None
