"""The whole stack on one machine: started in order, watched, restarted, and stopped without leaving a process behind."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx
import psutil
import redis

from goldsmith import db, keys, migrate
from goldsmith.cli.processes import command
from goldsmith.client import Client
from goldsmith.embedded.postgres import EmbeddedPostgres
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.errors import GoldsmithError
from goldsmith.gpu import visible_devices
from goldsmith.queue import Queue
from goldsmith.settings import Settings, get_settings

RESTARTS = 5  # a process that dies more often than this within RESTART_WINDOW_S stops the stack
RESTART_WINDOW_S = 120.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")
_POSTGRES_LINE = re.compile(r"\d{4}-\d\d-\d\d [\d:.]+ \w+ \[\d+\] ")
_VALKEY_LINE = re.compile(r"\d+:[MCSX] ")
Say = Callable[[str], None]


class StackError(GoldsmithError):
    title = "The stack did not start"


@dataclass
class Member:
    name: str
    command: list[str]
    env: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    stop_signal: int = signal.SIGTERM
    user: int | None = None
    starts: list[float] | None = None
    log_offset: int = 0
    """Where the common log ended when the process was last started."""


class Stack:
    """Owned by one `goldsmith up` process, which `stack.json` in the state folder names."""

    def __init__(self, settings: Settings, *, rehearsal: bool, say: Say) -> None:
        self.settings, self.rehearsal, self.say = settings, rehearsal, say
        self.members: list[Member] = []
        self._lock: IO[bytes] | None = None
        self.postgres = EmbeddedPostgres(settings.state_dir / "postgres", settings.postgres_port)
        self.valkey = EmbeddedValkey(settings.state_dir / "valkey", settings.valkey_port)

    # -- up

    def start(self) -> None:
        """Start everything and return when all of it answers; raises `StackError` that says what to do."""
        self.settings.state_dir.mkdir(parents=True, exist_ok=True)
        self._take_the_folder()
        check_nothing_runs(self.settings)
        for folder in (self.settings.logs, self.settings.locks, self.settings.models):
            folder.mkdir(parents=True, exist_ok=True)
        self.settings.state_dir.chmod(0o700)
        self._check_ports()
        self._check_services()
        if self.settings.database_url is None and not (self.postgres.folder / "data").exists():
            self._check_key(exists=False)
        env = {"GOLDSMITH_STATE_DIR": str(self.settings.state_dir)}
        if self.settings.database_url is None:
            self.say("Postgres")
            self.postgres.initialise()
            self._launch(Member("postgres", self.postgres.command(), env, stop_signal=signal.SIGINT, user=self.postgres.user))
            self._wait("postgres", self.postgres.is_up)
            self.postgres.create_database()
        if self.settings.broker_url is None:
            self.say("Valkey")
            self.valkey.initialise()
            self._launch(Member("valkey", self.valkey.command(), {}))
            self._wait("valkey", self.valkey.is_up)
        self.say("migrations")
        migrate.upgrade(self.settings.database)
        with db.connect(self.settings.database) as conn:
            self._check_key(exists=keys.known(conn).valid)
        if self.rehearsal:
            env["GOLDSMITH_REHEARSAL_URL"] = f"http://127.0.0.1:{self.settings.rehearsal_port}"
            self._launch(Member("rehearsal-teacher", command("rehearsal-teacher", self.settings), env))
        for name in ("api", "worker-io", "worker-cpu"):
            self._launch(Member(name, command(name, self.settings), env))
        for gpu_env in self._gpu_workers():
            self._launch(Member("worker-gpu", command("worker-gpu", self.settings), env | gpu_env))
        for name in ("beat", "serve", "flower"):
            self._launch(Member(name, command(name, self.settings), env))
        self._wait_for_all()
        self._record(ready=True)

    def _gpu_workers(self) -> list[dict[str, str]]:
        """One worker for each device; without one, gpu jobs run on the CPU, still one at a time."""
        if self.settings.gpu_id:
            return [{}]
        devices = visible_devices()
        if not devices:
            self.say("no GPU found: gpu jobs run on the CPU, one at a time")
            return [{"GOLDSMITH_GPU_ID": f"cpu-{os.uname().nodename}"}]
        return [{"CUDA_VISIBLE_DEVICES": device} for device in devices]

    def _launch(self, member: Member) -> None:
        with (self.settings.logs / "goldsmith.log").open("ab") as log:
            member.log_offset = log.tell()
            member.process = subprocess.Popen(
                member.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is ours to handle
                env=os.environ | member.env,
                cwd="/" if member.name == "postgres" else None,
                user=member.user,
                group=member.user,
            )
        member.starts = [*(member.starts or []), time.monotonic()]
        if member not in self.members:
            self.members.append(member)
        self._record(ready=False)

    def _wait(self, name: str, ready: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        member = next(member for member in self.members if member.name == name)
        while not ready():
            if member.process is not None and member.process.poll() is not None:
                raise StackError(f"{name} ended with exit code {member.process.returncode}: {self._last_words(name)}")
            if time.monotonic() > end:
                raise StackError(f"{name} did not answer within {seconds:.0f} s; see {self.settings.logs / 'goldsmith.log'}")
            time.sleep(0.05)

    def _wait_for_all(self) -> None:
        settings = self.settings
        self.say("API")
        self._wait("api", lambda: _answers(f"http://127.0.0.1:{settings.port}/readyz"))
        if self.rehearsal:
            self.say("rehearsal teacher (REHEARSAL: written rules, not Claude)")
            self._wait("rehearsal-teacher", lambda: _listens(settings.rehearsal_port))
        self.say("model server")
        self._wait("serve", lambda: _answers(f"http://127.0.0.1:{settings.serve_port}/healthz"), 180)
        self.say("Flower")
        self._wait("flower", lambda: _answers(f"http://127.0.0.1:{settings.flower_port}/healthcheck"))
        self.say("workers")
        wanted = sum(member.name.startswith("worker-") for member in self.members)
        self._wait("worker-io", lambda: _workers_answering(settings.broker) >= wanted)

    def _last_words(self, name: str) -> str:
        member = next(member for member in self.members if member.name == name)
        with (self.settings.logs / "goldsmith.log").open("rb") as log:
            log.seek(member.log_offset)
            lines = log.read().decode(errors="replace").splitlines()
        said = [line.strip()[:300] for line in lines if line.strip() and _said_by(name, line)]
        return " | ".join(said[-12:])[-1500:]

    # -- watching

    def watch(self, stopping: Callable[[], bool]) -> None:
        """Restart what dies, until asked to stop or one process dies again and again."""
        while not stopping():
            time.sleep(0.5)
            for member in self.members:
                if member.process is None or member.process.poll() is None or stopping():
                    continue
                recent = [start for start in member.starts or [] if time.monotonic() - start < RESTART_WINDOW_S]
                if len(recent) > RESTARTS:
                    raise StackError(
                        f"{member.name} died {len(recent)} times in {RESTART_WINDOW_S:.0f} s: {self._last_words(member.name)}"
                    )
                self.say(f"{member.name} ended with exit code {member.process.returncode}; starting it again")
                self._launch(member)
                self._record(ready=True)

    # -- down

    def stop(self) -> None:
        """Workers first, so that runs may checkpoint; the database last."""
        order = [member for member in self.members if member.name not in ("postgres", "valkey")]
        last = [member for member in self.members if member.name in ("valkey", "postgres")]
        _end([member for member in order if member.process], self.settings.grace_s + 15)
        for member in reversed(last):
            _end([member] if member.process else [], 30)
        if (read_stack(self.settings) or {}).get("pid") == os.getpid():
            stack_file(self.settings).unlink(missing_ok=True)

    def _record(self, *, ready: bool) -> None:
        me = psutil.Process()
        record: dict[str, Any] = {
            "pid": me.pid,
            "started": me.create_time(),
            "ready": ready,
            "rehearsal": self.rehearsal,
            "urls": urls(self.settings),
            "processes": [
                {"name": member.name, "pid": member.process.pid, "started": _started(member.process.pid)}
                for member in self.members
                if member.process is not None and member.process.poll() is None
            ],
        }
        temporary = stack_file(self.settings).with_suffix(".tmp")
        temporary.write_text(json.dumps(record, indent=1))
        temporary.rename(stack_file(self.settings))

    # -- what stands in the way

    def _take_the_folder(self) -> None:
        """For this process's life: of two that start at once, one is refused."""
        self._lock = (self.settings.state_dir / "up.lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(
                f"a stack is already up, or just starting or stopping, on {self.settings.state_dir}; `goldsmith down` stops it"
            ) from None

    def _check_services(self) -> None:
        """Of a database and a broker of one's own: whether they answer. Raises what the driver says of the database."""
        if self.settings.database_url is not None:
            db.connect(self.settings.database_url).close()
        if self.settings.broker_url is not None:
            try:
                Queue(self.settings.broker_url).ping()
            except (redis.RedisError, OSError) as error:
                raise StackError(
                    f"the broker does not answer; check GOLDSMITH_BROKER_URL ({type(error).__name__}: {error})"
                ) from None

    def _check_key(self, *, exists: bool) -> None:
        s = self.settings
        if s.host not in LOOPBACK and s.api_key is None and not exists:
            raise StackError(
                f"GOLDSMITH_HOST is {s.host}: beyond loopback a key is needed; set GOLDSMITH_API_KEY, "
                "or start on loopback and make one with `goldsmith keys create`"
            )

    def _check_ports(self) -> None:
        s = self.settings
        wanted = {"GOLDSMITH_PORT": s.port, "GOLDSMITH_FLOWER_PORT": s.flower_port, "GOLDSMITH_SERVE_PORT": s.serve_port}
        if s.database_url is None:
            wanted["GOLDSMITH_POSTGRES_PORT"] = s.postgres_port
        if s.broker_url is None:
            wanted["GOLDSMITH_VALKEY_PORT"] = s.valkey_port
        if self.rehearsal:
            wanted["GOLDSMITH_REHEARSAL_PORT"] = s.rehearsal_port
        shared = sorted({port for port in wanted.values() if list(wanted.values()).count(port) > 1})
        if shared:
            named = [f"{' and '.join(name for name in wanted if wanted[name] == port)} are both {port}" for port in shared]
            raise StackError("; ".join(named) + "; every process needs a port of its own")
        busy = [
            f"port {port} is taken by {who}; choose another with {name}=…"
            for name, port in wanted.items()
            if (who := port_user(port))
        ]
        if busy:
            raise StackError("; ".join(busy))


