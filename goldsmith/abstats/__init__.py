"""The statistics of a live comparison: pure functions of numbers, no SQL. `docs/ab.md` says how well they do."""

from goldsmith.abstats.clusters import naive_interval, robust_interval
from goldsmith.abstats.collapse import Collapse, Variety
from goldsmith.abstats.difference import (
    LARGEST,
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
from goldsmith.abstats.ratio import LIMIT as MISMATCH_LIMIT
from goldsmith.abstats.ratio import mismatch

__all__ = [
    "LARGEST",
    "MISMATCH_LIMIT",
    "Collapse",
    "Interval",
    "Observations",
    "Variety",
    "estimate",
    "evidence",
    "evidence_path",
    "lower",
    "mismatch",
    "naive_interval",
    "path",
    "rate_evidence",
    "robust_interval",
    "sequence",
    "upper",
]
