"""Room on the GPU: only what may go, one by one, believed only as far as the device says so."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pynvml
import pytest
from pydantic import ValidationError

from goldsmith import gpu, jobs, room, submit, unloading
from goldsmith.db import Connection, Database
from goldsmith.errors import JobCancelled, OutOfMemory, Requeue
from goldsmith.footprint import Footprint
from goldsmith.gpu import Memory
from goldsmith.room import Report
from goldsmith.settings import Settings
from tests.conftest import free_port
from tests.gpu_services import GB, Machine, Model, serving
from worker.context import RunContext

ALL = "ollama,devserver,comfyui"


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def url(machine: Machine) -> Iterator[str]:
    with serving(machine) as url:
        yield url


def settings(url: str, **more: Any) -> Settings:
    values = {"gpu_unload": ALL, "OLLAMA_HOST": url, "gpu_service_url": url, "comfyui_url": url}
    return Settings(_env_file=None, **(values | more))


def make_room(machine: Machine, needed_gb: float, own: Settings, say: Callable[[str], None] = lambda words: None) -> Report:
    return room.make_room(
        round(needed_gb * GB),
        machine.memory,
        unloading.services(own),
        busy=lambda: unloading.busy(own),
        say=say,
        settle_s=0.2,
    )


def need(gb: float) -> Footprint:
    return Footprint(round(gb * GB), 0, 0, 0, 0, 0, 0)


# -- what goes


def test_nobody_is_asked_when_it_fits(machine: Machine, url: str) -> None:
    machine.ollama = [Model("qwen3:8b", 6 * GB)]
    report = make_room(machine, 18, settings(url))
    assert (report.unloaded, machine.requests) == ([], [])


def test_by_default_nobody_is_asked_at_all(machine: Machine, url: str) -> None:
    machine.ollama = [Model("qwen3:8b", 6 * GB)]
    report = make_room(machine, 20, settings(url, gpu_unload=[]))
    assert (report.memory.free, machine.requests) == (18 * GB, [])
    assert Settings(_env_file=None).gpu_unload == []


def test_the_smallest_that_is_enough_goes_and_no_other(machine: Machine, url: str) -> None:
    machine.ollama = [Model("small", 2 * GB), Model("middle", 5 * GB), Model("large", 9 * GB)]
    report = make_room(machine, 12, settings(url))  # 8 GB are free
    assert machine.unloads == [("/api/generate", {"model": "middle", "prompt": "", "keep_alive": 0, "stream": False})]
    assert report.memory.free == 13 * GB
    assert report.unloaded == ["ollama middle 5.0 GB"]


def test_one_after_the_other_until_it_fits(machine: Machine, url: str) -> None:
    machine.ollama = [Model("qwen3:8b", 6 * GB)]
    machine.gpu_service = [
        Model("Qwen/Qwen2.5-3B-Instruct", 7 * GB, "text"),
        Model("stabilityai/sd35", 4 * GB, "diffusers"),
        Model("heart", 2 * GB, "heartmula"),
        Model("audio", 1 * GB, "stable_audio"),
    ]
    machine.comfyui = 3 * GB
    report = make_room(machine, 24, settings(url))  # 1 GB is free, all must go
    assert [path for path, _ in machine.unloads] == [
        "/api/text/unload",
        "/api/generate",
        "/api/diffusers/unload",
        "/free",
        "/api/heartmula/unload",
        "/api/stable_audio/unload",
    ]
    bodies = dict(machine.unloads)
    assert bodies["/api/text/unload"] == {"model_id": "Qwen/Qwen2.5-3B-Instruct"}
    assert bodies["/api/diffusers/unload"] == {"model_id": "stabilityai/sd35"}
    assert (bodies["/api/heartmula/unload"], bodies["/free"]) == (None, {"unload_models": True})
    assert (report.memory.free, len(report.unloaded), report.notes) == (24 * GB, 6, [])


def test_nothing_goes_when_all_of_it_would_not_do(machine: Machine, url: str) -> None:
    machine.stubborn = 15 * GB
    machine.ollama = [Model("qwen3:8b", 3 * GB)]
    report = make_room(machine, 20, settings(url))
    assert machine.unloads == []
    assert report.left == ["ollama qwen3:8b 3.0 GB (would not be enough)"]


def test_only_the_services_that_the_admin_names_are_asked(machine: Machine, url: str) -> None:
    machine.ollama = [Model("qwen3:8b", 6 * GB)]
    machine.gpu_service = [Model("sd35", 6 * GB, "diffusers")]
    make_room(machine, 16, settings(url, gpu_unload="devserver"))
    assert [path for path, _ in machine.unloads] == ["/api/diffusers/unload"]
    assert not any(path in ("/api/ps", "/system_stats") for _, path, _ in machine.requests)


# -- what stays


@pytest.mark.parametrize(
    "name", ["qwen3:1.7b", "qwen3-vl:2b", "llama-guard3:1b", "QWEN3:1.7B", "qwen3:1.7b-q4_K_M", "library/llama-guard3:1b"]
)
def test_safety_models_stay_whatever_the_admin_allows(machine: Machine, url: str, name: str) -> None:
    machine.ollama = [Model(name, 6 * GB)]
    report = make_room(machine, 20, settings(url, gpu_keep="another"))
    assert machine.unloads == []
    assert report.left == [f"ollama {name} 6.0 GB (safety model)"]


def test_a_safety_model_under_another_name_stays(machine: Machine, url: str) -> None:
    machine.ollama = [Model("guard:latest", 6 * GB, digest="abc"), Model("qwen3:8b", 3 * GB, digest="def")]
    machine.tags = [Model("llama-guard3:1b", 0, digest="abc")]
    report = make_room(machine, 20, settings(url))
    assert (machine.unloads, len(report.left)) == ([], 2)
    assert report.left[0] == "ollama guard:latest 6.0 GB (safety model)"


@pytest.mark.parametrize(("keep", "stays"), [("qwen3:8b", True), ("qwen3", True), ("gemma3,Qwen3:8B", True), ("qwen2", False)])
def test_the_admin_keeps_more(machine: Machine, url: str, keep: str, stays: bool) -> None:
    machine.ollama = [Model("qwen3:8b", 6 * GB)]
    make_room(machine, 20, settings(url, gpu_keep=keep))
    assert (machine.unloads == []) is stays


def test_what_is_in_use_stays(machine: Machine, url: str) -> None:
    machine.gpu_service = [
        Model("writes", 3 * GB, "text", in_use=1),
        Model("draws", 3 * GB, "diffusers"),
        Model("hears", 3 * GB, "imagebind"),
    ]
    machine.diffusers_active = True
    report = make_room(machine, 16, settings(url))
    assert machine.unloads == []
    assert report.left == [
        "devserver text writes 3.0 GB (in use)",
        "devserver diffusers draws 3.0 GB (in use)",
        "devserver imagebind hears 3.0 GB (has no path to unload it)",
    ]


def test_while_the_service_evicts_nobody_interferes(machine: Machine, url: str) -> None:
    machine.gpu_service, machine.evicting = [Model("sd35", 6 * GB, "diffusers")], True
    assert make_room(machine, 20, settings(url)).left == ["devserver diffusers sd35 6.0 GB (the service is evicting)"]
    assert machine.unloads == []


@pytest.mark.parametrize("where", ["running", "pending", "devserver"])
def test_while_somebody_waits_for_a_picture_nothing_goes(machine: Machine, url: str, where: str) -> None:
    machine.ollama = [Model("qwen3:8b", 6 * GB)]
    if where == "devserver":
        machine.devserver_jobs = 1
    else:
        machine.comfyui_jobs[where == "pending"] = [[1, "an id", {"prompt": "a child's words"}]]
    report = make_room(machine, 20, settings(url, devserver_url=url))
    assert machine.unloads == []
    name = "the devserver" if where == "devserver" else "ComfyUI"
    assert report.left == [f"ollama qwen3:8b 6.0 GB ({name} has 1 job in flight)"]


def test_a_picture_that_is_asked_for_in_between_stops_it(machine: Machine, url: str) -> None:
    machine.ollama = [Model("one", 6 * GB), Model("two", 5 * GB)]
    machine.on_unload = lambda machine: machine.comfyui_jobs[0].append([1, "an id"])
    report = make_room(machine, 24, settings(url))
    assert (len(machine.unloads), report.memory.free) == (1, 19 * GB)
    assert report.left == ["ollama two 5.0 GB (ComfyUI has 1 job in flight)"]


@pytest.mark.parametrize("fault", ["500", "html", "wrong", "drops", "empty", "slow", "drip"])
@pytest.mark.parametrize("path", ["/queue", "/api/queue-status"])
def test_when_nobody_knows_whether_it_works_nothing_goes(
    machine: Machine, url: str, fault: Any, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unloading, "LIST_S", 0.3)
    machine.ollama = [Model("qwen3:8b", 6 * GB)]
    machine.faults = {path: fault}
    report = make_room(machine, 20, settings(url, devserver_url=url))
    assert machine.unloads == []
    assert "does not say whether it works" in report.left[0]
    assert "secret" not in str(report)


def test_without_comfyui_nobody_waits_for_it(machine: Machine, url: str) -> None:
    machine.ollama = [Model("qwen3:8b", 6 * GB)]
    report = make_room(machine, 20, settings(url, comfyui_url=f"http://127.0.0.1:{free_port()}"))
    assert report.memory.free == 24 * GB


# -- servers that misbehave


@pytest.mark.parametrize("fault", ["500", "html", "wrong", "drops", "slow", "drip"])
def test_a_service_that_does_not_answer_is_left_alone(
    machine: Machine, url: str, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unloading, "LIST_S", 0.3)
    machine.ollama = [Model("qwen3:8b", 6 * GB)]
    machine.gpu_service = [Model("sd35", 5 * GB, "diffusers")]
    machine.faults = {"/api/health/vram": fault}
    report = make_room(machine, 24, settings(url))
    assert machine.unloads == []
    assert [one.partition(" (")[0] for one in report.left] == ["devserver", "ollama qwen3:8b 6.0 GB"]
    assert "secret" not in str(report)


@pytest.mark.parametrize("fault", ["500", "html", "wrong", "drops", "slow", "lies"])
def test_a_service_that_does_not_unload_is_named_and_the_next_one_asked(
    machine: Machine, url: str, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unloading, "UNLOAD_S", 0.3)
    machine.gpu_service = [Model("sd35", 6 * GB, "diffusers")]
    machine.ollama = [Model("qwen3:8b", 7 * GB)]
    machine.faults = {"/api/diffusers/unload": fault}
    report = make_room(machine, 16.9, settings(url))
    assert [path for path, _ in machine.unloads] == ["/api/diffusers/unload", "/api/generate"]
    assert (report.memory.free, report.unloaded) == (18 * GB, ["ollama qwen3:8b 7.0 GB"])
    assert report.notes[0].startswith("devserver diffusers sd35: ")
    assert "secret" not in str(report)


def test_services_that_are_not_there_keep_nothing(machine: Machine) -> None:
    machine.stubborn = 10 * GB
    report = make_room(machine, 20, settings(f"http://127.0.0.1:{free_port()}"))
    assert (report.left, report.unloaded) == ([], [])


def test_models_on_another_device_are_not_unloaded_in_a_row(machine: Machine, url: str) -> None:
    machine.stubborn = 10 * GB
    machine.ollama = [Model("one", 6 * GB, on_device=False), Model("two", 5 * GB, on_device=False)]
    report = make_room(machine, 18, settings(url))
    assert len(machine.unloads) == 1
    assert report.unloaded == ["ollama two 5.0 GB, which freed nothing here"]


def test_a_cancel_between_two_models_is_heard(machine: Machine, url: str) -> None:
    machine.ollama = [Model("one", 6 * GB), Model("two", 5 * GB)]
    told: list[str] = []

    def say(words: str) -> None:
        told.append(words)
        if len(told) == 2:
            raise JobCancelled("a cancel was asked for")

    with pytest.raises(JobCancelled):
        make_room(machine, 24, settings(url), say)
    assert told == ["asking ollama to unload one", "asking ollama to unload two"]
    assert len(machine.unloads) == 1


# -- the job


@pytest.fixture
def device(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device `GPU-1` whose memory follows from what the services hold."""

    def memory(gpu_id: str) -> Memory | None:
        return machine.memory() if gpu_id == "GPU-1" else None

    monkeypatch.setattr(gpu, "memory", memory)
    monkeypatch.setattr(room, "SETTLE_S", 0.2)