def _said_by(name: str, line: str) -> bool:
    """Whether a line of the common log may be this process's: JSON names its process, the two servers have forms of their own."""
    if name in ("postgres", "valkey"):
        return (_POSTGRES_LINE if name == "postgres" else _VALKEY_LINE).match(line) is not None
    if _POSTGRES_LINE.match(line) or _VALKEY_LINE.match(line):
        return False
    try:
        event = json.loads(line)
    except ValueError:
        return True
    return not isinstance(event, dict) or event.get("process", name) == name


# -- looking at a stack from outside


def check_nothing_runs(settings: Settings) -> None:
    """Raises `StackError` when a stack is up on the state folder, or has left something there."""
    if running(settings):
        raise StackError(f"a stack is already up on {settings.state_dir}; `goldsmith down` stops it")
    if leftovers(settings):
        raise StackError("processes of a stack that was killed are still there; `goldsmith down` ends them")


def connect(url: str | None = None, *, timeout: float = 30) -> Client:
    """A client of the server at `url`, or that GOLDSMITH_URL names, or of this machine's own stack."""
    settings = get_settings()
    key = settings.api_key.get_secret_value() if settings.api_key else None
    return Client(url or settings.url or urls(settings)["api"], api_key=key, timeout=timeout)


def stack_file(settings: Settings) -> Path:
    return settings.state_dir / "stack.json"


