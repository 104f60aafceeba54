"""What answers live requests now: the champion adapter, and the contexts that it was trained with."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from goldsmith import adapters, artifacts, datasets
from goldsmith.db import Connection
from goldsmith.devserver.checkout import Checkout
from goldsmith.errors import InvalidInput, NotFound, ReferenceNotUsable
from goldsmith.kinds.intercept.schema import InterceptConfig
from goldsmith.settings import Settings
from goldsmith.storage import Storage


def champion(conn: Connection, base_model: str) -> str | None:
    """The adapter version that carries the alias `champion` on this base model, the last one to get it; None: the base answers."""
    row = conn.execute(
        "SELECT a.name, v.version FROM adapter_aliases l JOIN adapters a ON a.id = l.adapter_id"
        " JOIN adapter_versions v ON v.id = l.version_id"
        " WHERE l.alias = 'champion' AND %s IN (v.base_model, split_part(v.base_model, '@', 1)) AND v.status <> 'retired' ORDER BY l.updated_at DESC LIMIT 1",
        (base_model,),
    ).fetchone()
    return f"adapter:{row['name']}@{row['version']}" if row else None


def contexts_of(conn: Connection, adapter: str | None) -> str | None:
    """`job:<id>/contexts.json` that the adapter's dataset was rendered from, or of the newest import; None: there is none."""
    if adapter is not None:
        name, _, version = adapter.removeprefix("adapter:").partition("@")
        trained = conn.execute(
            "SELECT v.dataset FROM adapter_versions v JOIN adapters a ON a.id = v.adapter_id WHERE a.name = %s AND v.version = %s",
            (name, int(version)),
        ).fetchone()
        ref = _contexts_of_dataset(conn, trained["dataset"]) if trained else None
        if ref is not None:
            return ref
    return newest_contexts(conn)


def newest_contexts(conn: Connection) -> str | None:
    """`job:<id>/contexts.json` of the newest import that read a checkout."""
    row = conn.execute(
        "SELECT a.job_id FROM artifacts a JOIN jobs j ON j.id = a.job_id"
        " WHERE a.name = 'contexts.json' AND j.status = 'completed' ORDER BY j.id DESC LIMIT 1"
    ).fetchone()
    return f"job:{row['job_id']}/contexts.json" if row else None


def _contexts_of_dataset(conn: Connection, dataset: str) -> str | None:
    """Up the line of parents until a manifest names its contexts."""
    seen: set[str] = set()
    while dataset.startswith("dataset:") and dataset not in seen:
        seen.add(dataset)
        version = datasets.get(conn, *datasets.parse_ref(dataset))
        contexts = version.manifest.get("contexts")
        if isinstance(contexts, str):
            return contexts
        dataset = next((parent for parent in version.parents if parent.startswith("dataset:")), "")
    return None


def fill_in(conn: Connection, storage: Storage, config: InterceptConfig, settings: Settings) -> InterceptConfig:
    """Pin what an `intercept` leaves open: the champion, and its contexts. Raises `InvalidInput` for an unknown config id.

    Ollama answers with a tag of its own, so no champion is pinned where it serves.
    """
    adapter = config.adapter
    if adapter is not None:
        try:
            adapter = adapters.resolve(conn, adapter)
        except ReferenceNotUsable as error:
            raise _wrong(ReferenceNotUsable, "adapter", adapter, error.detail) from None
    elif settings.ollama_model is None:
        adapter = champion(conn, settings.serve_model)
    contexts = config.contexts or contexts_of(conn, adapter)
    if contexts is None:
        raise _wrong(
            InvalidInput, "contexts", None, "there are no configs to render with yet; run an import job with a checkout first"
        )
    pinned = config.model_copy(update={"adapter": adapter, "contexts": contexts})
    try:
        artifact = artifacts.get_by_ref(conn, contexts)
    except NotFound:
        return pinned  # an import that has not ended yet; one that has is refused where references are checked
    try:
        checkout = _read(storage.existing(artifact.uri), artifact.sha256)
    except NotFound as error:
        raise _wrong(ReferenceNotUsable, "contexts", contexts, error.detail) from None
    except ValidationError:
        message = f"{contexts} holds no configs; point to the contexts.json of an import"
        raise _wrong(ReferenceNotUsable, "contexts", contexts, message) from None
    checkout.config(config.config_id)
    return pinned


def _wrong(error: type[InvalidInput], field: str, value: str | None, message: str) -> InvalidInput:
    return error(f"{field}: {message}", errors=[{"field": field, "value": value, "message": message}])


@lru_cache(maxsize=16)
def _read(path: Path, sha256: str) -> Checkout:
    return Checkout.model_validate_json(path.read_bytes())
