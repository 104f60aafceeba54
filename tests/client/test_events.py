"""The sender of events before a Goldsmith that is there, away, slow or cross, and callers that are killed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from goldsmith.ab import parse_event
from goldsmith.ab.snapshot import Assignment
from goldsmith.client.events import EventSender
from goldsmith.client.post import CONNECT_S
from goldsmith.client.spool import Spool, memory_of, taken
from tests.conftest import free_port, wait_until

ONE, OTHER = "0199a0b0-0000-7000-8000-000000000001", "0199a0b0-0000-7000-8000-000000000002"
Answer = tuple[int, Any]


class Goldsmith:
    """Speaks the wire of `POST /v1/experiments/{id}/events` and keeps what it took, by event id."""

    def __init__(self, answer: Callable[[str, list[dict[str, Any]]], Answer | None] | None = None) -> None:
        self.answer = answer
        self.taken: dict[str, dict[str, Any]] = {}
        self.requests: list[int] = []
        self.closing = False

    def post(self, experiment: str, events: list[dict[str, Any]]) -> Answer:
        self.requests.append(len(events))
        special = self.answer(experiment, events) if self.answer else None
        if special is not None:
            return special
        self.taken |= {event["event_id"]: event | {"experiment": experiment} for event in events}
        return 200, {"accepted": len(events), "duplicates": 0, "rejected": []}

    @contextmanager
    def at(self, port: int) -> Iterator[str]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                status, body = outer.post(self.path.split("/")[3], json.loads(raw)["events"])
                answer = json.dumps(body).encode() if not isinstance(body, bytes) else body
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if isinstance(body, bytes) else "application/problem+json")
                self.send_header("Content-Length", str(len(answer)))
                if outer.closing:
                    self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: object) -> None:
                """Says nothing."""

        class Server(ThreadingHTTPServer):
            allow_reuse_address, daemon_threads = True, True

        with Server(("127.0.0.1", port), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                server.shutdown()
                thread.join()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "spool"
    memory = memory_of(tmp_path / "spool")
    if memory is not None:
        shutil.rmtree(memory)


def lying(spool: Path) -> int:
    """Lines that wait in the spool, on the disk and in memory."""
    memory = memory_of(spool)
    assert memory is not None
    return lying_in(spool) + lying_in(memory)


def lying_in(folder: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in folder.glob("*.log"))


def asides(spool: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (spool / "aside.jsonl").read_text().splitlines()]


def away() -> str:
    return f"http://127.0.0.1:{free_port()}"


def test_events_arrive_as_they_were_sent(spool: Path):
    goldsmith = Goldsmith()
    with goldsmith.at(free_port()) as url, EventSender(spool, url) as sender:
        assert sender.send(ONE, "exposure", "device-1", data={"assigned": "lora", "step": 0})
        assert sender.send(OTHER, "abandon", "device-2", interception_run_id="run-1", event_id="mine")
        assert sender.flush()
        assert (sender.stats.spooled, sender.stats.delivered, sender.stats.waiting_bytes) == (2, 2, 0)
    first, second = goldsmith.taken.values()
    assert (first["experiment"], first["event"], first["unit"]) == (ONE, "exposure", "device-1")
    assert first["data"] == {"assigned": "lora", "step": 0}
    assert "interception_run_id" not in first
    assert (second["experiment"], second["event_id"], second["interception_run_id"]) == (OTHER, "mine", "run-1")
    assert list(spool.glob("*.log")) == []
    assert stat.S_IMODE(spool.stat().st_mode) == 0o700


def test_the_exposure_says_what_the_assignment_said(spool: Path):
    goldsmith = Goldsmith()
    given = Assignment(ONE, "base", "lora", "model_missing", None, None, 0, "model_missing")
    with goldsmith.at(free_port()) as url, EventSender(spool, url) as sender:
        assert sender.expose(given, "device-1", interception_run_id="run-1")
        assert not sender.expose(given._replace(assigned=None, gated=None, reason="paused"), "device-2")
        assert not sender.expose(given._replace(experiment_id=None), "device-3")
        assert sender.flush()
    (event,) = goldsmith.taken.values()
    assert (event["event"], event["unit"], event["interception_run_id"]) == ("exposure", "device-1", "run-1")
    assert event["data"] == {"assigned": "lora", "step": 0, "gated": "model_missing"}
    assert parse_event({key: value for key, value in event.items() if key != "experiment"})


def test_what_was_sent_while_goldsmith_was_away_arrives_when_it_is_back(spool: Path):
    goldsmith, port = Goldsmith(), free_port()
    with EventSender(spool, f"http://127.0.0.1:{port}") as sender:
        for number in range(1200):
            assert sender.send(ONE, "exposure", f"device-{number}")
        assert not sender.flush(0.3)
        assert lying(spool) == 1200
        with goldsmith.at(port):
            assert sender.flush()
    assert {event["unit"] for event in goldsmith.taken.values()} == {f"device-{number}" for number in range(1200)}
    assert max(goldsmith.requests) <= 500


@pytest.mark.parametrize("status", [301, 401, 403, 404, 408, 429, 500, 502, 503])
def test_an_answer_that_passes_loses_nothing(spool: Path, status: int):
    """A 404 too, when it is not Goldsmith who says so: a proxy in between, or the wrong port."""
    crossness = [True]
    goldsmith = Goldsmith(lambda *_: (status, b"<html>") if crossness[0] else None)
    with goldsmith.at(free_port()) as url, EventSender(spool, url) as sender:
        sender.send(ONE, "exposure", "device-1")
        assert not sender.flush(0.2)
        assert str(status) in (sender.stats.last_error or "")
        crossness[0] = False
        assert sender.flush()
    assert len(goldsmith.taken) == 1
    assert not (spool / "aside.jsonl").exists()


def test_a_goldsmith_that_hangs_keeps_nobody(spool: Path):
    released = threading.Event()

    def hang(*_: object) -> Answer | None:
        released.wait(20)
        return None

    goldsmith = Goldsmith(hang)
    with goldsmith.at(free_port()) as url, EventSender(spool, url) as sender:
        sender.send(ONE, "exposure", "device-0")
        assert not sender.flush(0.1)
        assert all(sender.send(ONE, "exposure", f"device-{number}") for number in range(1, 1000))
        assert not goldsmith.taken
        released.set()
        assert sender.flush()
    assert len(goldsmith.taken) == 1000


def test_a_goldsmith_that_ends_every_connection_may_still_take_its_time(spool: Path):
    def slow(*_: object) -> Answer | None:
        time.sleep(CONNECT_S + 0.2)
        return None

    goldsmith = Goldsmith(slow)
    goldsmith.closing = True
    with goldsmith.at(free_port()) as url, EventSender(spool, url) as sender:
        sender.send(ONE, "exposure", "device-1")
        sender.send(OTHER, "exposure", "device-2")
        assert sender.flush()
        assert sender.stats.last_error is None
    assert len(goldsmith.taken) == 2


def test_an_event_that_goldsmith_rejects_is_set_aside_with_the_reason(spool: Path):
    def answer(_: str, events: list[dict[str, Any]]) -> Answer | None:
        wrong = [index for index, event in enumerate(events) if event["unit"] == "two words"]
        errors = [{"field": "unit", "message": "no"}]
        return 200, {"accepted": 1, "duplicates": 0, "rejected": [{"index": index, "errors": errors} for index in wrong]}

    with Goldsmith(answer).at(free_port()) as url, EventSender(spool, url) as sender:
        sender.send(ONE, "exposure", "device-1")
        sender.send(ONE, "exposure", "two words")
        assert sender.flush()
        assert (sender.stats.delivered, sender.stats.set_aside, sender.stats.waiting_bytes) == (1, 1, 0)
    (entry,) = asides(spool)
    assert (entry["experiment"], entry["event"]["unit"]) == (ONE, "two words")
    assert "no" in entry["reason"]
    assert stat.S_IMODE((spool / "aside.jsonl").stat().st_mode) == 0o600


def test_one_event_that_spoils_its_batch_is_found_and_set_aside(spool: Path):
    def answer(_: str, events: list[dict[str, Any]]) -> Answer | None:
        return (422, {"detail": "unreadable"}) if any(event["unit"] == "poison" for event in events) else None

    goldsmith = Goldsmith(answer)
    with goldsmith.at(free_port()) as url, EventSender(spool, url) as sender:
        for unit in (*(f"device-{number}" for number in range(99)), "poison"):
            sender.send(ONE, "exposure", unit)
        assert sender.flush()
        assert (sender.stats.delivered, sender.stats.set_aside) == (99, 1)
    assert len(goldsmith.taken) == 99
    assert [entry["event"]["unit"] for entry in asides(spool)] == ["poison"]


def test_events_of_an_unknown_experiment_are_set_aside_and_stop_no_other(spool: Path):
    goldsmith = Goldsmith(
        lambda experiment, _: (404, {"detail": "there is no such experiment"}) if experiment == OTHER else None
    )
    with goldsmith.at(free_port()) as url, EventSender(spool, url) as sender:
        for number in range(6):
            sender.send(OTHER if number % 2 else ONE, "exposure", f"device-{number}")
        assert sender.flush()
    assert len(goldsmith.taken) == 3
    assert {entry["reason"] for entry in asides(spool)} == {"404 there is no such experiment"}


def test_events_on_which_goldsmith_breaks_hold_up_no_others_and_are_kept(spool: Path):
    breaking = [True]
    goldsmith = Goldsmith(lambda experiment, _: (500, {"detail": "?"}) if experiment == OTHER and breaking[0] else None)
    with goldsmith.at(free_port()) as url, EventSender(spool, url) as sender:
        sender.send(OTHER, "exposure", "device-1")
        assert not sender.flush(0.2)
        sender.send(ONE, "exposure", "device-2")
        assert not sender.flush(0.2)
        assert [event["unit"] for event in goldsmith.taken.values()] == ["device-2"]
        breaking[0] = False
        assert sender.flush()
    assert len(goldsmith.taken) == 2
    assert not (spool / "aside.jsonl").exists()


def test_what_was_said_yes_to_survives_a_kill(spool: Path):
    script = f"""
        import os, signal
        from goldsmith.client.events import EventSender
        sender = EventSender({str(spool)!r}, {away()!r})
        for number in range(500):
            assert sender.send({ONE!r}, "exposure", f"device-{{number}}")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False).returncode == -signal.SIGKILL
    goldsmith = Goldsmith()
    with goldsmith.at(free_port()) as url, EventSender(spool, url) as sender:
        assert sender.flush()
    assert {event["unit"] for event in goldsmith.taken.values()} == {f"device-{number}" for number in range(500)}


