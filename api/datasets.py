"""`/v1/datasets`: versions, rows, files, what changed between two, and whether the devserver's contexts have moved on."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from api.contexts import CONTEXTS_PATTERN, checkout_of
from api.download import DOWNLOAD, Download
from api.jobs import MISSING, REFUSALS
from api.state import StateDep
from goldsmith import dataset_diff, datasets, lineage
from goldsmith.dataset_diff import DatasetDiff
from goldsmith.datasets import DatasetVersion, Example
from goldsmith.devserver.drift import Pins, changes
from goldsmith.errors import NotFound
from goldsmith.kinds.base import NAME_PATTERN
from goldsmith.lineage import Lineage

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])

NameParam = Annotated[str, Path(pattern=f"^{NAME_PATTERN}$")]
VersionParam = Annotated[int, Path(ge=1, le=999_999_999)]


class DatasetView(BaseModel):
    dataset: DatasetVersion
    ref: str
    files: list[str]


class DriftView(BaseModel):
    dataset: str
    contexts: str = Field(description="What the rows were compared with.")
    drifted: bool
    changes: list[str] = Field(description="Every difference in words.")
    pins: Pins = Field(description="The hashes that the rows were rendered with.")


def _dataset(version: DatasetVersion) -> DatasetView:
    return DatasetView(dataset=version, ref=version.ref, files=sorted(version.manifest.get("files") or {}))


@router.get("", responses=REFUSALS)
def list_datasets(state: StateDep) -> list[DatasetView]:
    """The newest version of each."""
    with state.database.connection() as conn:
        return [_dataset(version) for version in datasets.list_datasets(conn)]


@router.get("/{name}", responses=MISSING)
def list_dataset_versions(name: NameParam, state: StateDep) -> list[DatasetView]:
    with state.database.connection() as conn:
        return [_dataset(version) for version in datasets.list_versions(conn, name)]


@router.get("/{name}/{version}", responses=MISSING)
def get_dataset(name: NameParam, version: VersionParam, state: StateDep) -> DatasetView:
    with state.database.connection() as conn:
        return _dataset(datasets.get(conn, name, version))


@router.get("/{name}/{version}/examples", responses=MISSING)
def get_examples(
    name: NameParam,
    version: VersionParam,
    state: StateDep,
    split: datasets.Split | None = None,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[Example]:
    """The rows, in their frozen order."""
    with state.database.connection() as conn:
        return datasets.examples_of(conn, f"dataset:{name}@{version}", split, offset, limit)


@router.get("/{name}/{version}/lineage", responses=MISSING)
def dataset_lineage(
    name: NameParam,
    version: Annotated[str, Path(pattern=r"^([1-9][0-9]{0,8}|latest)$")],
    state: StateDep,
    runs: Annotated[bool, Query(description="With the runs' ids.")] = False,
) -> Lineage:
    """What it was made from: other versions, their jobs, what teachers cost, and the imported runs."""
    with state.database.connection() as conn:
        return lineage.of(conn, f"dataset:{name}@{version}", ids=runs)


@router.get("/{name}/{version}/diff", responses=MISSING)
def diff_datasets(
    name: NameParam,
    version: VersionParam,
    state: StateDep,
    before: Annotated[
        str, Query(pattern=rf"^dataset:{NAME_PATTERN}@([1-9][0-9]{{0,8}}|latest)$", description="The version to compare with.")
    ],
    limit: Annotated[int, Query(ge=0, le=1000, description="Rows to name; all are counted.")] = 100,
) -> DatasetDiff:
    """What changed from `before` to this version: rows added, removed and changed, and the manifests."""
    with state.database.connection() as conn:
        return dataset_diff.diff(conn, before, f"dataset:{name}@{version}", limit)


@router.get("/{name}/{version}/drift", responses=MISSING)
def drift(
    name: NameParam,
    version: VersionParam,
    state: StateDep,
    contexts: Annotated[
        str | None,
        Query(
            pattern=CONTEXTS_PATTERN, description="job:<id>/contexts.json or upload:<id>; empty: what the newest import read."
        ),
    ] = None,
) -> DriftView:
    """Whether a devserver's template and contexts are still those that the rows were rendered with."""
    ref = f"dataset:{name}@{version}"
    with state.database.connection() as conn:
        pins = datasets.pins(conn, ref)
        against, checkout = checkout_of(conn, state.storage, contexts)
    found = changes(pins, checkout)
    return DriftView(dataset=ref, contexts=against, drifted=bool(found), changes=found, pins=pins)


@router.get("/{name}/{version}/files/{file}", responses=MISSING | DOWNLOAD, response_class=Download)
@router.head("/{name}/{version}/files/{file}", responses=MISSING | DOWNLOAD, response_class=Download)
def download_dataset(name: NameParam, version: VersionParam, file: str, state: StateDep) -> Download:
    """The file itself, or ranges of it."""
    with state.database.connection() as conn:
        files = datasets.files(conn, f"dataset:{name}@{version}")
    if file not in files:
        raise NotFound(f"dataset:{name}@{version} has no file {file!r}; it has: {', '.join(sorted(files))}")
    return Download(state.storage.existing(files[file].uri), filename=f"{name}-{version}-{file}")
