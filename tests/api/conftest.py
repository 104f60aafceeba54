"""The API over HTTP, in this process: its lifespan runs, Postgres and Valkey are real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from goldsmith.db import Connection, connect
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.settings import Settings
from goldsmith.storage import Storage
from tests.databases import Databases

Serve = Callable[..., TestClient]


@pytest.fixture
def serve(database_url: str, valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[Serve]:
    """Start an API with other settings: `serve(max_waiting=1)`. Rescue sleeps, so that tests see what requests did."""
    with ExitStack() as stack:

        def start(**settings: Any) -> TestClient:
            given: dict[str, Any] = {
                "state_dir": tmp_path,
                "database_url": database_url,
                "broker_url": valkey.url,
                "rescue_every_s": 60,
            }
            app = create_app(Settings(_env_file=None, **(given | settings)))
            return stack.enter_context(TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False))

        yield start


@pytest.fixture
def client(serve: Serve) -> TestClient:
    return serve()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


@pytest.fixture(scope="module")
def shared_url(databases: Databases) -> Iterator[str]:
    """One database for all tests of a module, for tests that only get refusals."""
    with databases.fresh() as url:
        yield url


@pytest.fixture(scope="module")
def shared(shared_url: str, valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(
        _env_file=None,
        state_dir=tmp_path_factory.mktemp("state"),
        database_url=shared_url,
        broker_url=valkey.url,
        rescue_every_s=60,
        max_body_bytes=100_000,
    )
    with TestClient(create_app(settings), base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def shared_conn(shared_url: str) -> Iterator[Connection]:
    with connect(shared_url) as conn:
        yield conn
