from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from typer.testing import Result

from goldsmith import jobs
from goldsmith.cli.output import FAILED, INTERRUPTED, NOT_REACHABLE, OK, WRONG_INPUT
from goldsmith.db import connect
from goldsmith.kinds.registry import BUILT_IN
from tests.client.server import Api, completes, fails, start_by_hand
from tests.conftest import free_port

Goldsmith = Callable[..., Result]


def submitted(goldsmith: Goldsmith, *values: str) -> dict[str, object]:
    result = goldsmith("jobs", "submit", "noop", *values, "--json")
    assert result.exit_code == OK, result.output
    job: dict[str, object] = json.loads(result.stdout)
    return job


def test_kinds_lists_every_kind(api: Api, goldsmith: Goldsmith) -> None:
    result = goldsmith("kinds")

    assert result.exit_code == OK
    first_words = {line.split()[0] for line in result.stdout.splitlines() if line.strip()}
    assert {kind.config.model_fields["kind"].default for kind in BUILT_IN} <= first_words


def test_kinds_as_json_have_their_schemas(api: Api, goldsmith: Goldsmith) -> None:
    kinds = {kind["kind"]: kind for kind in json.loads(goldsmith("kinds", "--json").stdout)}

    assert kinds["import"]["config"]["required"] == ["folder"]
    assert kinds["train"]["queue"] == "gpu"


def test_submit_reads_values_as_json_and_else_as_text(api: Api, goldsmith: Goldsmith) -> None:
    job = submitted(goldsmith, "wait_s=1.5")
    assert job["status"] == "queued"
    assert job["config"]["wait_s"] == 1.5

    result = goldsmith("jobs", "submit", "import", "folder=examples/workshop", "--json")
    assert json.loads(result.stdout)["config"]["folder"] == "examples/workshop"


def test_submit_takes_a_file_and_a_value_wins_over_it(api: Api, goldsmith: Goldsmith, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"wait_s": 1}')

    result = goldsmith("jobs", "submit", "noop", "--file", str(file), "wait_s=2", "--json")

    assert json.loads(result.stdout)["config"]["wait_s"] == 2


def test_submit_takes_standard_input(api: Api, goldsmith: Goldsmith) -> None:
    result = goldsmith("jobs", "submit", "noop", "-f", "-", "--json", input='{"wait_s": 3}')

    assert json.loads(result.stdout)["config"]["wait_s"] == 3


def test_the_same_key_makes_no_second_job(api: Api, goldsmith: Goldsmith) -> None:
    first = submitted(goldsmith, "--key", "monday")
    second = submitted(goldsmith, "--key", "monday")
    assert first["id"] == second["id"]

    other = goldsmith("jobs", "submit", "noop", "wait_s=1", "--key", "monday")
    assert other.exit_code == WRONG_INPUT
    assert "monday" in other.stderr


def test_list_is_newest_first_and_filtered(api: Api, goldsmith: Goldsmith) -> None:
    ids = [submitted(goldsmith)["id"] for _ in range(3)]

    listed = json.loads(goldsmith("jobs", "list", "--kind", "noop", "--status", "queued", "--limit", "2", "--json").stdout)
    assert [job["id"] for job in listed] == [ids[2], ids[1]]
    assert json.loads(goldsmith("jobs", "list", "--status", "failed", "--json").stdout) == []
    assert str(ids[0]) in goldsmith("jobs", "list").stdout


def test_show_has_config_events_and_artifacts(api: Api, goldsmith: Goldsmith) -> None:
    job = submitted(goldsmith, "wait_s=1")

    shown = json.loads(goldsmith("jobs", "show", str(job["id"]), "--json").stdout)
    assert shown["config"]["wait_s"] == 1
    assert [event["seq"] for event in shown["events"]] == [1]
    assert shown["artifacts"] == []

    table = goldsmith("jobs", "show", str(job["id"])).stdout
    assert "events (1)" in table
    assert str(job["id"]) in table


def test_cancel_ends_a_queued_job_and_asks_a_running_one(api: Api, goldsmith: Goldsmith) -> None:
    queued, running = submitted(goldsmith), submitted(goldsmith)
    start_by_hand(api.database_url, UUID(str(running["id"])))

    assert json.loads(goldsmith("jobs", "cancel", str(queued["id"]), "--json").stdout)["status"] == "cancelled"
    assert "asked to stop" in goldsmith("jobs", "cancel", f"job:{running['id']}").stdout


def test_cancelling_what_has_ended_is_refused(api: Api, goldsmith: Goldsmith) -> None:
    job_id = str(submitted(goldsmith)["id"])
    with api.worker(completes()):
        assert goldsmith("jobs", "watch", job_id).exit_code == OK

    result = goldsmith("jobs", "cancel", job_id)

    assert result.exit_code == WRONG_INPUT
    assert "completed" in result.stderr


