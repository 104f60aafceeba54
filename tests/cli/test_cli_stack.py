from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import Result

from goldsmith.cli.output import FAILED, OK, WRONG_INPUT
from goldsmith.cli.stack import Stack, StackError, leftovers, port_user, running, stack_file
from goldsmith.settings import Settings, get_settings
from tests.conftest import free_port

Goldsmith = Callable[..., Result]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def written(settings: Settings, *, owner: int, started: float, processes: list[dict[str, Any]]) -> None:
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    record = {"pid": owner, "started": started, "ready": True, "rehearsal": False, "urls": {}, "processes": processes}
    stack_file(settings).write_text(json.dumps(record))


def entry(process: subprocess.Popen[bytes], *, older_by: float = 0) -> dict[str, Any]:
    return {"name": "worker-io", "pid": process.pid, "started": psutil.Process(process.pid).create_time() - older_by}


def gone() -> int:
    """The pid of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_port_user_is_named_with_its_pid(taken: int) -> None:
    assert str(port_user(taken)) == f"{psutil.Process().name()} (pid {os.getpid()})"


def test_a_free_port_has_no_user() -> None:
    assert port_user(free_port()) is None


def test_a_busy_port_names_the_process_and_the_setting(taken: int, own_settings: dict[str, str]) -> None:
    settings = get_settings().model_copy(update={"flower_port": taken})

    with pytest.raises(StackError) as caught:
        Stack(settings, rehearsal=False, say=print).start()

    assert f"port {taken} is taken by" in caught.value.detail
    assert f"(pid {os.getpid()})" in caught.value.detail
    assert "GOLDSMITH_FLOWER_PORT=" in caught.value.detail
    assert not stack_file(settings).exists()


def test_every_busy_port_is_named_at_once(taken: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = get_settings().model_copy(update={"port": taken, "serve_port": other.getsockname()[1]})

        with pytest.raises(StackError, match=r"GOLDSMITH_PORT=.*GOLDSMITH_SERVE_PORT="):
            Stack(settings, rehearsal=False, say=print)._check_ports()


def test_a_port_that_will_not_be_used_may_be_busy(taken: int) -> None:
    busy = {"rehearsal_port": taken, "postgres_port": taken, "valkey_port": taken}
    own = {"database_url": "postgresql://db/goldsmith", "broker_url": "redis://broker/0"}
    settings = get_settings().model_copy(update=busy | own)

    Stack(settings, rehearsal=False, say=print)._check_ports()
    with pytest.raises(StackError, match="GOLDSMITH_REHEARSAL_PORT"):
        Stack(settings, rehearsal=True, say=print)._check_ports()
    with pytest.raises(StackError, match=r"GOLDSMITH_POSTGRES_PORT"):
        Stack(settings.model_copy(update={"database_url": None}), rehearsal=False, say=print)._check_ports()


@pytest.mark.parametrize("detach", [True, False])
def test_up_on_a_busy_port_is_exit_1(taken: int, detach: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "goldsmith", "up", *(["--detach"] if detach else []), "--json"],
        env=os.environ | {"GOLDSMITH_PORT": str(taken)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == FAILED
    said = json.loads(done.stdout)["error"]
    assert f"(pid {os.getpid()})" in said
    assert "GOLDSMITH_PORT=" in said


def test_up_twice_on_one_folder_is_refused(own_settings: dict[str, str]) -> None:
    settings = get_settings()
    written(settings, owner=os.getpid(), started=psutil.Process().create_time(), processes=[])

    with pytest.raises(StackError, match="already up"):
        Stack(settings, rehearsal=False, say=print).start()


def test_up_beside_leftovers_says_what_ends_them(sleeper: subprocess.Popen[bytes]) -> None:
    settings = get_settings()
    written(settings, owner=gone(), started=0, processes=[entry(sleeper)])

    with pytest.raises(StackError, match="goldsmith down"):
        Stack(settings, rehearsal=False, say=print).start()


def test_down_when_nothing_is_up_says_so(goldsmith: Goldsmith) -> None:
    said, as_json = goldsmith("down"), goldsmith("down", "--json")

    assert said.exit_code == as_json.exit_code == OK
    assert "nothing is up" in said.stdout
    assert json.loads(as_json.stdout) == {"was_up": False, "ended_by_force": []}


def test_down_ends_what_a_killed_stack_left(goldsmith: Goldsmith, sleeper: subprocess.Popen[bytes]) -> None:
    settings = get_settings()
    written(settings, owner=gone(), started=0, processes=[entry(sleeper)])
    assert running(settings) is None
    assert [process.pid for process in leftovers(settings)] == [sleeper.pid]

    result = goldsmith("down", "--json")

    assert result.exit_code == OK
    assert json.loads(result.stdout) == {"was_up": True, "ended_by_force": [f"worker-io (pid {sleeper.pid})"]}
    sleeper.wait(120)  # it is gone; its exit code went to whoever reaped it first
    assert not stack_file(settings).exists()


def test_down_spares_a_stranger_that_got_the_pid(goldsmith: Goldsmith, sleeper: subprocess.Popen[bytes]) -> None:
    settings = get_settings()
    earlier = entry(sleeper, older_by=100)
    written(settings, owner=sleeper.pid, started=earlier["started"], processes=[earlier])

    result = goldsmith("down", "--json")

    assert json.loads(result.stdout)["ended_by_force"] == []
    assert sleeper.poll() is None


def test_a_torn_record_counts_as_none(goldsmith: Goldsmith, tmp_path: Path) -> None:
    settings = get_settings()
    settings.state_dir.mkdir(parents=True)
    stack_file(settings).write_text('{"pid": 1')

    assert running(settings) is None
    assert leftovers(settings) == []
    assert goldsmith("down").exit_code == OK


def test_an_unknown_process_is_exit_2(goldsmith: Goldsmith) -> None:
    result = goldsmith("run", "nonsense")

    assert result.exit_code == WRONG_INPUT
    assert "worker-io" in result.stderr


def test_the_api_refuses_to_listen_beyond_loopback_without_a_key() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "goldsmith", "run", "api"],
        env=os.environ | {"GOLDSMITH_HOST": "0.0.0.0", "GOLDSMITH_EXTRA_KINDS": ""},
        capture_output=True,
        text=True,
    )

    assert done.returncode == FAILED
    assert "GOLDSMITH_API_KEY" in done.stderr
