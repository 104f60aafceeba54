"""Adapters: trained weights on top of a base model. Versions are only ever added; an alias is a movable name for one.

A version begins as a candidate and moves on to approved, then to retired: the database refuses every other change. What was
registered is sealed with the installation's signature, so that a change of the files and of the row together shows, too.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field, computed_field

from goldsmith import audit, jobs, signing
from goldsmith.errors import Conflict, InvalidInput, NotFound, ReferenceNotUsable
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
    base_revision: str | None = None
    """The commit on the hub; None for a base model that is not from there."""
    base_files: Mapping[str, str] | None = None
    """sha256 of the base model's files beside config and weights; None of one that is a GGUF file."""
    parents: tuple[str, ...] = ()
    """The adapter versions that a merge added up, or the one of whose training it is an epoch."""


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
    base_revision: str | None = None
    base_files: dict[str, str] | None = Field(
        None, description="sha256 of the base model's files beside config and weights; null where it is a GGUF file."
    )
    parents: list[str] = []
    created_by: str | None = None
    erased_rows: int = Field(0, description="Rows that it was trained on and that were erased since.")
    erased_at: datetime | None = Field(None, description="When rows that it descends from were erased: train it anew.")
    seal: str | None = Field(None, exclude=True)
    public_key: str | None = Field(None, exclude=True)

    @computed_field(description="What it is for in UNO: `expert` or `critic`; null: nothing was said.")  # type: ignore[prop-decorator]
    @property
    def role(self) -> str | None:
        """It stands in the method, and so under the seal; versions from before there were roles have none."""
        return self.method.get("role")

    @property
    def ref(self) -> str:
        return f"adapter:{self.name}@{self.version}"

    @property
    def warning(self) -> str | None:
        """What whoever loads it must know."""
        if self.erased_at is None:
            return None
        return (
            f"{self.ref} descends from data that was erased on {self.erased_at:%Y-%m-%d} ({self.erased_rows} rows):"
            " train it anew without them, then retire it"
        )

    def facts(self) -> dict[str, Any]:
        """What never changes, as it is sealed and stands in passports."""
        names = (
            "name",
            "version",
            "base_model",
            "base_revision",
            "base_sha256",
            "base_files",
            "tokenizer_sha256",
            "template_sha256",
        )
        told = {name: getattr(self, name) for name in names}
        more = ("dataset", "parents", "method", "metrics", "files", "rehearsal", "created_by")
        return {**told, "job": f"job:{self.job_id}", **{name: getattr(self, name) for name in more}}

    def verify(self) -> None:
        """Raise `ReferenceNotUsable` when a file is missing or is not, byte for byte, what was registered and sealed."""
        self._check_seal()
        self._check_files()

    def _check_seal(self) -> None:
        """A version is what its seal says, and has one, or is refused."""
        if self.public_key is None:  # it is not from a database
            return
        if self.seal is None:
            raise ReferenceNotUsable(
                f"{self.ref} has no seal: it was registered before there were seals, or somebody took it away. If you know what it"
                f" is, seal it: goldsmith adapters seal {self.name}@{self.version}"
            )
        signer = _signer(self.seal)
        if signer != self.public_key:
            raise ReferenceNotUsable(
                f"{self.ref}: its seal is broken: signed with another key: expected {self.public_key}, found {signer}. If the"
                f" installation's key was lost, put it back ({signing.KEY_FILE} below the state folder); if there is no copy of it and"
                f" you know what this version is, seal it anew: goldsmith adapters seal {self.name}@{self.version}"
            )
        self._compare_with_seal(self.seal, self.public_key)

    def _compare_with_seal(self, seal: str, public: str) -> None:
        try:
            sealed = signing.opened("adapter", json.loads(seal), public)
        except (signing.SignatureInvalid, ValueError) as error:
            raise ReferenceNotUsable(f"{self.ref}: its seal is broken: {error}") from None
        now = json.loads(signing.canonical(self.facts()))
        for name in sorted(sealed.keys() | now.keys()):
            if sealed.get(name) != now.get(name):
                expected, actual = (json.dumps(one.get(name), ensure_ascii=False)[:200] for one in (sealed, now))
                raise ReferenceNotUsable(f"{self.ref}: its {name} changed: expected {expected}, as sealed; found {actual}")

    def _check_files(self) -> None:
        for name, expected in self.files.items():
            path = self.folder / name
            if not path.is_file():
                raise ReferenceNotUsable(f"{self.ref}: its file {name} is missing")
            actual = sha256_file(path)
            if actual != expected:
                raise ReferenceNotUsable(f"{self.ref}: its file {name} changed: sha256 {actual}, registered as {expected}")
        there = {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()}
        if strangers := sorted(there - self.files.keys()):
            raise ReferenceNotUsable(f"{self.ref}: its folder holds {strangers[0]}, which was not registered")


