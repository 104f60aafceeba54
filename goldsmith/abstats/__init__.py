"""The statistics of a live comparison: pure functions of numbers, no SQL. `docs/ab.md` says how well they do."""

from goldsmith.abstats.difference import (
    Interval,
    Observations,
    estimate,
    evidence,
    evidence_path,
    lower,
    path,
    sequence,
    upper,
)
from goldsmith.abstats.rate import rate_evidence
from goldsmith.abstats.ratio import mismatch

__all__ = [
    "Interval",
    "Observations",
    "estimate",
    "evidence",
    "evidence_path",
    "lower",
    "mismatch",
    "path",
    "rate_evidence",
    "sequence",
    "upper",
]
