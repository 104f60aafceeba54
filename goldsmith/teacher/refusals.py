"""What a status code of a provider means, whichever wire format it speaks."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping

from goldsmith.errors import GoldsmithError, RetryableError
from goldsmith.teacher.provider import Failed, Why


def refusal(
    status: int,
    said: str,
    *,
    model: str,
    key_setting: str,
    model_setting: str,
    headers: Mapping[str, str],
    request_id: str | None,
) -> Failed:
    """The failure for a status of 400 and above; `said` is the provider's own reason. None of them is billed."""
    why, detail = _meaning(status, said, model, key_setting, model_setting)
    known = RetryableError if why in ("limited", "busy") else GoldsmithError
    return Failed(known(detail), "no", request_id, why=why, retry_after_s=retry_after_s(headers))


def _meaning(status: int, said: str, model: str, key_setting: str, model_setting: str) -> tuple[Why, str]:
    if status in (401, 403):
        return "key", f"the teacher refused the key in {key_setting} ({said}); nothing was retried"
    if status == 402:
        return "money", f"the account of {key_setting} cannot pay ({said}); nothing was retried"
    if status == 404:
        return "model", f"the teacher knows no model {model!r} ({said}); set `model` or {model_setting}"
    if status == 429:
        return "limited", f"the teacher is busy or broken ({said})"
    if status in (408, 409) or status >= 500:
        return "busy", f"the teacher is busy or broken ({said})"
    return "request", f"the teacher refused the request ({said}); nothing was retried"


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds from now, from `retry-after-ms` or `retry-after` (seconds or a date); None when it is not said."""
    for name, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * factor
        except ValueError:
            continue
        return seconds if 0 <= seconds < float("inf") else None
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    return None if date is None else max(0.0, email.utils.mktime_tz(date) - time.time())