@pytest.mark.parametrize("end", ["pass", "sender.close(0)"])
def test_a_process_that_ends_without_a_close_leaves_its_events_on_the_disk(spool: Path, end: str):
    script = f"""
        from goldsmith.client.events import EventSender
        sender = EventSender({str(spool)!r}, {away()!r})
        for number in range(20):
            assert sender.send({ONE!r}, "exposure", f"device-{{number}}")
        {end}
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
    assert lying_in(spool) == 20


def test_a_process_that_ends_while_goldsmith_hangs_leaves_its_events_on_the_disk(spool: Path):
    with socket.create_server(("127.0.0.1", 0)) as hanging:  # connects, and never answers
        script = f"""
            import sys
            from goldsmith.client.events import EventSender
            sender = EventSender({str(spool)!r}, "http://127.0.0.1:{hanging.getsockname()[1]}")
            assert sender.send({ONE!r}, "exposure", "device-1")
            sys.stdin.read()
        """
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdin=subprocess.PIPE)
        connection, _ = hanging.accept()
        with connection:
            assert connection.recv(100)  # it waits for an answer now
            process.communicate()
    assert process.returncode == 0
    assert lying_in(spool) == 1


def test_processes_share_a_spool_also_after_a_fork(spool: Path):
    goldsmith = Goldsmith()
    script = """
        import os, sys
        from goldsmith.client.events import EventSender
        spool, url, experiment, name = sys.argv[1:]
        sender = EventSender(spool, url)
        assert sender.send(experiment, "exposure", f"{name}-before")
        child = os.fork()
        who = name if child else name + "-child"
        for number in range(150):
            assert sender.send(experiment, "exposure", f"{who}-{number}")
        assert sender.flush(), sender.stats
        sender.close()
        if child:
            assert os.waitpid(child, 0)[1] == 0
    """
    with goldsmith.at(free_port()) as url:
        code = textwrap.dedent(script)
        others = [
            subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, spool, url, ONE, name]) for name in ("red", "blue")
        ]
        assert [other.wait(120) for other in others] == [0, 0]
    names = ("red", "red-child", "blue", "blue-child")
    expected = {f"{name}-{number}" for name in names for number in range(150)} | {"red-before", "blue-before"}
    assert {event["unit"] for event in goldsmith.taken.values()} == expected
    assert list(spool.glob("*.log")) == []


def test_a_full_disk_costs_events_and_not_the_request(spool: Path):
    """A limit of the kernel on the size of files stands for the disk: the last event fits by half."""
    script = f"""
        import resource
        from goldsmith.client.events import EventSender
        sender = EventSender({str(spool)!r}, {away()!r})
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        said = [sender.send({ONE!r}, "exposure", f"device-{{number}}") for number in range(50)]
        assert 1 < said.count(True) < 50 and said[:2] == [True, True], said
        assert sender.stats.dropped == said.count(False), sender.stats
        assert "File too large" in sender.stats.last_error or "No space" in sender.stats.last_error, sender.stats
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert sender.send({ONE!r}, "exposure", "device-again")
        print(said.count(True) + 1)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    goldsmith = Goldsmith()
    with goldsmith.at(free_port()) as url, EventSender(spool, url) as sender:
        assert sender.flush()
        assert sender.stats.dropped == 0, "no half event was left behind"
    assert len(goldsmith.taken) == int(done.stdout)


