"""The passport of an adapter version: all that is known of its making and its worth, in one signed JSON.

It is written anew each time it is asked for, so that it knows of later evaluations, experiments and erasures; what was
registered stands in it as it was sealed. The form is in docs/adapters.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goldsmith import adapters, datasets, lineage, signing
from goldsmith.adapters import AdapterVersion
from goldsmith.errors import ReferenceNotUsable
from goldsmith.lineage import Lineage, Node
from goldsmith.storage import Storage, sha256_file

if TYPE_CHECKING:
    from goldsmith.db import Connection

FORM = "goldsmith-passport/1"
PERSONAL = ("personal_data", "personal data")  # as an import, and as a corpus, says why something was left out
TOLD = ("train.json", "merge.json")  # what a job leaves beside the weights: versions and hardware among it

# What was found out about it later.
VERDICTS = """
SELECT 'evaluation' AS kind, 'job:' || j.id AS job, j.result->>'dataset' AS dataset, NULL AS experiment,
    j.result->>'verdict' AS verdict, (j.result->>'valid')::boolean AS valid, j.result->>'why' AS why, j.completed_at AS at
FROM jobs j WHERE j.kind = 'evaluate' AND j.status = 'completed' AND j.result->>'adapter' = %(ref)s
UNION ALL
SELECT 'gate', 'job:' || j.id, j.result->>'dataset', NULL, CASE WHEN (j.result->>'passed')::boolean THEN 'passed' ELSE 'failed' END,
    j.result->>'gate' = 'halves', j.result->>'why', j.completed_at
FROM jobs j WHERE j.kind = 'verify' AND j.status = 'completed' AND j.result->>'adapter' = %(ref)s
UNION ALL
SELECT 'experiment', 'job:' || d.job_id, NULL, e.name, d.decision, d.decision <> 'invalid', d.reason, d.created_at
FROM ab_decisions d JOIN experiments e ON e.id = d.experiment_id
JOIN arms r ON r.experiment_id = e.id AND r.adapter = %(ref)s
WHERE d.decision IN ('promote', 'keep_base', 'continue', 'rollback', 'invalid', 'promote_done')
ORDER BY at, job
"""


def issue(conn: Connection, storage: Storage, ref: str) -> dict[str, Any]:
    """The signed passport of a version that is, byte for byte, what was registered; else `ReferenceNotUsable`."""
    version = adapters.get(conn, storage, ref)
    version.verify()
    origin = lineage.of(conn, version.ref)
    now = conn.execute("SELECT now() AS now").fetchone()
    assert now is not None
    trained_on = _trained_on(origin.root)
    told = _told(version)
    document = {
        "form": FORM,
        "issued_at": now["now"].astimezone(UTC).isoformat(),
        "adapter": version.facts(),
        "status": version.status,
        "erased": {"rows": version.erased_rows, "at": version.erased_at and version.erased_at.astimezone(UTC).isoformat()},
        "trained_on": [_searched(conn, storage, each) for each in _trainings(origin.root)],
        "datasets": [_dataset(conn, each, rows=each in trained_on) for each in origin.datasets],
        "base_model_licence": _licence(version.base_model),
        "teacher": _teacher(origin),
        "imported_runs": origin.runs,
        "versions": told.get("versions", {}),
        "hardware": told.get("hardware", {}),
        "verdicts": [
            {**row, "at": row["at"].astimezone(UTC).isoformat()} for row in conn.execute(VERDICTS, {"ref": version.ref})
        ],
    }
    return signing.sign(storage, "passport", json.loads(signing.canonical(document)))


def check(signed: Any, public: str, folder: Path | None = None) -> dict[str, Any]:
    """The passport in it. Raises `SignatureInvalid` when the holder of `public` did not sign it as it is, and
    `ReferenceNotUsable` when the adapter's files in `folder` are not those that it names."""
    passport = signing.opened("passport", signed, public)
    if passport.get("form") != FORM:
        raise signing.SignatureInvalid(f"the passport's form is {passport.get('form')!r}; this version reads {FORM}")
    for name, expected in (passport["adapter"]["files"] if folder else {}).items():
        assert folder is not None
        actual = sha256_file(folder / name) if (folder / name).is_file() else "missing"
        if actual != expected:
            raise ReferenceNotUsable(f"{name}: expected sha256 {expected}, as the passport says; found {actual}")
    return passport


