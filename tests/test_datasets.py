from __future__ import annotations

import json
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import datasets as hf_datasets
import pytest

from goldsmith import datasets
from goldsmith.datasets import DatasetVersion, Example, Message
from goldsmith.db import Connection, connect
from goldsmith.devserver.checkout import Checkout, InterceptionConfig
from goldsmith.devserver.prompts import render
from goldsmith.errors import FencedOut, InvalidInput, NotFound
from goldsmith.storage import Storage, Stored, sha256_file
from tests.conftest import wait_until

JobFactory = Callable[..., UUID]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "artifacts")


def example(number: int, **changes: Any) -> Example:
    fields: dict[str, Any] = {
        "split": "heldout" if number % 4 == 3 else "train",
        "messages": [
            Message(role="user", content=f"Mach etwas aus Wunsch {number}.\nAber schön!"),
            Message(role="assistant", content=f"Antwort {number} \u2028 mit Umbruch"),
        ],
        "config_id": "loom",
        "context_lang": "de",
        "context_sha256": "c" * 64,
        "template_version": "0123456789ab",
        "input": f"Wunsch {number}",
        "language": "de",
        "group": f"g{number}",
        "source": f"run_{number}",
    }
    return Example(**(fields | changes))


def save(
    conn: Connection,
    storage: Storage,
    job_id: UUID,
    examples: list[Example],
    *,
    attempt: int = 1,
    name: str = "workshop",
    **more: Any,
) -> DatasetVersion:
    values: dict[str, Any] = {"manifest": {"seed": 7}, "parents": [f"job:{job_id}"], "rehearsal": False} | more
    return datasets.save_version(conn, storage, job_id, attempt, name, examples, **values)


def rows(conn: Connection) -> int:
    counted = conn.execute(
        "SELECT (SELECT count(*) FROM datasets) + (SELECT count(*) FROM dataset_versions) + (SELECT count(*) FROM examples) n"
    ).fetchone()
    assert counted is not None
    return int(counted["n"])


def test_a_saved_version_is_read_back_as_it_was(conn: Connection, storage: Storage, job_factory: JobFactory) -> None:
    job_id = job_factory()
    examples = [example(number, gates={"length": True, "ratio": 0.25}) for number in range(9)]
    version = save(conn, storage, job_id, examples)

    assert version.ref == "dataset:workshop@1"
    assert version.job_id == job_id
    assert version.counts == {"train": 7, "heldout": 2}
    assert version.parents == [f"job:{job_id}"]
    assert version.content_sha256 == datasets.content_sha256(examples)
    assert datasets.get(conn, "workshop", 1) == datasets.get(conn, "workshop", "latest") == version
    assert datasets.examples_of(conn, "dataset:workshop@latest") == examples
    assert datasets.examples_of(conn, version.ref, "heldout") == [examples[3], examples[7]]
    assert datasets.examples_of(conn, version.ref, offset=2, limit=3) == examples[2:5]
    assert datasets.examples_of(conn, version.ref, "heldout", offset=1, limit=5) == [examples[7]]


def test_the_files_are_loaded_by_hugging_face_datasets(
    conn: Connection, storage: Storage, job_factory: JobFactory, tmp_path: Path
) -> None:
    no_common_schema: list[dict[str, Any]] = [{}, {"language": True}, {"language": {"expected": "de"}}, {"language": []}]
    examples = [example(number, gates=no_common_schema[number % 4]) for number in range(12)]
    version = save(conn, storage, job_factory(), examples)
    files = datasets.files(conn, version.ref)
    loaded = hf_datasets.load_dataset(
        "json",
        data_files={split: str(storage.existing(files[f"{split}.jsonl"].uri)) for split in ("train", "heldout")},
        cache_dir=str(tmp_path / "cache"),
    )

    for split in ("train", "heldout"):
        expected = [row for row in examples if row.split == split]
        assert loaded[split]["messages"] == [[message.model_dump() for message in row.messages] for row in expected]
        assert [json.loads(text) for text in loaded[split]["gates"]] == [row.gates for row in expected]
        assert loaded[split]["group"] == [row.group for row in expected]


