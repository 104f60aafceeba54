"""References between jobs, datasets, adapters and experiments: found by their marks, checked and pinned at submit."""

from __future__ import annotations

import typing
from functools import lru_cache
from typing import Any
from uuid import UUID

from goldsmith import adapters, artifacts, datasets, uploads
from goldsmith.db import Connection
from goldsmith.errors import GoldsmithError, NotFound, ReferenceNotUsable
from goldsmith.kinds.base import JobConfig, Reference


def _marks(annotation: Any) -> list[Reference]:
    found = [mark for mark in getattr(annotation, "__metadata__", ()) if isinstance(mark, Reference)]
    for argument in typing.get_args(annotation):
        found += _marks(argument)
    return found


@lru_cache
def reference_fields(config: type[JobConfig]) -> dict[str, list[Reference]]:
    """The fields of a config that point to something, with their marks; those that name a kind come first."""
    hints = typing.get_type_hints(config, include_extras=True)
    marks = {name: _marks(hints[name]) for name in config.model_fields}
    return {name: sorted(found, key=lambda mark: mark.kind is None) for name, found in marks.items() if found}


def resolve(conn: Connection, config: JobConfig) -> tuple[JobConfig, list[UUID]]:
    """Check every reference; returns the config with `@latest` and aliases pinned, and the jobs it must wait for.

    Raises `ReferenceNotUsable`, naming the field, when something is not there or a job failed.
    """
    pinned: dict[str, Any] = {}
    parents: list[UUID] = []
    for field, marks in reference_fields(type(config)).items():
        value = getattr(config, field)
        if value is None:
            continue
        if isinstance(value, dict):
            pinned[field] = {
                key: _resolve_one(conn, f"{field}.{key}", _mark(marks, ref), ref, parents) for key, ref in value.items()
            }
            continue
        single = isinstance(value, str)
        resolved = [_resolve_one(conn, field, _mark(marks, ref), ref, parents) for ref in ([value] if single else value)]
        pinned[field] = resolved[0] if single else resolved
    return config.model_copy(update=pinned), list(dict.fromkeys(parents))


def _mark(marks: list[Reference], ref: str) -> Reference:
    return next(mark for mark in marks if mark.fits(ref))  # the field's pattern let nothing else pass


def _resolve_one(conn: Connection, field: str, mark: Reference, ref: str, parents: list[UUID]) -> str:
    try:
        match mark.to:
            case "job" | "artifact":
                return _check_job(conn, field, mark, ref, parents)
            case "checkpoint":
                _check_left(conn, mark, ref)
            case "dataset":
                return datasets.get(conn, *datasets.parse_ref(ref)).ref
            case "adapter":
                return adapters.resolve(conn, ref)
            case "upload":
                uploads.get(conn, ref, mark.kind)
            case "experiment":
                if not conn.execute("SELECT 1 FROM experiments WHERE id = %s", (ref,)).fetchone():
                    raise NotFound(f"there is no experiment {ref}")
    except (NotFound, ReferenceNotUsable) as error:
        raise _unusable(field, ref, error) from None
    return ref


def _unusable(field: str, ref: str, error: GoldsmithError) -> ReferenceNotUsable:
    return ReferenceNotUsable(f"{field}: {error.detail}", errors=[{"field": field, "value": ref, "message": error.detail}])


def _check_left(conn: Connection, mark: Reference, ref: str) -> None:
    """Only a job that ended before its time has kept its checkpoint."""
    job_id = ref.removeprefix("job:")
    row = conn.execute("SELECT kind, status FROM jobs WHERE id = %s", (job_id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no job {job_id}")
    if row["kind"] != mark.kind:
        raise ReferenceNotUsable(f"job {job_id} is a {row['kind']} job; this must point to a job of kind {mark.kind}")
    if row["status"] == "completed":
        raise ReferenceNotUsable(f"job {job_id} is completed and keeps no checkpoint; its adapter is its result")
    if row["status"] not in ("failed", "cancelled"):
        raise ReferenceNotUsable(f"job {job_id} is {row['status']}; cancel it first: two runs cannot go on from one checkpoint")


def _check_job(conn: Connection, field: str, mark: Reference, ref: str, parents: list[UUID]) -> str:
    job_id, _, name = ref.removeprefix("job:").partition("/")
    row = conn.execute("SELECT kind, status FROM jobs WHERE id = %s", (job_id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no job {job_id}")
    if mark.kind is not None and row["kind"] != mark.kind:
        raise ReferenceNotUsable(f"job {job_id} is a {row['kind']} job; this must point to a job of kind {mark.kind}")
    if row["status"] in ("failed", "cancelled"):
        raise ReferenceNotUsable(f"job {job_id} ({row['kind']}) is {row['status']} and left nothing to use; retry it first")
    if row["status"] != "completed":
        parents.append(UUID(job_id))
    elif name:
        artifacts.get(conn, UUID(job_id), name)
    return ref