def test_what_a_full_disk_does_not_take_is_delivered_from_memory(spool: Path, monkeypatch: pytest.MonkeyPatch):
    goldsmith, port, tried = Goldsmith(), free_port(), []

    def full(lines: bytes, **_: object) -> int:
        tried.append(lines)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with EventSender(spool, f"http://127.0.0.1:{port}") as sender:
        monkeypatch.setattr(sender._spool, "append", full)
        assert sender.send(ONE, "exposure", "device-1")
        wait_until(lambda: len(tried) > 1, "attempts to bring it to the disk")
        assert "No space" in (sender.stats.last_error or "")
        with goldsmith.at(port):
            wait_until(lambda: len(goldsmith.taken) == 1, "the delivery")


def test_a_spool_that_is_too_large_loses_the_oldest_and_says_how_many(spool: Path, caplog: pytest.LogCaptureFixture):
    """Also while the thread hangs before a Goldsmith that says nothing."""
    released, biggest = threading.Event(), 0

    def hang(*_: object) -> Answer | None:
        released.wait(20)
        return None

    goldsmith = Goldsmith(hang)
    with goldsmith.at(free_port()) as url, EventSender(spool, url, max_bytes=400_000) as sender:
        for number in range(1200):
            assert sender.send(ONE, "exposure", f"device-{number}", data={"filling": "x" * 900})
            if number % 50 == 0:
                biggest = max(biggest, sender.stats.waiting_bytes)
        assert biggest <= 400_000
        assert 0 < sender.stats.dropped < 1200
        released.set()
        assert sender.flush()
        dropped = sender.stats.dropped
        assert sender.stats.waiting_bytes == 0
    assert len(goldsmith.taken) == 1200 - dropped
    assert {f"device-{number}" for number in range(1150, 1200)} <= {event["unit"] for event in goldsmith.taken.values()}
    wait_until(lambda: dropped == sum(map(int, re.findall(r"(\d+) events lost", caplog.text))), "the end of the thread")