@pytest.fixture
def ctx(conn: Connection, database: Database, tmp_path: Any) -> Callable[..., RunContext]:
    """The context of a running job, with settings of the test's."""
    body = {"kind": "noop"}
    job = submit.submit(conn, *submit.parse(body), body=body, created_by="me")[0]

    def running(own: Settings, gpu_id: str | None = "GPU-1") -> RunContext:
        conn.execute("UPDATE jobs SET status = 'queued', published_at = now() WHERE id = %s", (job.id,))
        claimed = jobs.claim(conn, job.id, worker="w", gpu_id=None)
        assert claimed is not None
        return RunContext(database, own, job_id=job.id, kind="noop", attempt=claimed.attempt, scratch=tmp_path, gpu_id=gpu_id)

    return running


def logged(conn: Connection, job_id: UUID) -> list[dict[str, Any]]:
    rows = conn.execute("SELECT data FROM job_events WHERE job_id = %s AND event = 'log' ORDER BY seq", (job_id,))
    return [row["data"] for row in rows]


@pytest.mark.usefixtures("device")
def test_a_job_that_fits_says_with_how_much(machine: Machine, url: str, conn: Connection, ctx: Any) -> None:
    machine.ollama = [Model("qwen3:8b", 6 * GB)]
    run = ctx(settings(url))
    run.make_room(need(20), "no advice")
    (event,) = logged(conn, run.job_id)
    assert (event["message"], event["unloaded"], event["free_gb"]) == ("memory is enough", ["ollama qwen3:8b 6.0 GB"], 24.0)
    assert event["needed_gb"]["total"] == 20.0


