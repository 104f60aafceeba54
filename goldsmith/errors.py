"""Every way Goldsmith says no.

    GoldsmithError
    ├── InvalidInput            422  a field is wrong; `errors` names field, value and what is allowed
    │   └── ReferenceNotUsable  422  a reference points to nothing, or to a job that failed
    ├── NotFound                404
    ├── Conflict                409  the thing exists, but not in a state that allows this
    ├── PayloadTooLarge         413
    ├── Unauthorized            401
    ├── Forbidden               403  the key is known, but may not do this
    ├── TooManyRequests         429  a rate limit or a quota; `Retry-After` says when to come back
    ├── Unavailable             503  a service that this request needs does not answer
    ├── OutOfMemory             -    a run does not fit into the device's memory; the detail says what would
    ├── RetryableError          -    a run may be tried again; counts against max_attempts
    ├── FencedOut               -    this attempt was given up for dead; whoever raised it must stop
    └── JobCancelled            -    a cancel was asked for

`Requeue` is no error but an outcome: it puts the job back without counting a failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any


class GoldsmithError(Exception):
    """Base of all; `status` is the HTTP status that the one handler in `api` answers with."""

    status = 500
    title = "Internal error"

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class InvalidInput(GoldsmithError):
    status = 422
    title = "Invalid input"

    def __init__(self, detail: str, *, errors: Sequence[dict[str, Any]] = (), **extra: Any) -> None:
        super().__init__(detail, **extra)
        self.errors = list(errors)


class ReferenceNotUsable(InvalidInput):
    title = "Reference not usable"


class NotFound(GoldsmithError):
    status = 404
    title = "Not found"


class Conflict(GoldsmithError):
    status = 409
    title = "Conflict"


class PayloadTooLarge(GoldsmithError):
    status = 413
    title = "Payload too large"


class Unauthorized(GoldsmithError):
    status = 401
    title = "Unauthorized"


class Forbidden(GoldsmithError):
    status = 403
    title = "Forbidden"


class TooManyRequests(GoldsmithError):
    status = 429
    title = "Too many requests"


class Unavailable(GoldsmithError):
    status = 503
    title = "Service unavailable"


class OutOfMemory(GoldsmithError):
    title = "Out of memory"


class RetryableError(GoldsmithError):
    title = "Temporary failure"


class FencedOut(GoldsmithError):
    title = "Attempt fenced out"


class JobCancelled(GoldsmithError):
    title = "Job cancelled"


class Requeue(Exception):
    """Raised by a run to be put back: `scheduled` until `after_s` seconds from now, no failure counted."""

    def __init__(self, after_s: float, reason: str, at: datetime | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s
        self.reason = reason
        self.at = at


def storable(text: str) -> str:
    """Without what Postgres refuses in a text: NUL, and half characters of a foreign encoding, which become `?`."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