def _signer(seal: str) -> str:
    """Whose key a seal says that it was signed with; anything for what is no seal."""
    try:
        return str(json.loads(seal)["signature"]["public_key"])
    except (ValueError, TypeError, KeyError):
        return f"nothing that can be read ({seal[:60]!r})"


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
        version = row["version"] if row else _insert(conn, storage, adapter["id"], job_id, new, files, uri)
        if new.alias is not None:
            _move_alias(conn, new.name, new.alias, version, actor=f"job:{job_id}")
        jobs.fence(conn, job_id, attempt)
    return get(conn, storage, f"adapter:{new.name}@{version}")


def _insert(
    conn: Connection, storage: Storage, adapter_id: UUID, job_id: UUID, new: NewAdapter, files: dict[str, str], uri: str
) -> int:
    """The next version's row, sealed. A merge takes over the marks of its parents: it descends from what they do."""
    found = conn.execute(
        """
        SELECT coalesce(max(v.version), 0) + 1 AS version, now() AS created_at,
            (SELECT created_by FROM jobs WHERE id = %(job)s) AS created_by
        FROM adapter_versions v WHERE v.adapter_id = %(adapter)s
        """,
        {"adapter": adapter_id, "job": job_id},
    ).fetchone()
    assert found is not None
    version = AdapterVersion(
        **{name: getattr(new, name) for name in NewAdapter.__dataclass_fields__ if name not in ("alias", "parents")},
        **found,
        parents=list(new.parents),
        job_id=job_id,
        status="candidate",
        files=files,
    )
    seal = json.dumps(signing.sign(storage, "adapter", version.facts()), ensure_ascii=False)
    conn.execute(
        """
        INSERT INTO adapter_versions (adapter_id, version, job_id, base_model, base_revision, base_sha256, base_files, tokenizer_sha256,
            template_sha256, dataset, parents, method, metrics, files, uri, rehearsal, created_by, seal, erased_rows, erased_at)
        SELECT %(adapter)s, %(version)s, %(job)s, %(base_model)s, %(revision)s, %(base)s, %(base_files)s, %(tokenizer)s, %(template)s,
            %(dataset)s, %(parents)s, %(method)s, %(metrics)s, %(files)s, %(uri)s, %(rehearsal)s, %(created_by)s, %(seal)s,
            coalesce(sum(p.erased_rows), 0), max(p.erased_at)
        FROM adapter_versions p JOIN adapters a ON a.id = p.adapter_id
        WHERE format('adapter:%%s@%%s', a.name, p.version) = ANY(%(parents)s)
        """,
        {
            "adapter": adapter_id,
            "version": version.version,
            "job": job_id,
            "base_model": new.base_model,
            "revision": new.base_revision,
            "base": new.base_sha256,
            "base_files": None if new.base_files is None else Jsonb(dict(new.base_files)),
            "tokenizer": new.tokenizer_sha256,
            "template": new.template_sha256,
            "dataset": new.dataset,
            "parents": list(new.parents),
            "method": Jsonb(new.method),
            "metrics": Jsonb(new.metrics),
            "files": Jsonb(files),
            "uri": uri,
            "rehearsal": new.rehearsal,
            "created_by": version.created_by,
            "seal": seal,
        },
    )
    return version.version


