"""The centroids that queries are sent to, as a file: plain arrays, never a pickle."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
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
        out = BytesIO()
        numpy.savez(
            out,
            format_version=numpy.array(FORMAT_VERSION),
            centroids=self.vectors,
            cluster_ids=numpy.array(self.cluster_ids, dtype=numpy.str_),
            encoder=numpy.array(self.encoder, dtype=numpy.str_),
        )
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