def test_submit_and_wait_ends_with_the_result(api: Api, goldsmith: Goldsmith) -> None:
    with api.worker(completes()):
        result = goldsmith("jobs", "submit", "noop", "--wait", "--json")

    assert result.exit_code == OK
    assert json.loads(result.stdout)["result"] == {"attempt": 1}


def test_a_failed_job_is_exit_1_with_its_reason(api: Api, goldsmith: Goldsmith) -> None:
    with api.worker(fails):
        said = goldsmith("jobs", "submit", "noop", "--wait")
        as_json = goldsmith("jobs", "submit", "noop", "--wait", "--json")

    assert said.exit_code == FAILED
    assert "the clay was too dry" in said.stderr
    assert as_json.exit_code == FAILED
    assert json.loads(as_json.stdout)["title"] == "Broken"


def test_watching_a_cancelled_job_is_exit_1(api: Api, goldsmith: Goldsmith) -> None:
    job_id = str(submitted(goldsmith)["id"])
    goldsmith("jobs", "cancel", job_id)

    result = goldsmith("jobs", "watch", job_id)

    assert result.exit_code == FAILED
    assert "cancelled" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("submit", "nonsense"), ["kind", "must be one of", "import"]),
        (("submit", "import", "folde=x"), ["folde", "unknown key", "folder"]),
        (("submit", "import"), ["folder", "Field required"]),
        (("submit", "train", "dataset=dataset:gold@1", "name=x", "lora_r=0"), ["lora_r", "greater than or equal to 1"]),
        (("submit", "train", "dataset=dataset:gold@1", "name=x"), ["dataset:gold@1"]),
        (("submit", "noop", "wait_s"), ["'wait_s'", "key=value"]),
        (("submit", "noop", "wait_s=NaN"), ["JSON", "out of range float"]),
        (("submit", "import", 'folder="\\ud800"'), ["surrogate"]),
        (("submit", "noop", "--file", "nowhere.json"), ["nowhere.json"]),
        (("submit", "noop", "--key", "with space"), ["key"]),
        (("show", "123"), ["job_id", "UUID"]),
        (("show", str(uuid4())), ["there is no job"]),
        (("list", "--status", "nonsense"), ["status", "queued"]),
        (("list", "--kind", "nonsense"), ["kind", "must be one of"]),
    ],
)
def test_wrong_input_is_exit_2_and_says_what_is_wrong(
    api: Api, goldsmith: Goldsmith, arguments: tuple[str, ...], words: list[str]
) -> None:
    result = goldsmith("jobs", *arguments)

    assert result.exit_code == WRONG_INPUT, result.output
    for word in words:
        assert word.lower() in result.stderr.lower()
    assert result.stdout == ""


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_file_that_is_no_json_object_is_exit_2(api: Api, goldsmith: Goldsmith, tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)

    result = goldsmith("jobs", "submit", "noop", "--file", str(file))

    assert result.exit_code == WRONG_INPUT
    assert str(file) in result.stderr.replace("\n", "")


def test_a_server_that_does_not_answer_is_exit_3(goldsmith: Goldsmith, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("GOLDSMITH_URL", url)

    said, as_json = goldsmith("kinds"), goldsmith("jobs", "list", "--json")

    assert said.exit_code == as_json.exit_code == NOT_REACHABLE
    assert url in said.stderr
    assert "goldsmith up" in said.stderr
    assert url in json.loads(as_json.stdout)["error"]


def test_as_a_process_it_prints_json_alone_on_stdout(api: Api) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "goldsmith", "jobs", "submit", "noop", "wait_s=2", "--json"], capture_output=True, text=True
    )

    assert done.returncode == OK, done.stderr
    assert json.loads(done.stdout)["config"]["wait_s"] == 2
    assert done.stderr == ""


def test_ctrl_c_while_watching_is_exit_130_and_leaves_the_job_running(api: Api, goldsmith: Goldsmith) -> None:
    job_id = UUID(str(submitted(goldsmith)["id"]))
    start_by_hand(api.database_url, job_id)
    watching = subprocess.Popen(
        [sys.executable, "-m", "goldsmith", "jobs", "watch", str(job_id)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"FORCE_COLOR": "1"},  # so that the bar appears before its end
    )
    assert watching.stderr is not None
    assert watching.stderr.read(1)  # it shows something: the watch is on

    watching.send_signal(signal.SIGINT)
    _, said = watching.communicate(timeout=120)

    assert watching.returncode == INTERRUPTED
    assert b"interrupted" in said
    with connect(api.database_url) as conn:
        assert jobs.get(conn, job_id).status == "running"