def test_the_files_are_those_that_were_hashed_and_the_manifest_says_what_they_are(
    conn: Connection, storage: Storage, job_factory: JobFactory
) -> None:
    job_id = job_factory()
    version = save(conn, storage, job_id, [example(number) for number in range(4)], attempt=1)
    files = datasets.files(conn, version.ref)

    assert set(files) == {"train.jsonl", "heldout.jsonl", "manifest.json", "README.md"}
    for stored in files.values():
        assert stored.uri.startswith(f"datasets/workshop/{job_id}-1/")
        assert sha256_file(storage.existing(stored.uri)) == stored.sha256
    manifest = json.loads(storage.existing(files["manifest.json"].uri).read_text())
    assert manifest["seed"] == 7
    assert manifest["counts"] == {"train": 3, "heldout": 1}
    assert manifest["content_sha256"] == version.content_sha256
    assert manifest["files"] == {name: files[name].sha256 for name in ("train.jsonl", "heldout.jsonl")}
    assert manifest["label"] is None


def test_a_split_without_rows_has_no_file(conn: Connection, storage: Storage, job_factory: JobFactory) -> None:
    version = save(conn, storage, job_factory(), [example(0)])
    assert set(datasets.files(conn, version.ref)) == {"train.jsonl", "manifest.json", "README.md"}


def test_one_rehearsal_row_labels_the_whole_version(conn: Connection, storage: Storage, job_factory: JobFactory) -> None:
    version = save(conn, storage, job_factory(), [example(0), example(1, rehearsal=True)], rehearsal=False)
    assert version.rehearsal
    manifest = json.loads(storage.existing(datasets.files(conn, version.ref)["manifest.json"].uri).read_text())
    assert manifest["label"] == "REHEARSAL"


def test_the_same_content_from_the_same_job_is_the_same_version(
    conn: Connection, storage: Storage, job_factory: JobFactory
) -> None:
    job_id = job_factory()
    first = save(conn, storage, job_id, [example(0), example(1)])
    assert save(conn, storage, job_id, [example(0), example(1)]) == first
    conn.execute("UPDATE jobs SET attempt = 2 WHERE id = %s", (job_id,))
    assert save(conn, storage, job_id, [example(0), example(1)], attempt=2) == first
    assert len(datasets.list_versions(conn, "workshop")) == 1


def test_other_content_or_another_job_is_the_next_version(conn: Connection, storage: Storage, job_factory: JobFactory) -> None:
    job_id = job_factory()
    first = save(conn, storage, job_id, [example(0), example(1)])
    swapped = save(conn, storage, job_id, [example(1), example(0)])
    other = save(conn, storage, job_factory(), [example(0), example(1)])

    assert [first.version, swapped.version, other.version] == [1, 2, 3]
    assert first.content_sha256 == other.content_sha256 != swapped.content_sha256
    for version in (first, swapped, other):  # none of them overwrote the files of another
        for stored in datasets.files(conn, version.ref).values():
            assert sha256_file(storage.existing(stored.uri)) == stored.sha256
    assert [version.version for version in datasets.list_versions(conn, "workshop")] == [3, 2, 1]


def test_a_saver_waits_for_another_one_of_the_same_name_and_gets_the_next_number(
    conn: Connection, database_url: str, storage: Storage, job_factory: JobFactory
) -> None:
    first_job, second_job = job_factory(), job_factory()
    with connect(database_url) as other, ThreadPoolExecutor(1) as pool:
        with conn.transaction():
            first = save(conn, storage, first_job, [example(0)])
            second = pool.submit(save, other, storage, second_job, [example(1)])
            with connect(database_url) as observer:
                waiting = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
                wait_until(lambda: observer.execute(waiting, (other.info.backend_pid,)).fetchone() is not None, "the wait")
            assert not second.done()
        assert (first.version, second.result().version) == (1, 2)


