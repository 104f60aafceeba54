"""The arrays that a clustering leaves: `centroids.npz` and `embeddings.npz`. Plain arrays, never a pickle."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from goldsmith.errors import Conflict, InvalidInput
from goldsmith.uno.centroids import FORMAT_VERSION, moved_on, nearest, read_centroids

Vectors = NDArray[numpy.float32]


@dataclass
class Clustering:
    """What the next clustering and the router go on with."""

    encoder: str
    centroids: Vectors
    """(clusters, dimension): the mean of each cluster's text vectors, not brought to length 1."""
    cluster_ids: list[str]
    sessions: list[str]
    labels: NDArray[numpy.int64]
    """Of `sessions`."""
    queries: Vectors
    """(sessions, dimension), each of length 1."""
    rules: Vectors
    """The same of each session's rules."""

    @property
    def sizes(self) -> NDArray[numpy.int64]:
        return numpy.bincount(self.labels, minlength=len(self.centroids))

    def check_encoder(self, encoder: str, dimension: int) -> None:
        """Raise `Conflict` when vectors of this encoder cannot be compared with the centroids."""
        if dimension != self.centroids.shape[1] or encoder != self.encoder:
            raise Conflict(
                f"the encoder {encoder} gives {dimension} numbers a text, the stored centroids have {self.centroids.shape[1]} and"
                f" are {self.encoder}'s: use that encoder, or cluster anew"
            )

    def arrays(self) -> dict[str, bytes]:
        """By file name."""
        return {
            "centroids.npz": _packed(
                format_version=numpy.array(FORMAT_VERSION),
                encoder=numpy.array(self.encoder, dtype=numpy.str_),
                centroids=self.centroids.astype(numpy.float32),
                cluster_ids=numpy.array(self.cluster_ids, dtype=numpy.str_),
                sizes=self.sizes,
                labels=self.labels,
                sessions=numpy.array(self.sessions, dtype=numpy.str_),
            ),
            "embeddings.npz": _packed(
                format_version=numpy.array(FORMAT_VERSION),
                encoder=numpy.array(self.encoder, dtype=numpy.str_),
                queries=self.queries,
                rules=self.rules,
                sessions=numpy.array(self.sessions, dtype=numpy.str_),
            ),
        }


def _packed(**arrays: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    numpy.savez(out, allow_pickle=False, **arrays)
    return out.getvalue()


def load(centroids: Path, embeddings: Path) -> Clustering:
    """Raises `InvalidInput` for files of another version, or that are none."""
    known = read_centroids(centroids)
    try:
        with numpy.load(centroids, allow_pickle=False) as kept, numpy.load(embeddings, allow_pickle=False) as vectors:
            if kept["sessions"].tolist() != vectors["sessions"].tolist():
                raise InvalidInput("embeddings.npz is not of the same sessions as centroids.npz: cluster again")
            return Clustering(
                known.encoder,
                known.vectors,
                known.cluster_ids,
                [str(one) for one in kept["sessions"]],
                kept["labels"].astype(numpy.int64),
                vectors["queries"],
                vectors["rules"],
            )
    except (KeyError, ValueError, OSError) as error:
        raise InvalidInput(f"centroids.npz and embeddings.npz cannot be gone on with ({error}): cluster again") from None


def added(to: Clustering, sessions: list[str], queries: Vectors, rules: Vectors) -> Clustering:
    """The sessions beside those that are there: each with the nearest of the centroids as they were; then these move on."""
    labels = nearest(queries, to.centroids)
    return Clustering(
        to.encoder,
        moved_on(to.centroids, to.sizes, queries, labels),
        to.cluster_ids,
        [*to.sessions, *sessions],
        numpy.concatenate([to.labels, labels]),
        numpy.concatenate([to.queries, queries]),
        numpy.concatenate([to.rules, rules]),
    )