def test_what_cannot_be_delivered_is_brought_from_memory_to_the_disk(spool: Path):
    memory = memory_of(spool)
    assert memory is not None
    sender = EventSender(spool, away())
    for number in range(50):
        assert sender.send(ONE, "exposure", f"device-{number}")
    assert list(memory.glob("*.log")), "nobody waited for a disk"
    sender.close(0.1)
    wait_until(lambda: not memory.exists(), "the end of the thread")
    assert lying_in(spool) == 50


def test_a_file_in_another_process_hands_is_not_taken_for_delivered_nor_moved(spool: Path):
    goldsmith = Goldsmith()
    with goldsmith.at(free_port()) as url, EventSender(spool, url) as sender:
        memory = memory_of(spool)
        assert memory is not None
        mine, its = (
            memory / f"{number:020d}-{writer}-{'a' * 8}.log" for number, writer in ((1, os.getpid()), (2, os.getppid()))
        )
        for file in (mine, its):
            file.write_text(f'{ONE} {{"event_id":"{file.name}","unit":"device-1"}}\n')
        with taken(mine):
            assert not sender.flush(0.3)
        assert sender.flush()
        its.write_text("kept")
        sender._settle()
        assert its.exists()
        its.unlink()
    assert set(goldsmith.taken) == {mine.name, its.name}


