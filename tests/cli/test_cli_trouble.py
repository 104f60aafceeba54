"""What goes wrong around a stack is said in one sentence, before anything is started."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from typer.testing import CliRunner, Result

from goldsmith.cli import jobs
from goldsmith.cli.app import app
from goldsmith.cli.output import FAILED, INTERRUPTED, NOT_REACHABLE, OK, WRONG_INPUT
from goldsmith.cli.stack import Member, Stack, StackError, _said_by, bring_down, port_user, read_stack, running, stack_file
from goldsmith.settings import Settings, get_settings
from tests.cli.test_cli_stack import entry, gone, sleeper, taken, written
from tests.client.server import Api, fails
from tests.conftest import free_port, wait_until

__all__ = ["sleeper", "taken"]
Goldsmith = Callable[..., Result]


def started(settings: Settings, **changes: Any) -> StackError:
    """What a stack that cannot start says. Nothing may have been started before."""
    with pytest.raises(StackError) as caught:
        Stack(settings.model_copy(update=changes), rehearsal=False, say=print).start()
    assert not stack_file(settings).exists()
    return caught.value


def said(result: Result, exit_code: int = FAILED) -> str:
    """The error of a call with --json."""
    assert result.exit_code == exit_code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    error: str = json.loads(result.stdout)["error"]
    assert "\n" not in error
    return error


def test_of_two_that_start_at_once_the_second_is_refused() -> None:
    settings = get_settings()
    settings.state_dir.mkdir()
    with (settings.state_dir / "up.lock").open("ab") as first:
        fcntl.flock(first, fcntl.LOCK_EX)

        assert "just starting" in started(settings).detail


def test_a_stack_that_stops_leaves_the_record_of_another() -> None:
    settings = get_settings()
    written(settings, owner=gone(), started=0, processes=[])

    Stack(settings, rehearsal=False, say=print).stop()
    assert stack_file(settings).exists()

    written(settings, owner=os.getpid(), started=0, processes=[])
    Stack(settings, rehearsal=False, say=print).stop()
    assert not stack_file(settings).exists()


@pytest.mark.parametrize("command", [("up", "--detach"), ("down",), ("doctor",)])
def test_a_state_folder_that_is_a_file(
    goldsmith: Goldsmith, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GOLDSMITH_STATE_DIR", str(tmp_path / "file"))
    get_settings.cache_clear()

    result = goldsmith(*command, "--json")

    if command[0] == "up":
        assert str(tmp_path / "file") in said(result)
    elif command[0] == "down":
        assert result.exit_code == OK
    else:
        disk = next(check for check in json.loads(result.stdout) if check["name"] == "disk")
        assert (disk["state"], "is no folder" in disk["found"]) == ("problem", True)


def test_a_state_folder_that_cannot_be_written_to(
    goldsmith: Goldsmith, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)

    disk = next(check for check in json.loads(goldsmith("doctor", "--json").stdout) if check["name"] == "disk")

    assert (disk["state"], "cannot be written to" in disk["found"]) == ("problem", True)


def test_a_database_that_does_not_answer(goldsmith: Goldsmith, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLDSMITH_DATABASE_URL", f"postgresql://goldsmith:hunter2@127.0.0.1:{free_port()}/goldsmith")
    get_settings.cache_clear()

    result = goldsmith("migrate", "--json")

    assert "GOLDSMITH_DATABASE_URL" in said(result)
    assert "hunter2" not in result.output
    with pytest.raises(psycopg.OperationalError):
        Stack(get_settings(), rehearsal=False, say=print).start()


def test_migrate_while_the_stack_is_down(goldsmith: Goldsmith) -> None:
    assert "goldsmith up" in said(goldsmith("migrate", "--json"))


@pytest.mark.parametrize("name", ["GOLDSMITH_DATABASE_URL", "GOLDSMITH_BROKER_URL"])
def test_a_service_url_that_is_none_is_exit_2(goldsmith: Goldsmith, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "nonsense://me:hunter2@host")
    get_settings.cache_clear()

    result = goldsmith("doctor", "--json")

    assert name in said(result, WRONG_INPUT)
    assert "hunter2" not in result.output


def test_a_broker_of_ones_own_is_asked_first(goldsmith: Goldsmith, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLDSMITH_BROKER_URL", f"redis://127.0.0.1:{free_port()}/0")
    get_settings.cache_clear()

    assert "GOLDSMITH_BROKER_URL" in started(get_settings()).detail
    broker = next(check for check in json.loads(goldsmith("doctor", "--json").stdout) if check["name"] == "broker")
    assert broker["state"] == "problem"


@pytest.mark.parametrize("name", ["prices", "lock_dir", "rehearsal_url", "ollama_model", "gpu_id", "url"])
def test_a_setting_set_to_nothing_is_unset(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"GOLDSMITH_{name.upper()}", "")

    assert getattr(Settings(_env_file=None), name) is None  # type: ignore[call-arg]


def test_a_state_folder_set_to_nothing_is_not_the_current_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOLDSMITH_STATE_DIR", "")

    assert Settings(_env_file=None).state_dir == tmp_path / ".goldsmith"  # type: ignore[call-arg]


def test_a_second_start_leaves_the_log_of_the_first(goldsmith: Goldsmith) -> None:
    settings = get_settings()
    written(settings, owner=os.getpid(), started=psutil.Process().create_time(), processes=[])
    (settings.state_dir / "up.log").write_text("ready after 9 s")

    assert "already up" in said(goldsmith("up", "--detach", "--json"))
    assert (settings.state_dir / "up.log").read_text() == "ready after 9 s"


def test_the_doctor_sees_what_a_killed_stack_left(goldsmith: Goldsmith, sleeper: subprocess.Popen[bytes]) -> None:
    settings = get_settings()
    written(settings, owner=gone(), started=0, processes=[entry(sleeper)])

    result = goldsmith("doctor", "--json")

    assert result.exit_code == FAILED
    stack = next(check for check in json.loads(result.stdout) if check["name"] == "stack")
    assert (stack["state"], stack["advice"]) == ("problem", "`goldsmith down` ends them")


def test_the_doctor_takes_a_stale_record_for_nothing(goldsmith: Goldsmith) -> None:
    settings = get_settings()
    written(settings, owner=gone(), started=0, processes=[])

    checks = {check["name"]: check for check in json.loads(goldsmith("doctor", "--json").stdout)}

    assert checks["stack"]["found"] == "not up"
    assert str(settings.state_dir) in checks["stack"]["advice"]
    assert "database" not in checks


def test_the_doctor_knows_the_rehearsal(goldsmith: Goldsmith) -> None:
    settings = get_settings()
    written(settings, owner=os.getpid(), started=psutil.Process().create_time(), processes=[])
    stack_file(settings).write_text(stack_file(settings).read_text().replace('"rehearsal": false', '"rehearsal": true'))

    checks = {check["name"]: check for check in json.loads(goldsmith("doctor", "--json").stdout)}

    assert "REHEARSAL" in checks["teacher"]["found"]


def test_beyond_loopback_without_a_key_nothing_is_started() -> None:
    assert "GOLDSMITH_API_KEY" in started(get_settings(), host="0.0.0.0").detail


def test_two_settings_that_name_one_port_are_named(own_settings: dict[str, str]) -> None:
    settings = get_settings()

    assert "GOLDSMITH_PORT and GOLDSMITH_FLOWER_PORT are both" in started(settings, flower_port=settings.port).detail


def test_last_words_are_the_process_s_own() -> None:
    settings = get_settings()
    settings.logs.mkdir(parents=True)
    log = settings.logs / "goldsmith.log"
    log.write_text("Traceback of yesterday\n")
    stack = Stack(settings, rehearsal=False, say=print)
    stack.members = [Member("api", [], {}, log_offset=log.stat().st_size)]
    with log.open("a") as lines:
        lines.write('{"process": "worker-io", "event": "ready"}\n{"process": "api", "event": "no"}\nit broke\n')
        lines.write("2026-11-21 09:20:27.123 UTC [17] LOG:  database system is ready\n17:M 21 Nov 2026 09:20:27 * Ready\n")

    assert stack._last_words("api") == '{"process": "api", "event": "no"} | it broke'
    assert _said_by("postgres", "2026-11-21 09:20:27.123 UTC [17] LOG:  database system is ready")


@pytest.mark.parametrize("text", ["{}", "[]", '"x"', '{"pid": 999999}', '{"pid": 1, "started": 2, "processes": [3]}'])
def test_a_record_that_no_stack_wrote_counts_as_none(goldsmith: Goldsmith, text: str) -> None:
    settings = get_settings()
    settings.state_dir.mkdir(parents=True)
    stack_file(settings).write_text(text)

    assert read_stack(settings) is None
    assert running(settings) is None
    assert bring_down(settings, 1) == []
    assert str(settings.state_dir) in goldsmith("down").stdout


def test_a_busy_port_names_the_goldsmith_that_holds_it(tmp_path: Path) -> None:
    settings = get_settings().model_copy(update={"state_dir": tmp_path / "other"})
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        env=os.environ | {"GOLDSMITH_STATE_DIR": str(settings.state_dir)},
        stderr=subprocess.DEVNULL,
    )
    try:
        written(settings, owner=os.getpid(), started=0, processes=[entry(server)])
        wait_until(lambda: port_user(port) is not None, "the server")

        assert str(port_user(port)).endswith(f"of the Goldsmith in {settings.state_dir}")
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize("name", ["api", "flower"])
def test_run_on_a_busy_port_says_who_has_it(
    goldsmith: Goldsmith, monkeypatch: pytest.MonkeyPatch, taken: int, name: str
) -> None:
    monkeypatch.setenv("GOLDSMITH_PORT" if name == "api" else "GOLDSMITH_FLOWER_PORT", str(taken))
    get_settings.cache_clear()

    result = goldsmith("run", name)

    assert result.exit_code == FAILED
    assert f"port {taken} is taken by" in result.stderr


def test_the_server_s_url_may_stand_in_the_env_file(
    goldsmith: Goldsmith, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOLDSMITH_URL", raising=False)
    url = f"http://127.0.0.1:{free_port()}"
    (tmp_path / ".env").write_text(f"GOLDSMITH_URL={url}\n")
    get_settings.cache_clear()

    assert url in json.loads(goldsmith("kinds", "--json").stdout)["error"]


def test_an_id_is_one_part_of_the_path(api: Api, goldsmith: Goldsmith) -> None:
    assert goldsmith("jobs", "watch", "../kinds").exit_code == WRONG_INPUT


def test_a_server_that_is_no_goldsmith(goldsmith: Goldsmith, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    port = free_port()
    monkeypatch.setenv("GOLDSMITH_URL", f"http://127.0.0.1:{port}")
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: port_user(port) is not None, "the server")

        assert f"no Goldsmith server at http://127.0.0.1:{port}" in said(goldsmith("jobs", "list", "--json"), NOT_REACHABLE)
    finally:
        server.kill()
        server.wait()


def test_a_refusal_names_each_field_once(api: Api, goldsmith: Goldsmith) -> None:
    words = goldsmith("jobs", "submit", "import", "--json")

    assert said(words, WRONG_INPUT).count("Field required") == 1


def test_a_failed_job_is_in_the_json_of_the_error(api: Api, goldsmith: Goldsmith) -> None:
    with api.worker(fails):
        result = goldsmith("jobs", "submit", "noop", "--wait", "--json")

    said(result)
    job = json.loads(result.stdout)["job"]
    assert (job["status"], job["kind"]) == ("failed", "noop")


def test_ctrl_c_while_waiting_says_that_the_job_goes_on(api: Api) -> None:
    waiting = subprocess.Popen(
        [sys.executable, "-m", "goldsmith", "jobs", "submit", "noop", "--wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"FORCE_COLOR": "1", "COLUMNS": "200"},
    )
    assert waiting.stderr is not None
    assert waiting.stderr.read(1)

    waiting.send_signal(signal.SIGINT)
    _, words = waiting.communicate(timeout=120)

    assert waiting.returncode == INTERRUPTED
    assert b"goes on; `goldsmith jobs watch" in words


@pytest.mark.parametrize("arguments", [("--file", "broken.json"), ("wait_s",), ("wait_s=NaN",)])
def test_wrong_input_is_json_too(api: Api, goldsmith: Goldsmith, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "broken.json").write_text("{")

    assert said(goldsmith("jobs", "submit", "noop", *arguments, "--json"), WRONG_INPUT)


def test_in_80_columns_every_job_is_one_line(api: Api, goldsmith: Goldsmith, monkeypatch: pytest.MonkeyPatch) -> None:
    made = json.loads(goldsmith("jobs", "submit", "noop", "--json").stdout)

    monkeypatch.setattr(jobs.console, "_width", 80)  # of the property, which would keep what it is set to
    result = CliRunner().invoke(app, ["jobs", "list"])

    lines = result.stdout.splitlines()
    assert len(lines) == 2, result.stdout
    assert lines[1].startswith(made["id"])
    assert max(map(len, lines)) <= 80