def urls(settings: Settings) -> dict[str, str]:
    host = "127.0.0.1"
    return {
        "api": f"http://{host}:{settings.port}",
        "docs": f"http://{host}:{settings.port}/docs",
        "experiments": f"http://{host}:{settings.port}/experiments",
        "flower": f"http://{host}:{settings.flower_port}",
        "serve": f"http://{host}:{settings.serve_port}",
    }


def read_stack(settings: Settings) -> dict[str, Any] | None:
    """What `goldsmith up` wrote down; None when there is nothing, or nothing that it could have written."""
    try:
        record = json.loads(stack_file(settings).read_text())
    except (OSError, ValueError):
        return None
    if not _names_a_process(record) or not isinstance(record.get("processes"), list):
        return None
    if not all(_names_a_process(entry) and isinstance(entry.get("name"), str) for entry in record["processes"]):
        return None
    found: dict[str, Any] = {"ready": False, "rehearsal": False, **record}
    return found


def _names_a_process(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    pid, started = entry.get("pid"), entry.get("started")
    return type(pid) is int and 0 < pid < 2**31 and type(started) in (int, float)


def _alive(entry: dict[str, Any]) -> psutil.Process | None:
    try:
        process = psutil.Process(entry["pid"])
        same = abs(process.create_time() - entry["started"]) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if same else None


def running(settings: Settings) -> dict[str, Any] | None:
    """The record of the stack that is up, or None."""
    record = read_stack(settings)
    return record if record and _alive(record) else None


def leftovers(settings: Settings) -> list[psutil.Process]:
    """Processes that a former stack left behind."""
    record = read_stack(settings)
    return [process for entry in (record or {}).get("processes", []) if (process := _alive(entry))]


def stack_pids(settings: Settings) -> set[int]:
    """The processes of the stack that is up, children too."""
    members = leftovers(settings)
    return {process.pid for member in members for process in (member, *_children(member))}


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return found


def bring_down(settings: Settings, seconds: float) -> list[str]:
    """Stop the stack, whoever started it, and whatever it left; returns the names of what was ended by force."""
    record = read_stack(settings)
    if record is None:
        return []
    owner = _alive(record)
    if owner is not None:
        owner.terminate()
        try:
            owner.wait(seconds)
        except psutil.TimeoutExpired:
            owner.kill()
    forced = []
    names = {entry["pid"]: entry["name"] for entry in record["processes"]}
    for process in leftovers(settings):
        forced.append(f"{names[process.pid]} (pid {process.pid})")
        process.terminate()
    _, stubborn = psutil.wait_procs(leftovers(settings), timeout=settings.grace_s + 5)
    for process in stubborn:
        process.kill()
    if (read_stack(settings) or record)["pid"] == record["pid"]:
        stack_file(settings).unlink(missing_ok=True)
    return forced


@dataclass(frozen=True)
class PortUser:
    """Who listens on a port; without a pid where the system does not say."""

    words: str
    pid: int | None = None
    stack: str | None = None
    """The state folder of the Goldsmith that it belongs to, where that can be seen."""

    def __str__(self) -> str:
        words = self.words if self.pid is None else f"{self.words} (pid {self.pid})"
        return words if self.stack is None else f"{words} of the Goldsmith in {self.stack}"


def port_user(port: int) -> PortUser | None:
    """Who listens on the port, or None when nobody does."""
    for connection in _listeners():
        if connection.laddr.port == port:
            if connection.pid is None:
                return PortUser("another user's process")
            try:
                process = psutil.Process(connection.pid)
                return PortUser(process.name(), connection.pid, _state_dir(process))
            except psutil.NoSuchProcess:
                return PortUser("a process that is just ending")
    with socket.socket() as probe:  # a process that we may not see holds it all the same
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return PortUser(f"a process that cannot be seen ({error.strerror})")
    return None


def _state_dir(process: psutil.Process) -> str | None:
    """Members of a stack are told of its state folder; Valkey, which overwrites its environment, does not say."""
    try:
        folder: str | None = process.environ().get("GOLDSMITH_STATE_DIR")
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return None
    if folder is None:
        return None
    record = read_stack(get_settings().model_copy(update={"state_dir": Path(folder)}))
    return folder if record and process.pid in [entry["pid"] for entry in record["processes"]] else None


def _listeners() -> Iterator[Any]:
    try:
        yield from (connection for connection in psutil.net_connections("tcp") if connection.status == psutil.CONN_LISTEN)
    except psutil.AccessDenied:  # macOS shows other users' sockets to root only
        for process in psutil.process_iter():
            with _ignore_gone():
                yield from (entry for entry in process.net_connections("tcp") if entry.status == psutil.CONN_LISTEN)


@contextmanager
def _ignore_gone() -> Iterator[None]:
    try:
        yield
    except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
        return


def _started(pid: int) -> float:
    return float(psutil.Process(pid).create_time())


def _end(members: list[Member], seconds: float) -> None:
    for member in members:
        assert member.process is not None
        if member.process.poll() is None:
            member.process.send_signal(member.stop_signal)
    end = time.monotonic() + seconds
    for member in members:
        assert member.process is not None
        try:
            member.process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            member.process.kill()
            member.process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def _listens(port: int) -> bool:
    return port_user(port) is not None


def _workers_answering(broker: str) -> int:
    from goldsmith.queue import celery_app

    return len(celery_app(broker).control.ping(timeout=1.0))