def test_many_savers_at_once_get_different_versions(
    conn: Connection, database_url: str, storage: Storage, job_factory: JobFactory
) -> None:
    job_ids = [job_factory() for _ in range(6)]
    together = threading.Barrier(len(job_ids))

    def one(number: int) -> int:
        with connect(database_url) as own:
            together.wait()
            return save(own, storage, job_ids[number], [example(number)]).version

    with ThreadPoolExecutor(len(job_ids)) as pool:
        assert sorted(pool.map(one, range(len(job_ids)))) == [1, 2, 3, 4, 5, 6]


def test_an_attempt_that_was_given_up_writes_nothing(conn: Connection, storage: Storage, job_factory: JobFactory) -> None:
    job_id = job_factory(attempt=2)
    with pytest.raises(FencedOut):
        save(conn, storage, job_id, [example(0)], attempt=1)
    assert rows(conn) == 0
    assert not storage.root.exists()


def test_an_attempt_that_is_given_up_while_it_writes_its_files_writes_no_row(
    conn: Connection, database_url: str, tmp_path: Path, job_factory: JobFactory
) -> None:
    job_id = job_factory(attempt=1)

    class ClaimedMeanwhile(Storage):
        def put(self, relative: str, source: bytes | Path) -> Stored:
            with connect(database_url) as other:
                other.execute("UPDATE jobs SET attempt = 2 WHERE id = %s", (job_id,))
            return super().put(relative, source)

    with pytest.raises(FencedOut):
        save(conn, ClaimedMeanwhile(tmp_path / "artifacts"), job_id, [example(0)])
    assert rows(conn) == 0


def test_unicode_is_kept_as_it_came(conn: Connection, storage: Storage, job_factory: JobFactory) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Töpferei für Zoë 🐉") for form in ("NFC", "NFD"))
    first, second = (save(conn, storage, job_factory(), [example(0, input=text)]) for text in (composed, decomposed))
    assert [datasets.examples_of(conn, version.ref)[0].input for version in (first, second)] == [composed, decomposed]
    assert first.content_sha256 != second.content_sha256


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"input": "a\0b"}, "NUL"),
        ({"gates": {"ratio": float("nan")}}, "not JSON"),
        ({"gates": {"text": "\ud800"}}, "not JSON"),
    ],
)
def test_what_postgres_cannot_keep_is_refused_with_its_source(
    conn: Connection, storage: Storage, job_factory: JobFactory, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=rf"run_1 for loom.*{said}"):
        save(conn, storage, job_factory(), [example(0), example(1, **changes)])
    assert rows(conn) == 0


def test_an_escaped_backslash_before_u0000_is_no_nul(conn: Connection, storage: Storage, job_factory: JobFactory) -> None:
    version = save(conn, storage, job_factory(), [example(0, input="C:\\u0000")])
    assert datasets.examples_of(conn, version.ref)[0].input == "C:\\u0000"


def test_an_empty_dataset_a_bad_name_and_a_taken_key_are_refused(
    conn: Connection, storage: Storage, job_factory: JobFactory
) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        save(conn, storage, job_factory(), [])
    with pytest.raises(InvalidInput, match=r"name '\.\./up'"):
        save(conn, storage, job_factory(), [example(0)], name="../up")
    with pytest.raises(InvalidInput, match="files: taken"):
        save(conn, storage, job_factory(), [example(0)], manifest={"files": []})


