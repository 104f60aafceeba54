"""The receiver in the docs takes what Goldsmith sends, once, and nothing else."""

from __future__ import annotations

import importlib.util
import re
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import pytest

from goldsmith import webhooks
from goldsmith.webhooks import Claimed
from tests.receiver import LOOPBACK

ROOT = Path(__file__).parents[2]


@pytest.fixture
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("webhook_receiver", ROOT / "examples/webhook_receiver.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def url(example: ModuleType) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), example.Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join(120)
    server.server_close()


def test_it_takes_ours_once_and_refuses_others(example: ModuleType, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    secret, other = webhooks.new_secret(), webhooks.new_secret()
    example.Handler.secret = secret
    payload = {"type": "job.completed", "timestamp": "2026-11-21T08:55:42+00:00", "data": {"kind": "töpferei"}}
    claimed = Claimed(uuid4(), uuid4(), payload, 1, url, secret, None)
    assert webhooks.send(claimed, allowed=LOOPBACK).status_code == 204
    assert webhooks.send(claimed, allowed=LOOPBACK).status_code == 204
    assert capsys.readouterr().out == "job.completed {'kind': 'töpferei'}\n"
    forged = Claimed(uuid4(), uuid4(), payload, 1, url, other, None)
    assert webhooks.send(forged, allowed=LOOPBACK).error == "the receiver answered 401"
    rotating = Claimed(uuid4(), uuid4(), payload, 1, url, other, secret)
    assert webhooks.send(rotating, allowed=LOOPBACK).status_code == 204


def test_it_refuses_what_is_played_back(example: ModuleType) -> None:
    secret, body = webhooks.new_secret(), b"{}"
    claimed = Claimed(uuid4(), uuid4(), {}, 1, "", secret, None)
    assert example.verify(secret, webhooks.signed_headers(claimed, int(time.time()), body), body) == {}
    with pytest.raises(ValueError, match="too old"):
        example.verify(secret, webhooks.signed_headers(claimed, int(time.time()) - 301, body), body)


def test_the_docs_show_this_very_code() -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/webhooks.md").read_text(encoding="utf-8"), re.DOTALL)
    assert shown in (ROOT / "examples/webhook_receiver.py").read_text(encoding="utf-8")