@pytest.mark.usefixtures("device")
def test_a_job_that_does_not_fit_is_put_back_with_the_reason(machine: Machine, url: str, conn: Connection, ctx: Any) -> None:
    machine.stubborn = 8 * GB
    machine.ollama = [Model("llama-guard3:1b", 2 * GB)]
    run = ctx(settings(url))
    looks = []
    for _ in range(6):
        with pytest.raises(Requeue) as put_back:
            run.make_room(need(20), "no advice")
        looks.append(put_back.value.after_s)
    assert looks == [60, 120, 240, 480, 900, 900]
    assert put_back.value.reason == (
        "Waits: about 20.0 GB of GPU memory are needed, 14.0 GB are free; "
        "held by Xorg (pid 14) 8.0 GB, ollama (pid 11) 2.0 GB; not unloaded ollama llama-guard3:1b 2.0 GB (safety model)"
    )
    event = logged(conn, run.job_id)[-1]
    assert event["message"] == "waits for GPU memory"
    assert event["processes"] == [{"pid": 14, "name": "Xorg", "mb": 8000}, {"pid": 11, "name": "ollama", "mb": 2000}]


@pytest.mark.usefixtures("device")
def test_after_its_time_it_fails_with_advice(machine: Machine, url: str, conn: Connection, ctx: Any) -> None:
    machine.stubborn = 20 * GB
    own = settings(url, gpu_wait_h=2)
    run = ctx(own)
    with pytest.raises(Requeue):
        run.make_room(need(20), "take less")
    conn.execute("UPDATE job_events SET created_at = created_at - interval '2 hours'")
    with pytest.raises(OutOfMemory, match=r"after 2.0 hours of waiting .* 4.0 GB are free; .*; take less"):
        run.make_room(need(20), "take less")

    conn.execute("UPDATE jobs SET status = 'failed', completed_at = now(), error = '{}' WHERE id = %s", (run.job_id,))
    jobs.retry(conn, run.job_id)
    with pytest.raises(Requeue) as put_back:
        ctx(own).make_room(need(20), "take less")
    assert put_back.value.after_s == 60, "a retry waits anew"


