from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from goldsmith.cli.processes import NAMES
from goldsmith.settings import Settings
from tests.test_env_example import AWS, variable

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
LONG_RUNNING = {name: service for name, service in SERVICES.items() if name != "migrate"}


def test_the_file_is_valid_by_the_compose_specification():
    checker = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_every_process_of_a_stack_has_its_service():
    run = {service["command"][-1] for service in OURS.values()}
    assert run == set(NAMES) - {"rehearsal-teacher"} | {"migrate"}


@pytest.mark.parametrize("name", OURS)
def test_a_service_starts_by_an_entry_point_of_the_command_line(name: str):
    command = OURS[name]["command"]
    assert command == (["goldsmith", "migrate"] if name == "migrate" else ["goldsmith", "run", command[-1]])
    assert command[-1] in (*NAMES, "migrate")


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_a_long_running_service_is_restarted_and_has_a_health_check(name: str):
    assert LONG_RUNNING[name]["restart"] == "unless-stopped"
    assert LONG_RUNNING[name]["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", [name for name in OURS if name != "migrate"])
def test_a_service_waits_for_database_broker_and_migration(name: str):
    waits = {other: how["condition"] for other, how in OURS[name]["depends_on"].items()}
    expected = {"postgres": "service_healthy", "broker": "service_healthy", "migrate": "service_completed_successfully"}
    assert expected.items() <= waits.items()


def test_every_port_is_open_to_this_machine_only():
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(ports) == {"api", "flower"}
    assert all(port.startswith("127.0.0.1:") for each in ports.values() for port in each)
    assert not any(service.get("network_mode") == "host" for service in SERVICES.values())


def test_the_published_ports_are_the_settings_own():
    fields = Settings.model_fields
    assert SERVICES["api"]["ports"] == [f"127.0.0.1:{fields['port'].default}:{fields['port'].default}"]
    assert SERVICES["flower"]["ports"] == [f"127.0.0.1:{fields['flower_port'].default}:{fields['flower_port'].default}"]
    checks = {name: service["healthcheck"]["test"] for name, service in LONG_RUNNING.items()}
    assert checks["api"][4] == str(fields["port"].default)
    assert checks["serve"][4] == str(fields["serve_port"].default)
    assert checks["flower"][4] == str(fields["flower_port"].default)


def test_the_gpu_worker_has_exactly_one_device_and_no_other_service_has_any():
    devices = {
        name: service["deploy"]["resources"]["reservations"]["devices"]
        for name, service in SERVICES.items()
        if "deploy" in service
    }
    assert devices == {"worker-gpu": [{"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu"]}]}


def test_gpu_workers_share_their_locks_and_all_share_one_state():
    for name in ("worker-gpu", "worker-nogpu", "worker-cpu", "worker-io", "api", "serve"):
        targets = {
            volume.split(":")[1]: volume.split(":")[0] for volume in SERVICES[name]["volumes"] if not volume.startswith("$")
        }
        assert targets == {"/var/lib/goldsmith": "state", "/var/lib/goldsmith-locks": "locks"}, name
    assert set(COMPOSE["volumes"]) == {"postgres", "state", "locks"}


def test_postgres_keeps_its_data_where_version_18_writes_it():
    assert SERVICES["postgres"]["image"].startswith("postgres:18")
    assert SERVICES["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]


def test_the_model_server_is_where_the_io_worker_looks_for_it():
    """Both default to loopback, so they must share a network."""
    assert SERVICES["serve"]["network_mode"] == "service:worker-io"
    assert SERVICES["worker-io"]["environment"]["GOLDSMITH_SERVE_URL"] is None  # only when .env names another
    assert "network_mode" not in SERVICES["worker-io"]


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name: str):
    assert set(SERVICES[name]["environment"]) <= {variable(field) for field in Settings.model_fields} | {"PGPASSWORD"} | AWS


def test_whoever_asks_a_teacher_gets_the_credentials_of_aws_and_nobody_else_does():
    assert {name for name, service in OURS.items() if set(service["environment"]) & AWS} == {"api", "worker-io"}
    assert all(set(OURS[name]["environment"]) >= AWS for name in ("api", "worker-io"))


def test_whoever_fires_schedules_finds_the_price_of_their_models():
    models = {"GOLDSMITH_PRICES", "GOLDSMITH_TEACHER_MODEL", "GOLDSMITH_BEDROCK_MODEL", "GOLDSMITH_OPENAI_COMPATIBLE_MODEL"}
    for name in ("api", "beat", "worker-io", "worker-cpu", "worker-gpu", "worker-nogpu"):
        assert models <= set(OURS[name]["environment"])


def test_every_setting_reaches_a_container():
    """But for those of `goldsmith up`, of callers, and the ports, which the file itself maps."""
    elsewhere = {"url", "rehearsal_url"} | {field for field in Settings.model_fields if field.endswith("port")}
    passed = {key for service in OURS.values() for key in service["environment"]}
    assert {variable(field) for field in Settings.model_fields if field not in elsewhere} <= passed


def test_no_secret_is_written_into_the_file():
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|_KEY$|SECRET|TOKEN", key):
                assert value is None or re.fullmatch(r"\$\{[A-Z_]+:\?set it in \.env\}", value), f"{name}: {key}"
    assert not re.search(r"://[^\s/@]+:[^\s/@]+@", (ROOT / "docker-compose.yml").read_text()), "a password in a URL"


def test_what_a_reader_must_set_is_in_the_example():
    wanted = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    example = (ROOT / ".env.example").read_text()
    assert all(re.search(rf"^# {name}=", example, re.MULTILINE) for name in wanted)
