"""`python -m api`: the API process."""

from __future__ import annotations

import sys

import uvicorn

from api.app import create_app
from goldsmith import logging
from goldsmith.errors import GoldsmithError
from goldsmith.settings import get_settings

settings = get_settings()
logging.configure(settings.log_level, process="api")
try:
    app = create_app(settings)
except GoldsmithError as error:
    sys.exit(error.detail)
uvicorn.run(
    app,
    host=settings.host,
    port=settings.port,
    log_config=None,
    access_log=False,
    timeout_graceful_shutdown=5,
    server_header=False,
)