@pytest.mark.usefixtures("device")
def test_time_that_it_had_room_does_not_count(machine: Machine, url: str, conn: Connection, ctx: Any) -> None:
    run = ctx(settings(url, gpu_wait_h=2))
    machine.stubborn = 20 * GB
    with pytest.raises(Requeue):
        run.make_room(need(20), "")
    conn.execute("UPDATE job_events SET created_at = created_at - interval '3 hours'")
    machine.stubborn = 0
    run.make_room(need(20), "")
    machine.stubborn = 20 * GB
    with pytest.raises(Requeue):
        run.make_room(need(20), "")


@pytest.mark.usefixtures("device")
def test_a_device_that_is_too_small_fails_it_at_once(machine: Machine, url: str, ctx: Any) -> None:
    machine.ollama = [Model("qwen3:8b", 6 * GB)]
    with pytest.raises(OutOfMemory, match=r"about 25.0 GB .* the whole device has 24.0 GB; less would take: max_length 2048"):
        ctx(settings(url)).make_room(need(25), "less would take: max_length 2048")
    assert machine.requests == []


@pytest.mark.usefixtures("device")
def test_with_no_time_to_wait_it_starts_whether_it_fits_or_not(machine: Machine, url: str, conn: Connection, ctx: Any) -> None:
    machine.stubborn = 20 * GB
    run = ctx(settings(url, gpu_wait_h=0))
    run.make_room(need(20), "")
    run.make_room(need(30), "")
    assert [event["message"] for event in logged(conn, run.job_id)] == ["may not fit into memory"] * 2


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("gpu_id", [None, "pretended"])
def test_without_a_device_only_main_memory_is_looked_at(
    url: str, machine: Machine, conn: Connection, ctx: Any, gpu_id: str | None
) -> None:
    run = ctx(settings(url), gpu_id)
    run.make_room(need(0), "")
    assert logged(conn, run.job_id) == []
    run.make_room(need(1e6), "")
    (event,) = logged(conn, run.job_id)
    assert (event["message"], event["needed_gb"]["total"]) == ("may not fit into memory", 1e6)
    assert machine.requests == []