def resolve(conn: Connection, ref: str) -> str:
    """`adapter:<name>@<version>` behind a version or an alias; raises `ReferenceNotUsable` that lists what there is."""
    return f"adapter:{(found := _find(conn, ref))['name']}@{found['version']}"


def get(conn: Connection, storage: Storage, ref: str) -> AdapterVersion:
    """The version behind `adapter:<name>@<version or alias>`. Its files are checked where they are loaded: `verify`."""
    return _version(_find(conn, ref), storage, signing.public_key(storage))


def list_adapters(conn: Connection, storage: Storage, name: str | None = None, limit: int = 100) -> list[AdapterVersion]:
    """The newest versions first, of one adapter or of all."""
    rows = conn.execute(
        _VERSION
        + " WHERE %(name)s::text IS NULL OR a.name = %(name)s ORDER BY v.created_at DESC, v.version DESC LIMIT %(limit)s",
        {"name": name, "limit": limit},
    )
    key = signing.public_key(storage)
    return [_version(row, storage, key) for row in rows]


def set_alias(conn: Connection, name: str, alias: str, version: int, *, actor: str) -> None:
    """Let `alias` mean this version from now on. Raises `NotFound` when there is no such version, `Conflict` when it is
    retired."""
    _check_alias(alias)
    with conn.transaction():
        _move_alias(conn, name, alias, version, actor=actor)


def remove_alias(conn: Connection, name: str, alias: str, *, actor: str) -> None:
    """Let `alias` mean nothing from now on; raises `NotFound` when it did not mean anything."""
    _check_alias(alias)
    with conn.transaction():
        removed = conn.execute(
            "DELETE FROM adapter_aliases l USING adapters a WHERE a.id = l.adapter_id AND a.name = %s AND l.alias = %s",
            (name, alias),
        )
        if removed.rowcount == 0:
            raise NotFound(f"there is no adapter:{name}@{alias}; {_what_there_is(conn, name)}")
        audit.record(conn, actor, "adapter.unalias", f"adapter:{name}@{alias}")


def approve(conn: Connection, storage: Storage, name: str, version: int, *, actor: str) -> AdapterVersion:
    """candidate → approved; approved stays. Raises `Conflict` for a retired one, `NotFound`."""
    return _move_on(conn, storage, name, version, "candidate", "approved", actor)


def retire(conn: Connection, storage: Storage, name: str, version: int, *, actor: str) -> AdapterVersion:
    """approved → retired; retired stays. Raises `Conflict` for a candidate, and, naming them, while aliases or experiments
    that run use the version; `NotFound`."""
    return _move_on(conn, storage, name, version, "approved", "retired", actor)


def _move_on(
    conn: Connection, storage: Storage, name: str, version: int, before: Status, after: Status, actor: str
) -> AdapterVersion:
    ref = f"adapter:{name}@{version}"
    with conn.transaction():
        row = conn.execute(_LOCK, (name, version)).fetchone()
        if row is None:
            raise NotFound(f"there is no {ref}; {_what_there_is(conn, name)}")
        if row["status"] not in (before, after):
            raise Conflict(f"{ref} is {row['status']}; a version moves from candidate to approved to retired")
        if after == "retired" and (users := _users(conn, row["id"], ref)):
            raise Conflict(f"{ref} is in use by {', '.join(users)}; move or remove what uses it, then retire it", used_by=users)
        if row["status"] != after:
            conn.execute("UPDATE adapter_versions SET status = %s WHERE id = %s", (after, row["id"]))
            audit.record(conn, actor, f"adapter.{'approve' if after == 'approved' else 'retire'}", ref)
    return get(conn, storage, ref)


