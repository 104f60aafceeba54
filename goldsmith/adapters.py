"""Adapters: trained weights on top of a base model. Versions are only ever added; an alias is a movable name for one."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field

from goldsmith import audit, jobs
from goldsmith.errors import InvalidInput, NotFound, ReferenceNotUsable
from goldsmith.kinds.base import NAME_PATTERN
from goldsmith.storage import Storage, sha256_file

if TYPE_CHECKING:
    from goldsmith.db import Connection

Status = Literal["candidate", "approved", "retired"]

ALIAS_PATTERN = r"[a-z][a-z0-9._-]{0,63}"


@dataclass(frozen=True)
class NewAdapter:
    """What a training run hands over: a folder of files and where they come from."""

    name: str
    folder: Path
    base_model: str
    base_sha256: str
    tokenizer_sha256: str
    template_sha256: str
    dataset: str
    method: dict[str, Any]
    metrics: dict[str, Any] = field(default_factory=dict)
    rehearsal: bool = False
    alias: str | None = None


class AdapterVersion(BaseModel):
    """One frozen version, with the hashes of everything it was trained on."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: int = Field(ge=1)
    job_id: UUID
    base_model: str
    base_sha256: str
    tokenizer_sha256: str
    template_sha256: str
    dataset: str
    status: Status
    method: dict[str, Any]
    metrics: dict[str, Any]
    files: dict[str, str] = Field(description="sha256 of each file, by its name in the folder.")
    folder: Path = Field(exclude=True)
    rehearsal: bool
    created_at: datetime
    aliases: list[str] = []

    @property
    def ref(self) -> str:
        return f"adapter:{self.name}@{self.version}"

    def verify(self) -> None:
        """Raise `ReferenceNotUsable` when a file is missing or is not, byte for byte, what was registered."""
        for name, expected in self.files.items():
            path = self.folder / name
            if not path.is_file():
                raise ReferenceNotUsable(f"{self.ref}: its file {name} is missing")
            actual = sha256_file(path)
            if actual != expected:
                raise ReferenceNotUsable(f"{self.ref}: its file {name} changed: sha256 {actual}, registered as {expected}")


_VERSION = """
    SELECT a.name, v.*, array(
        SELECT l.alias FROM adapter_aliases l WHERE l.version_id = v.id ORDER BY l.alias
    ) AS aliases
    FROM adapter_versions v JOIN adapters a ON a.id = v.adapter_id
"""


def register(conn: Connection, storage: Storage, job_id: UUID, attempt: int, new: NewAdapter) -> AdapterVersion:
    """Store the files, then the row as the next version, and move the alias, if one is given, in the same transaction.

    Two registrations of one name at the same time get different versions. After a crash in between, files may be left that no
    row knows, but never a row without its files.
    """
    if not re.fullmatch(NAME_PATTERN, new.name):
        raise InvalidInput(f"name: {new.name!r} is no adapter name; allowed is {NAME_PATTERN}")
    if new.alias is not None:
        _check_alias(new.alias)
    stored = storage.put_folder(f"adapters/{job_id}/{attempt}/{new.name}-{uuid.uuid4().hex[:12]}", new.folder)
    if not stored:
        raise InvalidInput(f"folder: {new.folder} holds no file")
    name, first = next(iter(stored.items()))
    uri = first.uri.removesuffix(f"/{name}")
    files = {name: file.sha256 for name, file in stored.items()}
    with conn.transaction():
        adapter = conn.execute(
            # the update changes nothing but locks the row, so that versions are given one after the other
            "INSERT INTO adapters (name) VALUES (%s) ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id",
            (new.name,),
        ).fetchone()
        assert adapter is not None
        row = conn.execute(
            "SELECT version FROM adapter_versions WHERE adapter_id = %s AND job_id = %s AND files = %s AND uri NOT LIKE %s",
            (adapter["id"], job_id, Jsonb(files), f"adapters/{job_id}/{attempt}/%"),
        ).fetchone()  # an earlier attempt registered the same files and died before its job ended
        row = (
            row
            or conn.execute(
                """
            INSERT INTO adapter_versions (adapter_id, version, job_id, base_model, base_sha256, tokenizer_sha256,
                template_sha256, dataset, method, metrics, files, uri, rehearsal)
            SELECT %(adapter)s, coalesce(max(version), 0) + 1, %(job)s, %(base_model)s, %(base)s, %(tokenizer)s, %(template)s,
                %(dataset)s, %(method)s, %(metrics)s, %(files)s, %(uri)s, %(rehearsal)s
            FROM adapter_versions WHERE adapter_id = %(adapter)s
            RETURNING version
            """,
                {
                    "adapter": adapter["id"],
                    "job": job_id,
                    "base_model": new.base_model,
                    "base": new.base_sha256,
                    "tokenizer": new.tokenizer_sha256,
                    "template": new.template_sha256,
                    "dataset": new.dataset,
                    "method": Jsonb(new.method),
                    "metrics": Jsonb(new.metrics),
                    "files": Jsonb(files),
                    "uri": uri,
                    "rehearsal": new.rehearsal,
                },
            ).fetchone()
        )
        assert row is not None
        if new.alias is not None:
            _move_alias(conn, new.name, new.alias, row["version"], actor=f"job:{job_id}")
        jobs.fence(conn, job_id, attempt)
    return get(conn, storage, f"adapter:{new.name}@{row['version']}")