def test_a_kind_is_paused_and_resumed(api: Api, goldsmith: Goldsmith) -> None:
    assert goldsmith("kinds", "pause", "noop").exit_code == OK
    line = next(line for line in goldsmith("kinds").stdout.splitlines() if line.startswith("noop"))
    assert "paused" in line
    assert submitted(goldsmith)["blocked_by"] == "paused:noop"
    assert json.loads(goldsmith("kinds", "resume", "noop", "--json").stdout)["paused_at"] is None
    assert goldsmith("kinds", "pause", "nonsense").exit_code == WRONG_INPUT


def test_a_schedule_is_added_listed_and_removed(api: Api, goldsmith: Goldsmith) -> None:
    added = goldsmith("schedules", "add", "nightly", "0 3 * * *", "noop", "wait_s=1", "-z", "Europe/Berlin", "--json")
    assert added.exit_code == OK, added.output
    made = json.loads(added.stdout)
    assert made["config"] == {"kind": "noop", "wait_s": 1}
    assert len(made["next_times"]) == 5
    assert "nightly" in goldsmith("schedules", "list").stdout
    assert goldsmith("schedules", "add", "nightly", "0 3 * * *", "noop").exit_code == WRONG_INPUT
    assert goldsmith("schedules", "remove", "nightly").exit_code == OK
    assert json.loads(goldsmith("schedules", "list", "--json").stdout) == []


def test_a_pipeline_is_submitted_shown_and_cancelled(api: Api, goldsmith: Goldsmith) -> None:
    every = {"jobs": {"first": {"kind": "noop"}, "second": {"kind": "noop", "depends_on": ["first"]}}}
    made = goldsmith("pipelines", "submit", "-", "--json", input=json.dumps(every))
    assert made.exit_code == OK, made.output
    pipeline = json.loads(made.stdout)
    assert pipeline["jobs"]["second"]["depends_on"] == ["first"]
    assert "second" in goldsmith("pipelines", "show", pipeline["id"]).stdout
    assert json.loads(goldsmith("pipelines", "cancel", pipeline["id"], "--json").stdout)["status"] == "cancelled"


def test_a_sweep_says_what_goes(api: Api, goldsmith: Goldsmith) -> None:
    assert "kept for ever" in goldsmith("sweep", "--dry-run").stdout
    assert "would remove 0 jobs" in goldsmith("sweep", "--dry-run", "--days", "7").stdout
    assert json.loads(goldsmith("sweep", "--days", "7", "--json").stdout)["jobs"] == 0


def test_cancel_and_retry_take_filters_and_say_first_which_they_would(api: Api, goldsmith: Goldsmith) -> None:
    ids = sorted(str(submitted(goldsmith)["id"]) for _ in range(3))

    would = goldsmith("jobs", "cancel", "--kind", "noop", "--status", "queued", "--dry-run")
    assert "3 jobs would be cancelled" in would.stdout
    assert all(one in would.stdout for one in ids)
    real = json.loads(goldsmith("jobs", "cancel", "--kind", "noop", "--after", "2020-01-01", "--json").stdout)
    assert (real["count"], sorted(real["ids"]), real["dry_run"]) == (3, ids, False)

    assert "1 jobs" not in goldsmith("jobs", "retry", "--before", "2020-01-01").stdout
    assert "queued again" in goldsmith("jobs", "retry", ids[0]).stdout
    assert "2 jobs queued again" in goldsmith("jobs", "retry", "--status", "cancelled").stdout


@pytest.mark.parametrize("arguments", [("cancel",), ("retry",), ("cancel", "x", "--kind", "noop"), ("retry", "x", "--dry-run")])
def test_neither_all_nor_a_mixture_is_taken(api: Api, goldsmith: Goldsmith, arguments: tuple[str, ...]) -> None:
    result = goldsmith("jobs", *arguments)

    assert result.exit_code == WRONG_INPUT
    assert result.stderr


def test_logs_prints_what_an_attempt_wrote(api: Api, goldsmith: Goldsmith) -> None:
    job_id = submitted(goldsmith)["id"]
    folder = api.state.settings.logs / "jobs"
    folder.mkdir(parents=True)
    for attempt in (1, 2, 10):
        (folder / f"{job_id}.{attempt}.log").write_text(f"attempt {attempt}\nlöss 0.5\n")

    assert goldsmith("jobs", "logs", str(job_id)).stdout == "attempt 10\nlöss 0.5\n"
    assert goldsmith("jobs", "logs", str(job_id), "--attempt", "2").stdout.startswith("attempt 2\n")
    missing = goldsmith("jobs", "logs", str(job_id), "--attempt", "3")
    assert missing.exit_code == WRONG_INPUT
    assert "1, 2, 10" in missing.stderr