def seal(conn: Connection, storage: Storage, name: str, version: int, *, actor: str) -> AdapterVersion:
    """Seal a version with the installation's present key: one without a seal, or one that was sealed with a key that was lost.

    Its files must be those that were registered, and its row what the former seal says. With the present key's seal: a no-op, or the
    refusal that loading gives.
    """
    ref = f"adapter:{name}@{version}"
    with conn.transaction():
        if conn.execute(_LOCK, (name, version)).fetchone() is None:
            raise NotFound(f"there is no {ref}; {_what_there_is(conn, name)}")
        found = get(conn, storage, ref)
        former = found.seal and _signer(found.seal)
        if former == found.public_key:
            found.verify()
            return found
        if found.seal is not None and former is not None:
            found._compare_with_seal(found.seal, former)
        found._check_files()
        made = json.dumps(signing.sign(storage, "adapter", found.facts()), ensure_ascii=False)
        conn.execute("SET LOCAL goldsmith.sealing = 'on'")
        conn.execute(
            "UPDATE adapter_versions v SET seal = %s FROM adapters a WHERE a.id = v.adapter_id AND a.name = %s AND v.version = %s",
            (made, name, version),
        )
        conn.execute("SET LOCAL goldsmith.sealing = 'off'")
        audit.record(conn, actor, "adapter.seal", ref, {"former_key": former})
    return get(conn, storage, ref)


_LOCK = """
    SELECT v.id, v.status FROM adapter_versions v JOIN adapters a ON a.id = v.adapter_id
    WHERE a.name = %s AND v.version = %s FOR UPDATE OF v
"""


def refuse_retired(conn: Connection, refs: Sequence[str]) -> None:
    """Raise `Conflict` when one of these versions is retired; none of them can be retired before the transaction ends."""
    for ref in refs:
        row = conn.execute(_LOCK, (_name(ref), int(ref.rpartition("@")[2]))).fetchone()
        if row is not None and row["status"] == "retired":
            raise Conflict(f"{ref} is retired; approve and use another version")


def _name(ref: str) -> str:
    return ref.removeprefix("adapter:").rpartition("@")[0]


def _users(conn: Connection, version_id: UUID, ref: str) -> list[str]:
    """Aliases, and experiments that run, but for those in which base answers in its place."""
    rows = conn.execute(
        """
        SELECT 'the alias ' || alias AS used_by FROM adapter_aliases WHERE version_id = %s
        UNION ALL
        SELECT 'the experiment ' || e.name FROM arms r JOIN experiments e ON e.id = r.experiment_id
        WHERE r.adapter = %s AND r.gated IS DISTINCT FROM 'adapter_retired' AND e.status IN ('running', 'paused') ORDER BY 1
        """,
        (version_id, ref),
    )
    return [row["used_by"] for row in rows]


def _check_alias(alias: str) -> None:
    if not re.fullmatch(ALIAS_PATTERN, alias):
        raise InvalidInput(f"alias: {alias!r} is no alias; allowed is {ALIAS_PATTERN}")


def _move_alias(conn: Connection, name: str, alias: str, version: int, *, actor: str) -> None:
    row = conn.execute(_LOCK, (name, version)).fetchone()  # so that it is not retired in this very moment
    if row is None:
        raise NotFound(f"there is no adapter:{name}@{version}")
    if row["status"] == "retired":
        raise Conflict(f"adapter:{name}@{version} is retired; no alias can mean it")
    conn.execute(
        """
        INSERT INTO adapter_aliases (adapter_id, alias, version_id)
        SELECT adapter_id, %s, id FROM adapter_versions WHERE id = %s
        ON CONFLICT (adapter_id, alias) DO UPDATE SET version_id = excluded.version_id, updated_at = now()
        """,
        (alias, row["id"]),
    )
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


def _version(row: dict[str, Any], storage: Storage, public_key: str) -> AdapterVersion:
    known = {key: row[key] for key in AdapterVersion.model_fields if key not in ("folder", "public_key")}
    return AdapterVersion(**known, folder=storage.path(row["uri"]), public_key=public_key)
