"""`python -m api`: the API process."""

from __future__ import annotations

import sys
from contextlib import suppress
from types import FrameType

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


class Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Streams and long-polls end first: uvicorn waits for every open answer before it closes the app."""
        app.state.goldsmith.wakeups.release()
        super().handle_exit(sig, frame)


config = uvicorn.Config(
    app,
    host=settings.host,
    port=settings.port,
    log_config=None,
    access_log=False,
    timeout_graceful_shutdown=5,
    server_header=False,
)
with suppress(KeyboardInterrupt):  # uvicorn raises the signal again when it is done
    Server(config).run()
