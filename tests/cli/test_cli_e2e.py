"""The whole stack, as a stranger starts it: up, a job, a kill, down, up again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from goldsmith.cli.output import FAILED, NOT_REACHABLE, OK
from tests.conftest import wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(own_settings: dict[str, str]) -> Iterator[Run]:
    """`run("up", "--detach")`: the command as a process of its own. At the end whatever is up comes down."""
    environment = os.environ | own_settings | {"GOLDSMITH_IMPORT_ROOTS": str(EXAMPLES), "GOLDSMITH_EXTRA_KINDS": ""}
    environment["GOLDSMITH_URL"] = f"http://127.0.0.1:{own_settings['GOLDSMITH_PORT']}"

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "goldsmith", *arguments], env=environment, capture_output=True, text=True)

    yield call
    call("down")


def belonging_to(state_dir: str, started: Sequence[dict[str, Any]] = ()) -> dict[int, str]:
    """Every living process that was told of the state folder by its arguments or its environment, or is among `started`.

    Valkey overwrites both of its own.
    """
    found = {}
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), process.environ().get("GOLDSMITH_STATE_DIR", "")]
            named = any(one["pid"] == process.pid and abs(one["started"] - process.create_time()) < 1 for one in started)
            if (named or any(state_dir in word for word in told)) and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def in_flower(url: str) -> list[tuple[str, str]]:
    """Name and state of each ended task that Flower's table shows."""
    query = "draw=1&start=0&length=50&search[value]=&order[0][column]=0&order[0][dir]=asc&columns[0][data]=name"
    tasks = httpx.get(f"{url}/tasks/datatable?{query}").json()["data"]
    return [(task["name"], task["state"]) for task in tasks if task["state"] in ("SUCCESS", "FAILURE")]


@pytest.mark.e2e
def test_a_stack_starts_works_survives_a_kill_and_leaves_nothing_behind(run: Run, own_settings: dict[str, str]) -> None:
    state_dir = own_settings["GOLDSMITH_STATE_DIR"]
    up = run("up", "--detach", "--rehearsal", "--json")
    assert up.returncode == OK, up.stdout + up.stderr
    urls: dict[str, str] = json.loads(up.stdout)["urls"]
    assert httpx.get(f"{urls['api']}/readyz").status_code == 200
    assert httpx.get(urls["docs"]).status_code == 200
    assert httpx.get(urls["experiments"]).status_code == 200

    workshop = str(EXAMPLES / "workshop")
    imported = run("jobs", "submit", "import", f"folder={workshop}", f"checkout={workshop}", "--wait", "--json")
    assert imported.returncode == OK, imported.stdout
    job: dict[str, Any] = json.loads(imported.stdout)
    assert (job["result"]["runs"], job["result"]["may_train"]) == (84, 63)
    outside = run("jobs", "submit", "import", f"folder={state_dir}", "--wait", "--json")
    assert outside.returncode == FAILED
    assert "GOLDSMITH_IMPORT_ROOTS" in outside.stdout

    assert "Flower" in httpx.get(urls["flower"], follow_redirects=True).text
    wait_until(lambda: len(in_flower(urls["flower"])) == 2, "both jobs in Flower")
    assert sorted(in_flower(urls["flower"])) == [("job.run[import]", "FAILURE"), ("job.run[import]", "SUCCESS")]
    assert httpx.get(f"{urls['flower']}/healthcheck").text == "OK"

    assert "the stack's own" in run("doctor", "--json").stdout

    record = json.loads((Path(state_dir) / "stack.json").read_text())
    members = record["processes"]
    names = {member["name"] for member in members}
    assert {"postgres", "valkey", "api", "worker-io", "worker-cpu", "worker-gpu", "beat", "serve", "flower"} <= names
    os.kill(record["pid"], signal.SIGKILL)
    wait_until(lambda: record["pid"] not in belonging_to(state_dir), "the end of `goldsmith up`")
    assert {member["pid"] for member in members} <= set(belonging_to(state_dir, members))

    down = run("down", "--json")
    assert down.returncode == OK, down.stdout
    assert len(json.loads(down.stdout)["ended_by_force"]) == len(members)
    assert belonging_to(state_dir, members) == {}

    again = run("up", "--detach", "--json")
    assert again.returncode == OK, again.stdout
    members = json.loads((Path(state_dir) / "stack.json").read_text())["processes"]
    kept = json.loads(run("jobs", "show", job["id"], "--json").stdout)
    assert kept["status"] == "completed"
    assert json.loads(run("down", "--json").stdout) == {"was_up": True, "ended_by_force": []}
    assert belonging_to(state_dir, members) == {}
    assert run("kinds").returncode == NOT_REACHABLE