def test_a_machine_without_such_memory_spools_to_its_disk(spool: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("goldsmith.client.spool.MEMORY", spool.parent / "none")
    sender = EventSender(spool, away())
    assert sender.send(ONE, "exposure", "device-1")
    assert lying_in(spool) == 1
    sender.close(0)
    goldsmith = Goldsmith()
    with goldsmith.at(free_port()) as url, EventSender(spool, url) as sender:
        assert sender.flush()
    assert len(goldsmith.taken) == 1


def test_memory_that_somebody_else_prepared_is_not_used(spool: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("goldsmith.client.spool.MEMORY", spool.parent)
    memory = memory_of(spool)
    assert memory is not None
    memory.chmod(0o777)
    assert memory_of(spool) is None
    memory.rmdir()
    memory.symlink_to(spool.parent)
    assert memory_of(spool) is None


def test_what_is_too_old_goes(spool: Path):
    old, new = Spool(spool, max_bytes=10**6, max_age_s=60), Spool(spool, max_bytes=10**6, max_age_s=60)
    old.append(b"one\n")
    old.append(b"two\n")
    assert old.trim() == 0
    new.append(b"three\n")
    (first, _, _), (second, _, _) = old.files()
    os.utime(first, (time.time() - 61,) * 2)
    assert new.trim() == 0, "somebody is writing it"
    old.turn()
    assert new.trim() == 2
    assert [path for path, _, _ in new.files()] == [second]


def test_a_file_is_read_by_one_at_a_time(spool: Path):
    writer = Spool(spool, max_bytes=10**6, max_age_s=60)
    writer.append(b"one\n")
    ((path, _, _),) = writer.files()
    with taken(path) as file:
        assert file is None, "it is being written"
    assert writer.turn()
    with taken(path) as file, taken(path) as again:
        assert file is not None
        assert (file.read(), again) == (b"one\n", None)
    path.unlink()
    with taken(path) as file:
        assert file is None
    assert not writer.turn()


def test_nobody_takes_a_file_before_its_writer_has_locked_it(spool: Path, monkeypatch: pytest.MonkeyPatch):
    """Else it would be delivered empty and removed, and what is written afterwards lost."""
    writer, reader, seen = Spool(spool, max_bytes=10**6, max_age_s=60), Spool(spool, max_bytes=10**6, max_age_s=60), []
    lock = fcntl.flock

    def look_and_lock(file: int, how: int) -> None:
        seen.extend(reader.files())
        lock(file, how)

    monkeypatch.setattr("goldsmith.client.spool.fcntl.flock", look_and_lock)
    writer.append(b"one\n")
    assert seen == []
    assert len(reader.files()) == 1


def test_damaged_lines_are_counted_and_passed_over(spool: Path):
    """As a machine leaves them that lost its power."""
    spool.mkdir()
    good = f'{ONE} {{"event_id":"e1","unit":"device-1"}}\n'.encode()
    (spool / f"{1:020d}-1-{'a' * 8}.log").write_bytes(b"\0" * 300 + b"\n" + good + b"\xff\n" + good[:40])
    goldsmith = Goldsmith()
    with goldsmith.at(free_port()) as url, EventSender(spool, url) as sender:
        assert sender.flush()
        assert sender.stats.dropped == 2
    assert list(goldsmith.taken) == ["e1"]


@pytest.mark.parametrize(
    ("experiment", "data"),
    [("nonsense", None), (ONE, {"a": object()}), (ONE, {"a": float("nan")}), (ONE, {"a": "x" * 20_000}), (ONE, [1])],
)
def test_what_cannot_be_sent_is_no_and_never_raises(spool: Path, experiment: str, data: Any):
    sender = EventSender(spool, away())
    assert not sender.send(experiment, "exposure", "device-1", data=data)
    assert sender.stats.dropped == 1
    assert sender.stats.last_error
    sender.close(0)


def test_a_folder_that_was_removed_is_made_anew(spool: Path):
    sender = EventSender(spool, away())
    (spool / "sketch.key").unlink()
    spool.rmdir()
    assert sender.send(ONE, "exposure", "device-1")
    sender.close(0.1)
    wait_until(lambda: lying_in(spool) == 1, "the end of the thread")


def test_a_folder_that_cannot_be_written_any_more_keeps_nothing_from_being_delivered(
    spool: Path, caplog: pytest.LogCaptureFixture
):
    goldsmith, port = Goldsmith(), free_port()
    sender = EventSender(spool, f"http://127.0.0.1:{port}")
    (spool / "sketch.key").unlink()
    spool.rmdir()
    spool.write_text("no folder")
    assert sender.send(ONE, "exposure", "device-1")
    assert not sender.flush(0.3)
    with goldsmith.at(port):
        spool.unlink()
        assert sender.flush()
    sender.close(0)
    assert len(goldsmith.taken) == 1


def test_a_place_where_no_spool_can_be_is_an_error_at_once(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        EventSender(tmp_path / "file", away())
    with pytest.raises(ValueError, match=r"url: must be http://host:port or https://host:port, not 'goldsmith\.local'"):
        EventSender(tmp_path / "spool", "goldsmith.local")


def test_a_sketch_is_made_with_the_key_in_the_spool(spool: Path):
    first, second = EventSender(spool, away()), EventSender(spool, away())
    assert first.sketch("Ein Haus am See") == second.sketch("Ein Haus am See")
    for sender in (first, second):
        sender.close(0)