# -- NVML


def test_the_device_says_who_holds_what(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own context counts as free; who cannot be read keeps his number."""

    def processes(*found: tuple[int, int | None]) -> Callable[[Any], list[Any]]:
        return lambda handle: [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in found]

    def refuse(handle: Any) -> list[Any]:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NO_PERMISSION)

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", lambda uuid: uuid)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: SimpleNamespace(total=24 * GB, free=10 * GB))
    monkeypatch.setattr(
        pynvml,
        "nvmlDeviceGetComputeRunningProcesses",
        processes((os.getpid(), GB), (os.getppid(), 5 * GB), (2**22 + 1, 8 * GB)),
    )
    monkeypatch.setattr(pynvml, "nvmlDeviceGetGraphicsRunningProcesses", processes((1, None)))
    found = gpu.memory("GPU-1")
    assert found is not None
    assert (found.total, found.free) == (24 * GB, 11 * GB)
    assert [(one.pid, one.bytes) for one in found.holders] == [(2**22 + 1, 8 * GB), (os.getppid(), 5 * GB), (1, None)]
    assert str(found.holders[0]) == f"a process (pid {2**22 + 1}) 8.0 GB"
    assert found.holders[1].name != ""

    monkeypatch.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses", refuse)
    found = gpu.memory("GPU-1")
    assert found is not None
    assert (found.free, [one.pid for one in found.holders]) == (10 * GB, [1])


def test_without_a_driver_nothing_is_said() -> None:
    assert gpu.memory("GPU-1") is None or gpu.visible_devices()


@pytest.mark.parametrize(
    ("name", "value"), [("gpu_unload", "vllm"), ("gpu_service_url", "127.0.0.1:17803"), ("comfyui_url", "file:///x")]
)
def test_settings_that_make_no_sense_stop_the_process(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(_env_file=None, **{name: value})