def _trained_on(node: Node) -> set[str]:
    """The dataset versions right below adapters."""
    own = {one.ref for one in node.made_from if one.kind == "dataset"} if node.kind == "adapter" else set()
    return own.union(*(_trained_on(one) for one in node.made_from))


def _trainings(node: Node) -> list[str]:
    """The adapters whose weights were trained: itself, or what a merge added up."""
    if node.kind != "adapter":
        return []
    parents = [ref for one in node.made_from for ref in _trainings(one)]
    return list(dict.fromkeys(parents)) or [node.ref]


def _searched(conn: Connection, storage: Storage, ref: str) -> dict[str, Any]:
    """What its training looked for in its rows, and when; None where it looked for nothing, as early versions did."""
    version = adapters.get(conn, storage, ref)
    report = _told(version).get("trained_on", {})
    names = ("at", "rows", "leakage", "personal_data")
    return {"adapter": ref, "dataset": version.dataset, **{name: report.get(name) for name in names}}


def _dataset(conn: Connection, ref: str, *, rows: bool) -> dict[str, Any]:
    version = datasets.get(conn, *datasets.parse_ref(ref))
    manifest = version.manifest
    filters: Mapping[str, int] = manifest.get("filters") or {}
    about = {
        "ref": ref,
        "content_sha256": version.content_sha256,
        "counts": version.counts,
        "parents": version.parents,
        "rehearsal": version.rehearsal,
        "erased_rows": version.erased_rows,
        "licence": manifest.get("licence"),
        "kind": manifest.get("kind"),
        "config": manifest.get("config"),
        "teacher": manifest.get("teacher"),
        "model": manifest.get("model"),
        "prices": manifest.get("prices"),
        "checked_by": manifest.get("checked_by"),
        "leakage": manifest.get("leak_check"),
        "left_out": filters,
        "personal_data": None,
    }
    if manifest.get("kind") == "corpus":  # nothing else searches what it takes in
        about["personal_data"] = {name: number for name, number in filters.items() if name.startswith(PERSONAL)}
    if rows:
        about["rows"] = {
            split: [
                hashlib.sha256(datasets.canonical(row).encode()).hexdigest() for row in datasets.examples_of(conn, ref, split)
            ]
            for split in datasets.SPLITS
        }
    return about


def _teacher(origin: Lineage) -> dict[str, Any]:
    calls: dict[tuple[Any, ...], dict[str, Any]] = {}
    for node in _every(origin.root):
        calls |= {
            (node.job, one.provider, one.model, one.rehearsal): {"job": node.job, **one.model_dump()} for one in node.teacher
        }
    return {"usd": origin.usd, "calls": origin.calls, "by_job": list(calls.values())}


def _every(node: Node) -> list[Node]:
    return [node, *(each for one in node.made_from for each in _every(one))]


def _told(version: AdapterVersion) -> dict[str, Any]:
    for name in TOLD:
        if (
            name in version.files
            and version.folder.joinpath(name).is_file()
            and sha256_file(version.folder / name) == version.files[name]
        ):
            found: dict[str, Any] = json.loads((version.folder / name).read_text(encoding="utf-8"))
            return found
    return {}


def _licence(base_model: str) -> str | None:
    """What the package of a packaged base model says; None where nothing says it here: look at the model's card."""
    if not base_model.startswith("package:"):
        return None
    try:
        about = metadata(base_model.removeprefix("package:")).json
    except PackageNotFoundError:
        return None
    licence = about.get("license_expression") or about.get("license")
    return str(licence) if licence else None