def resolve(conn: Connection, ref: str) -> str:
    """`adapter:<name>@<version>` behind a version or an alias; raises `ReferenceNotUsable` that lists what there is."""
    return f"adapter:{(found := _find(conn, ref))['name']}@{found['version']}"


def get(conn: Connection, storage: Storage, ref: str) -> AdapterVersion:
    """The version behind `adapter:<name>@<version or alias>`. Its files are checked where they are loaded: `verify`."""
    return _version(_find(conn, ref), storage)


def list_adapters(conn: Connection, storage: Storage, name: str | None = None, limit: int = 100) -> list[AdapterVersion]:
    """The newest versions first, of one adapter or of all."""
    rows = conn.execute(
        _VERSION
        + " WHERE %(name)s::text IS NULL OR a.name = %(name)s ORDER BY v.created_at DESC, v.version DESC LIMIT %(limit)s",
        {"name": name, "limit": limit},
    )
    return [_version(row, storage) for row in rows]


def set_alias(conn: Connection, name: str, alias: str, version: int, *, actor: str) -> None:
    """Let `alias` mean this version from now on; raises `NotFound` when there is no such version."""
    _check_alias(alias)
    with conn.transaction():
        _move_alias(conn, name, alias, version, actor=actor)


def _check_alias(alias: str) -> None:
    if not re.fullmatch(ALIAS_PATTERN, alias):
        raise InvalidInput(f"alias: {alias!r} is no alias; allowed is {ALIAS_PATTERN}")


def _move_alias(conn: Connection, name: str, alias: str, version: int, *, actor: str) -> None:
    moved = conn.execute(
        """
        INSERT INTO adapter_aliases (adapter_id, alias, version_id)
        SELECT a.id, %s, v.id FROM adapters a JOIN adapter_versions v ON v.adapter_id = a.id
        WHERE a.name = %s AND v.version = %s
        ON CONFLICT (adapter_id, alias) DO UPDATE SET version_id = excluded.version_id, updated_at = now()
        """,
        (alias, name, version),
    )
    if moved.rowcount == 0:
        raise NotFound(f"there is no adapter:{name}@{version}")
    audit.record(conn, actor, "adapter.promote", f"adapter:{name}@{alias}", {"version": version})


def _find(conn: Connection, ref: str) -> dict[str, Any]:
    match = re.fullmatch(rf"adapter:({NAME_PATTERN})@([1-9][0-9]{{0,8}}|{ALIAS_PATTERN})", ref)
    if match is None:
        raise ReferenceNotUsable(f"{ref!r} is no adapter reference; write adapter:<name>@<version or alias>")
    name, wanted = match.groups()
    by_alias = "v.id = (SELECT version_id FROM adapter_aliases WHERE adapter_id = a.id AND alias = %s)"
    condition = "v.version = %s" if wanted.isdigit() else by_alias
    row = conn.execute(
        f"{_VERSION} WHERE a.name = %s AND {condition}", (name, int(wanted) if wanted.isdigit() else wanted)
    ).fetchone()
    if row is None:
        raise ReferenceNotUsable(f"there is no {ref}; {_what_there_is(conn, name)}")
    return row


def _what_there_is(conn: Connection, name: str) -> str:
    versions = conn.execute(
        """
        SELECT v.version FROM adapter_versions v JOIN adapters a ON a.id = v.adapter_id WHERE a.name = %s
        ORDER BY v.version DESC LIMIT 10
        """,
        (name,),
    ).fetchall()
    if not versions:
        names = conn.execute("SELECT name FROM adapters ORDER BY created_at DESC LIMIT 10").fetchall()
        return f"known adapters: {', '.join(row['name'] for row in names) or 'none yet'}"
    aliases = conn.execute(
        "SELECT l.alias FROM adapter_aliases l JOIN adapters a ON a.id = l.adapter_id WHERE a.name = %s ORDER BY 1 LIMIT 10",
        (name,),
    ).fetchall()
    return (
        f"versions: {', '.join(str(row['version']) for row in versions)}; "
        f"aliases: {', '.join(row['alias'] for row in aliases) or 'none'}"
    )


def _version(row: dict[str, Any], storage: Storage) -> AdapterVersion:
    return AdapterVersion(
        **{key: row[key] for key in AdapterVersion.model_fields if key != "folder"}, folder=storage.path(row["uri"])
    )
