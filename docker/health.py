"""The containers' health check; exit code 0 means healthy.

python docker/health.py http PORT PATH    the server on this machine answers with a 2xx status
python docker/health.py worker            the worker (or beat) of this container runs; a worker also answers over the broker
"""

from __future__ import annotations

import socket
import sys
import urllib.request

import psutil

TIMEOUT_S = 5


def http(port: str, path: str) -> None:
    urllib.request.urlopen(f"http://127.0.0.1:{int(port)}{path}", timeout=TIMEOUT_S).close()  # raises on any other status


def worker() -> None:
    pid, name = _process()
    if name == "beat":
        return
    from goldsmith.queue import celery_app
    from goldsmith.settings import get_settings

    node = f"{name}-{pid}@{socket.gethostname()}"
    if not celery_app(get_settings().broker).control.ping(destination=[node], timeout=TIMEOUT_S):
        raise RuntimeError(f"{node} does not answer over the broker")


def _process() -> tuple[int, str]:
    """Process id and name (io, cpu, gpu, beat) of `python -m worker NAME`."""
    for process in psutil.process_iter(["pid", "cmdline"]):
        command = process.info["cmdline"] or []
        if command[1:3] == ["-m", "worker"] and len(command) == 4:
            return process.info["pid"], command[3]
    raise RuntimeError("no worker runs in this container")


if __name__ == "__main__":
    try:
        {"http": http, "worker": worker}[sys.argv[1]](*sys.argv[2:])
    except Exception as error:
        sys.exit(f"unhealthy: {error}")