def test_what_does_not_exist_is_answered_with_what_does(conn: Connection, storage: Storage, job_factory: JobFactory) -> None:
    with pytest.raises(NotFound, match="there is no dataset yet"):
        datasets.get(conn, "workshop", "latest")
    save(conn, storage, job_factory(), [example(0)])
    save(conn, storage, job_factory(), [example(1)])
    with pytest.raises(NotFound, match=r"dataset:workshop@5 does not exist; newest versions of workshop: 2, 1"):
        datasets.get(conn, "workshop", 5)
    with pytest.raises(NotFound, match="datasets: workshop"):
        datasets.list_versions(conn, "workshpo")
    with pytest.raises(InvalidInput, match="one of train, heldout"):
        datasets.examples_of(conn, "dataset:workshop@1", "test")


def test_datasets_are_listed_by_name_in_their_newest_version(
    conn: Connection, storage: Storage, job_factory: JobFactory
) -> None:
    assert datasets.list_datasets(conn) == []
    for name, number in [("workshop", 0), ("atelier", 0), ("workshop", 1)]:
        save(conn, storage, job_factory(), [example(number)], name=name)
    assert [version.ref for version in datasets.list_datasets(conn)] == ["dataset:atelier@1", "dataset:workshop@2"]


@pytest.mark.parametrize("ref", ["workshop@1", "dataset:workshop", "dataset:workshop@0", "dataset:Workshop@1", "dataset:a@1 "])
def test_a_reference_of_another_form_is_refused(ref: str) -> None:
    with pytest.raises(InvalidInput, match="no dataset reference"):
        datasets.parse_ref(ref)


def test_a_reference_is_a_name_and_a_number_or_latest() -> None:
    assert datasets.parse_ref("dataset:gold.v-2@12") == ("gold.v-2", 12)
    assert datasets.parse_ref("dataset:gold@latest") == ("gold", "latest")


def test_a_manifest_that_names_no_files_is_said(conn: Connection, storage: Storage, job_factory: JobFactory) -> None:
    version = save(conn, storage, job_factory(), [example(0)])
    conn.execute("UPDATE dataset_versions SET manifest = manifest - 'files'")
    with pytest.raises(NotFound, match="names no files"):
        datasets.files(conn, version.ref)


CHECKOUT = Checkout(
    template="Do: {{TASK_INSTRUCTION}}\nHow: {{CONTEXT}}\nWhat: {{INPUT_TEXT}}",
    task="Knit it.",
    wiki="\nLook it up.",
    configs=[
        InterceptionConfig(
            config_id="loom", name={}, context={"de": "Faden", "en": "Yarn"}, parameters={}, meta={"wikipedia": True}
        ),
        InterceptionConfig(config_id="töpferei", name={}, context={"en": "Clay"}, parameters={}, meta={}),
    ],
)


def rendered_example(number: int, config_id: str, language: str, answer: str | None, **changes: Any) -> Example:
    text = f"Wunsch {number} {{{{CONTEXT}}}}"
    prompt = render(CHECKOUT, config_id, language, text)
    messages = [Message(role="user", content=prompt.content)]
    messages += [Message(role="assistant", content=answer)] if answer is not None else []
    fields = {"messages": messages, "config_id": config_id, "input": text, "language": language}
    return example(number, **(fields | prompt.model_dump(exclude={"content"}) | changes))


def stored(conn: Connection) -> list[dict[str, Any]]:
    return [row["data"] for row in conn.execute("SELECT data FROM examples ORDER BY dataset_version_id, ordinal").fetchall()]


def test_rows_are_stored_without_their_prompt_and_rendered_when_they_are_read(
    conn: Connection, storage: Storage, job_factory: JobFactory
) -> None:
    asked = [rendered_example(1, "loom", "de", None), rendered_example(2, "töpferei", "en", None)]
    corpus = save(conn, storage, job_factory(), asked, checkout=CHECKOUT)
    answered = [rendered_example(1, "loom", "de", "Ein Faden."), rendered_example(2, "töpferei", "en", "Some clay.")]
    gold = save(conn, storage, job_factory(), answered, name="gold")  # of a job that knows no checkout

    for data in stored(conn):
        assert "messages" not in data
        assert {"config_id", "context_sha256", "context_lang", "input", "template_version", "wiki", "output"} <= set(data)
        assert "Knit it." not in json.dumps(data)
    assert [data["output"] for data in stored(conn)] == [None, None, "Ein Faden.", "Some clay."]
    assert [data["wiki"] for data in stored(conn)] == [True, False, True, False]
    assert datasets.examples_of(conn, corpus.ref) == asked
    assert datasets.examples_of(conn, gold.ref) == answered
    assert asked[0].messages[0].content == "Do: Knit it.\nHow: Faden\nWhat: Wunsch 1 {{CONTEXT}}\nLook it up."


