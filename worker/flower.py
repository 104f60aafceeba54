"""The Celery app that Flower looks through: `python -m celery -A worker.flower flower`."""

from __future__ import annotations

from goldsmith.queue import celery_app
from goldsmith.settings import get_settings

app = celery_app(get_settings().broker)
