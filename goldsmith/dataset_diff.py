"""What changed between two dataset versions, row by row, and in what they were made with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from goldsmith.datasets import DatasetVersion, Example, examples_of, get, parse_ref

if TYPE_CHECKING:
    import psycopg

Key = tuple[str, str]


class RowChange(BaseModel):
    """One row that is on one side only, or differs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    change: str = Field(description="`added`, `removed` or `changed`.")
    config_id: str
    input: str
    fields: list[str] = Field(description="What differs; empty for a row that was added or removed.")


class DatasetDiff(BaseModel):
    """From `before` to `after`. A row is the same row when config and input are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    before: str
    after: str
    same_content: bool
    rows_before: int
    rows_after: int
    added: int
    removed: int
    changed: int
    same: int
    changed_fields: dict[str, int] = Field(description="Rows in which a field differs.")
    manifest: dict[str, tuple[Any, Any]] = Field(description="What the manifests say differently, by key, with dots for depth.")
    rows: list[RowChange] = Field(description="The first of them, in the order of the versions.")


def diff(conn: psycopg.Connection[dict[str, Any]], before: str, after: str, limit: int) -> DatasetDiff:
    """Both by reference; raises `NotFound`."""
    old, new = get(conn, *parse_ref(before)), get(conn, *parse_ref(after))
    return compare(old, examples_of(conn, old.ref), new, examples_of(conn, new.ref), limit)


def compare(
    old: DatasetVersion, old_rows: Sequence[Example], new: DatasetVersion, new_rows: Sequence[Example], limit: int
) -> DatasetDiff:
    was, now = _by_key(old_rows), _by_key(new_rows)
    fields = {key: _differs(was[key], now[key]) for key in was if key in now}
    rows = [RowChange(change="removed", config_id=key[0], input=key[1], fields=[]) for key in was if key not in now]
    rows += [
        RowChange(change="changed", config_id=key[0], input=key[1], fields=found) for key, found in fields.items() if found
    ]
    rows += [RowChange(change="added", config_id=key[0], input=key[1], fields=[]) for key in now if key not in was]
    kinds = Counter(row.change for row in rows)
    return DatasetDiff(
        before=old.ref,
        after=new.ref,
        same_content=old.content_sha256 == new.content_sha256,
        rows_before=len(old_rows),
        rows_after=len(new_rows),
        added=kinds["added"],
        removed=kinds["removed"],
        changed=kinds["changed"],
        same=sum(not found for found in fields.values()),
        changed_fields=dict(sorted(Counter(name for found in fields.values() for name in found).items())),
        manifest=_manifest(old, new),
        rows=rows[:limit],
    )


def _by_key(rows: Iterable[Example]) -> dict[Key, Example]:
    return {(row.config_id, row.input): row for row in rows}


def _differs(one: Example, other: Example) -> list[str]:
    old, new = one.model_dump(exclude={"messages"}), other.model_dump(exclude={"messages"})
    return [name for name in old if old[name] != new[name]]


def _manifest(old: DatasetVersion, new: DatasetVersion) -> dict[str, tuple[Any, Any]]:
    was, now = _flat(_about(old)), _flat(_about(new))
    return {name: (was.get(name), now.get(name)) for name in sorted({*was, *now}) if was.get(name) != now.get(name)}


def _about(version: DatasetVersion) -> dict[str, Any]:
    told = {key: value for key, value in version.manifest.items() if key != "files"}
    return told | {"parents": version.parents, "counts": version.counts, "rehearsal": version.rehearsal}


def _flat(value: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, each in value.items():
        found.update(_flat(each, f"{before}{key}.") if isinstance(each, dict) else {f"{before}{key}": each})
    return found