def test_a_folder_of_the_files_is_loaded_as_it_is(
    conn: Connection, storage: Storage, job_factory: JobFactory, tmp_path: Path
) -> None:
    named = {"traditions": ["yoruba"], "original": "Ein Fuchs", "preset": "photo", "origin": "synthetic"}
    rows = [example(number, **(named if number == 3 else {})) for number in range(8)]  # only the held-out rows name some
    version = save(conn, storage, job_factory(), rows)
    folder = tmp_path / "downloaded"
    folder.mkdir()
    for name, stored_file in datasets.files(conn, version.ref).items():
        (folder / name).write_bytes(storage.existing(stored_file.uri).read_bytes())
    loaded = hf_datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {split: len(loaded[split]) for split in loaded} == {"train": 6, "heldout": 2}
    assert loaded["heldout"][0]["traditions"] == "yoruba"
    assert loaded["train"][0]["output"] == rows[0].output
    assert "not to be redistributed" in (folder / "README.md").read_text()


def test_a_manifest_pins_what_was_rendered_with_and_says_the_licence(
    conn: Connection, storage: Storage, job_factory: JobFactory
) -> None:
    rows = [rendered_example(1, "loom", "de", None), rendered_example(2, "töpferei", "de", None)]
    version = save(conn, storage, job_factory(), rows, checkout=CHECKOUT)
    written = json.loads(storage.existing(datasets.files(conn, version.ref)["manifest.json"].uri).read_text())
    pins = {
        "template_versions": [CHECKOUT.template_version],
        "contexts": {
            "loom": {"de": [CHECKOUT.config("loom").context_sha256("de")]},
            "töpferei": {"en": [CHECKOUT.config("töpferei").context_sha256("en")]},
        },
    }
    assert version.manifest["pins"] == written["pins"] == datasets.pins(conn, version.ref).model_dump() == pins
    assert version.manifest["licence"] == written["licence"] == datasets.LICENCE
    for key in ("pins", "licence", "files"):
        with pytest.raises(InvalidInput, match=f"{key}.*taken"):
            save(conn, storage, job_factory(), rows, manifest={key: 1})


def test_a_row_that_lies_about_what_it_was_made_from_is_refused(
    conn: Connection, storage: Storage, job_factory: JobFactory
) -> None:
    honest = rendered_example(1, "loom", "de", None)
    save(conn, storage, job_factory(), [honest], checkout=CHECKOUT)
    for lie in ({"input": "another"}, {"wiki": False}):
        with pytest.raises(InvalidInput, match="is not what its template"):
            save(conn, storage, job_factory(), [honest.model_copy(update=lie)])
    assert len(stored(conn)) == 1


def test_a_row_from_elsewhere_keeps_its_messages(conn: Connection, storage: Storage, job_factory: JobFactory) -> None:
    version = save(conn, storage, job_factory(), [example(1)])
    assert "messages" in stored(conn)[0]
    assert datasets.examples_of(conn, version.ref) == [example(1)]


def test_the_output_is_the_last_message_and_nothing_else() -> None:
    row = rendered_example(1, "loom", "de", "Ein Faden.")
    assert row.model_dump()["output"] == "Ein Faden."
    assert Example.model_validate(row.model_dump() | {"output": "something else"}) == row
    assert [example(1, origin=origin).private for origin in datasets.ORIGINS] == [True, True, False]
