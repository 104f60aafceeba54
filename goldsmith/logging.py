"""One JSON line an event, on stderr; keys that look like secrets are masked."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_SECRET = re.compile(r"(?i)(api[_-]?key|authorization|password|secret|token)$")
_IN_URL = re.compile(r"(\w+://[^:/@\s]*:)[^@/\s]+@")


def _mask(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if _SECRET.search(key):
            event[key] = "***"
        elif isinstance(value, str):
            event[key] = mask_urls(value)
    return event


def mask_urls(text: str) -> str:
    """The text without the passwords of its URLs."""
    return _IN_URL.sub(r"\1***@", text)


def configure(level: str = "info", **bound: Any) -> None:
    """Set up this process's log; `bound` (process name, worker name) goes into every line.

    All lines leave through the standard library's handler: it does not raise when a line cannot be written (a full disk, a
    closed pipe), so no job fails for its log.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _mask,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # a logger that was used before would keep the set-up of then
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("uvicorn.access").setLevel("WARNING")
    logging.getLogger("celery.app.trace").setLevel("WARNING")  # a job's start and end are lines of our own
    logging.getLogger("celery.worker.strategy").setLevel("WARNING")
    logging.getLogger("httpx").setLevel("WARNING")
    logging.getLogger("alembic").setLevel("WARNING")
    structlog.contextvars.bind_contextvars(**bound)


def request_id() -> str | None:
    """Of the HTTP request that is being answered here; None outside of one."""
    found: str | None = structlog.contextvars.get_contextvars().get("request_id")
    return found
