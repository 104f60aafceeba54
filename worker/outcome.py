"""From an exception to how the attempt ended."""

from __future__ import annotations

import errno
import random
import secrets
from typing import Any

import psycopg
import structlog

from goldsmith.errors import GoldsmithError, JobCancelled, Requeue, RetryableError, storable
from goldsmith.jobs import Outcome

log = structlog.get_logger()
BACKOFF_BASE_S, BACKOFF_MAX_S = 2.0, 300.0


def backoff_s(failures: int) -> float:
    """Exponential with full jitter above half: 1-2 s, 2-4 s, 4-8 s … at most five minutes."""
    ceiling = min(BACKOFF_MAX_S, BACKOFF_BASE_S * (1 << min(failures, 16)))
    return ceiling * random.uniform(0.5, 1.0)  # noqa: S311  spreads retries out


def _again(title: str, detail: str, failures: int, **more: Any) -> Outcome:
    detail = storable(detail)
    log.warning("the run failed for now", error=detail)
    problem = {"type": "about:blank", "title": title, "detail": detail, **more}
    return Outcome("retry", error=problem, message=f"Error: {detail}", after_s=backoff_s(failures))


def of_exception(error: Exception, failures: int = 0) -> Outcome:
    """Named outcomes for the errors of `goldsmith.errors`; anything else is a failure whose traceback stays in the log."""
    match error:
        case JobCancelled():
            return Outcome("cancelled", message="Cancelled")
        case Requeue():
            return Outcome("requeue", message=error.reason, after_s=error.after_s, run_at=error.at)
        case RetryableError():
            return _again(error.title, error.detail, failures, **error.extra)
        case psycopg.OperationalError():  # the database went away under a run that was all right
            return _again("Database away", str(error).partition("\n")[0], failures)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return _again("Disk full", f"no space left on the disk ({error.filename or 'of the state folder'})", failures)
        case GoldsmithError():
            log.warning("the run failed", error=error.detail)
            detail = storable(error.detail)
            problem = {"type": "about:blank", "title": error.title, "detail": detail, **error.extra}
            if errors := getattr(error, "errors", None):
                problem["errors"] = errors
            return Outcome("failed", error=problem, message=f"Error: {detail}")
    trace_id = secrets.token_hex(6)
    log.error("the run broke", trace_id=trace_id, exc_info=error)
    # What the database says may quote statements and rows; they stay in the log.
    detail = type(error).__name__ if isinstance(error, psycopg.Error) else storable(f"{type(error).__name__}: {error}")[:1000]
    return Outcome(
        "failed",
        error={"type": "about:blank", "title": "The run broke", "detail": detail, "traceback_id": trace_id},
        message=f"Error: {detail}",
    )
