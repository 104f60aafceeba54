from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from goldsmith.devserver.checkout import Checkout, InterceptionConfig
from goldsmith.devserver.exports import (
    EXCLUSIONS,
    export_root,
    find_runs,
    read_favorites,
    read_run,
)
from goldsmith.devserver.files import Unreadable
from goldsmith.devserver.readings import Reading, index_entry, reader_version, remembered
from goldsmith.devserver.steps import MAX_TEXT_BYTES

DEVICE = "0b6f1f52-6f0e-4c53-9f1e-2f1f7f3c9a11_2026-03-10"
RUN = "run_1773130442014_707dc9"
Write = Callable[..., Path]


def checkout(*ids: str) -> Checkout:
    return Checkout(
        template="{{TASK_INSTRUCTION}} {{CONTEXT}} {{INPUT_TEXT}}",
        task="Rewrite.",
        configs=[
            InterceptionConfig(
                config_id=each, name={"en": each}, context={"en": "Weave.", "de": "Webe."}, parameters={}, meta={}
            )
            for each in ids
        ],
    )


def step(kind: str, number: int = 1, **more: Any) -> dict[str, Any]:
    filename = f"prompting_process/{number:03d}_{kind}.txt"
    return {"sequence": number, "type": kind, "filename": filename, "timestamp": "2026-03-10T09:14:06.5", "metadata": {}} | more


def metadata(**changes: Any) -> dict[str, Any]:
    """Of a run of the Lab: input, context, the model's answer; no image yet."""
    whole = {
        "run_id": RUN,
        "timestamp": "2026-03-10T09:14:02.014937",
        "config_name": "loom",
        "device_id": DEVICE,
        "entities": [],
        "prompting_process": [step("input", 1), step("context_prompt", 2), step("interception", 3)],
    } | changes
    return {key: value for key, value in whole.items() if value is not ...}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a run folder: `write(metadata(...), {"final/01_input.txt": "..."})`; bytes are written as they are."""

    def make(
        document: dict[str, Any] | bytes | None = None,
        files: dict[str, str | bytes] | None = None,
        device: str = DEVICE,
        run: str = RUN,
    ) -> Path:
        folder = tmp_path / "json" / "2026-03-10" / device / run
        texts = {
            "prompting_process/001_input.txt": "ein Fuchs",
            "prompting_process/002_context_prompt.txt": "Webe.",
            "prompting_process/003_interception.txt": "Der Fuchs ist Garn.",
        } | (files or {})
        for name, text in texts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        body = document if isinstance(document, bytes) else json.dumps(metadata() if document is None else document).encode()
        (folder / "metadata.json").write_bytes(body)
        return folder

    return make


def read(folder: Path, *known: str) -> Reading:
    return read_run(folder, folder.parents[2], checkout(*known or ("loom",)))


def refusal(folder: Path) -> str:
    with pytest.raises(Unreadable) as caught:
        read(folder)
    return str(caught.value)


# -- what a run says


def test_a_run_is_read_with_its_texts(write: Write) -> None:
    run = read(write())
    assert (run.run_id, run.device_id, run.config_id, run.exclusion) == (RUN, DEVICE, "loom", None)
    assert (run.input, run.output, run.accepted) == ("ein Fuchs", "Der Fuchs ist Garn.", None)
    assert (run.context, run.context_lang) == ("Webe.", "de")
    assert run.recorded_at == datetime(2026, 3, 10, 9, 14, 2, 14937).astimezone(UTC)


def test_the_interception_config_counts_before_the_config_name(write: Write) -> None:
    for config_name in ("sd35_large", "loom"):
        run = read(write(metadata(config_name=config_name, interception_config="mosaic")), "loom", "mosaic")
        assert run.config_id == "mosaic"


def test_an_interception_config_that_nobody_knows_gives_way_to_a_known_config_name(write: Write) -> None:
    assert read(write(metadata(interception_config="sd35_large"))).config_id == "loom"


def test_the_old_key_schema_stands_for_config_name(write: Write) -> None:
    assert read(write(metadata(config_name=..., schema="loom"))).config_id == "loom"


def test_a_config_id_in_nfd_is_the_one_in_nfc(write: Write) -> None:
    assert read(write(metadata(config_name="to\u0308pferei")), "töpferei").config_id == "töpferei"


def test_later_interceptions_are_edits_and_the_final_one_was_accepted(write: Write) -> None:
    folder = write(
        metadata(
            prompting_process=[step("input", 1), step("interception", 3), step("interception", 4)],
            entities=[step("interception", 5, filename="03_interception.txt")],
        ),
        {
            "prompting_process/004_interception.txt": "Der Fuchs ist rotes Garn.",
            "final/03_interception.txt": "Der Fuchs ist rotes Garn.",
        },
    )
    run = read(folder)
    assert (run.output, run.accepted) == ("Der Fuchs ist Garn.", "Der Fuchs ist rotes Garn.")
    assert [each.data for each in run.feedback] == [
        {
            "entity": "interception",
            "before": "Der Fuchs ist Garn.",
            "after": "Der Fuchs ist rotes Garn.",
            "edit_distance": 6,
            "edit_distance_from_output": 6,
        }
    ]


def test_an_edit_that_only_the_final_text_shows_is_an_edit(write: Write) -> None:
    folder = write(
        metadata(entities=[step("interception", 5, filename="05_interception.txt")]), {"final/05_interception.txt": "Neu."}
    )
    assert [(each.signal, each.data["after"]) for each in read(folder).feedback] == [("user_edit", "Neu.")]


def test_the_old_synchronous_path_names_its_model_in_the_final_interception(write: Write) -> None:
    entities = [
        step("input", 1, filename="01_input.txt"),
        step("interception", 2, filename="02_interception.txt", metadata={"model_used": "local/small"}),
    ]
    files = {"final/01_input.txt": "ein Igel", "final/02_interception.txt": "Der Igel ist Garn."}
    run = read(write(metadata(prompting_process=..., entities=entities), files))
    assert (run.input, run.output, run.accepted) == ("ein Igel", "Der Igel ist Garn.", "Der Igel ist Garn.")
    assert run.feedback == ()


def test_a_context_that_is_not_the_configs_has_the_language_it_is_written_in(write: Write) -> None:
    folder = write(files={"prompting_process/002_context_prompt.txt": "Weave it with the loom, but only in blue."})
    assert read(folder).context_lang == "en"


def test_an_unknown_time_is_no_reason_to_lose_a_run(write: Write) -> None:
    assert read(write(metadata(timestamp="yesterday"))).recorded_at is None
    assert read(write(metadata(timestamp="0001-01-01T00:00:00+14:00"))).recorded_at is None


# -- what must stay out of training


@pytest.mark.parametrize(
    ("reason", "changes", "where"),
    [
        ("canvas", {"type": "canvas_workflow"}, {}),
        ("canvas", {}, {"run": f"{RUN}_canvas_batch_001"}),
        ("canvas", {"device_id": None}, {"device": "canvas_0123456789ab"}),
        ("latent_lab", {"type": "latent_lab"}, {}),
        ("latent_lab", {"device_id": "lab_0123456789ab"}, {}),
        ("ghost", {"config_name": "unknown"}, {}),
        ("dev_device", {"device_id": None}, {"device": "dev_0123456789ab"}),
        ("dev_device", {"device_id": "api_0123456789ab"}, {"device": "api_0123456789ab"}),
        ("dev_device", {"device_id": "test-1"}, {"device": "test-1"}),
        ("unknown_device", {"device_id": None}, {"device": "legacy_20251101"}),
        ("no_interception", {"prompting_process": [step("input", 1), step("context_prompt", 2)]}, {}),
        ("no_input", {"prompting_process": [step("interception", 3)]}, {}),
        ("unknown_config", {"config_name": "lathe"}, {}),
        ("unknown_config", {"config_name": ...}, {}),
    ],
)
def test_a_run_that_must_stay_out_says_why(write: Write, reason: str, changes: dict[str, Any], where: dict[str, str]) -> None:
    assert reason in EXCLUSIONS
    assert read(write(metadata(**changes), **where)).exclusion == reason


@pytest.mark.parametrize(
    ("kind", "verdict", "stage"),
    [
        ("error", {"stage": 1, "error_type": "safety_blocked"}, 1),
        ("safety", {"safe": False}, 1),
        ("safety_pre_output", {"safe": False, "blocked": True}, 3),
        ("safety_pre_output", {"blocked": True}, 3),
    ],
)
def test_a_recorded_block_keeps_a_run_out(write: Write, kind: str, verdict: dict[str, Any], stage: int) -> None:
    folder = write(metadata(entities=[step(kind, filename=f"04_{kind}.json")]), {f"final/04_{kind}.json": json.dumps(verdict)})
    run = read(folder)
    assert run.exclusion == "blocked"
    assert [(each.signal, each.data) for each in run.feedback] == [("stage_block", {"stage": stage})]


def test_a_passed_check_keeps_nothing_out(write: Write) -> None:
    folder = write(metadata(entities=[step("safety", filename="04_safety.json")]), {"final/04_safety.json": '{"safe": true}'})
    assert read(folder).exclusion is None


def test_an_error_that_is_no_block_is_none(write: Write) -> None:
    folder = write(
        metadata(entities=[step("error", filename="04_error.json")]), {"final/04_error.json": '{"error_type": "timeout"}'}
    )
    assert read(folder).exclusion is None


@pytest.mark.parametrize("file", ["001_input", "002_context_prompt", "003_interception"])
def test_personal_data_in_any_text_keeps_a_run_out(write: Write, file: str) -> None:
    folder = write(files={f"prompting_process/{file}.txt": "schick es an mia@example.org"})
    assert read(folder).exclusion == "personal_data"


def test_personal_data_in_an_edit_keeps_a_run_out(write: Write) -> None:
    steps = [step("input", 1), step("interception", 3), step("interception", 4), step("interception", 5)]
    files = {"prompting_process/004_interception.txt": "0171 00 00 000", "prompting_process/005_interception.txt": "Der Fuchs."}
    assert read(write(metadata(prompting_process=steps), files)).exclusion == "personal_data"


def test_texts_of_a_developers_run_are_not_even_opened(write: Write) -> None:
    folder = write(metadata(device_id=None), device="dev_0123456789ab")
    (folder / "prompting_process/001_input.txt").unlink()
    assert read(folder).exclusion == "dev_device"


def test_without_a_checkout_every_named_config_counts(write: Write) -> None:
    folder = write(metadata(config_name="lathe"))
    assert read_run(folder, folder.parents[2]).exclusion is None


# -- what is broken


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"run_id": "run_1", "enti', "truncated"),
        (b"", "truncated"),
        (b'{"a": 1,}', "not JSON"),
        (b"[]", "a list, not an object"),
        (b'"text"', "a str, not an object"),
        ('{"config_name": "töpferei"}'.encode("latin-1"), "not UTF-8"),
        ('{"config_name": "loom"}'.encode("utf-16"), "UTF-16"),
        (b'{"config_name": "\xff\xfe"}', "not UTF-8: byte 0xff"),
        (b'{"config_name": "lo\\u0000om"}', "NUL"),
        (b'{"config_name": "\x00"}', "NUL"),
        (b'{"config_name": "\\ud800"}', "lone surrogate"),
        pytest.param(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not usable JSON", id="nested too deeply"),
        pytest.param(b'{"seed": ' + b"9" * 5_000 + b"}", "not usable JSON", id="too many digits"),
        (b'{"seed": NaN}', "NaN"),
        pytest.param(b'{"a": "' + b"x" * 4_000_000 + b'"}', "at most 4,000,000 are read", id="too long"),
    ],
)
def test_broken_metadata_is_named_with_its_fault(write: Write, body: bytes, reason: str) -> None:
    message = refusal(write(body))
    assert "metadata.json" in message
    assert reason in message


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"entities": "none"}, "entities is a str, not a list"),
        ({"prompting_process": {"0": {}}}, "prompting_process is a dict, not a list"),
        ({"prompting_process": [[]]}, r"prompting_process[0] is a list, not an object"),
        ({"prompting_process": [step("input", 1) | {"type": 7}]}, "no type"),
        ({"prompting_process": [step("input", 1) | {"metadata": [1]}]}, "metadata that is no object"),
        ({"prompting_process": [step("input", 1) | {"filename": 7}]}, "no filename"),
        ({"prompting_process": [step("input", 1) | {"filename": ""}]}, "no filename"),
        ({"prompting_process": [step("input", 1) | {"filename": "x" * 300}]}, "cannot be reached"),
        ({"prompting_process": [step("input", 1)] * 1001}, "1,001 entries"),
        ({"config_name": 7}, "config_name is a int, not a text"),
        ({"interception_config": ["loom"]}, "interception_config is a list, not a text"),
        ({"device_id": 5}, "device_id is a int, not a text"),
    ],
)
def test_other_shapes_are_named(write: Write, changes: dict[str, Any], reason: str) -> None:
    assert reason in refusal(write(metadata(**changes)))


@pytest.mark.parametrize(
    "filename", ["../../../etc/passwd", "/etc/passwd", "prompting_process/../../secret.txt", "prompting_process/../../../x"]
)
def test_a_filename_that_leaves_the_run_is_refused(write: Write, filename: str) -> None:
    assert "outside of the run" in refusal(write(metadata(prompting_process=[step("input", 1, filename=filename)])))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("grün".encode("latin-1"), "not UTF-8: byte 0xfc"),
        ("grün".encode("utf-16"), "UTF-16"),
        (b"a\x00b", "NUL"),
        pytest.param(b"x" * (MAX_TEXT_BYTES + 1), "100,001 bytes", id="too long"),
    ],
)
def test_a_broken_text_is_named_with_its_fault(write: Write, content: bytes, reason: str) -> None:
    message = refusal(write(files={"prompting_process/003_interception.txt": content}))
    assert "003_interception.txt" in message
    assert reason in message


def test_a_missing_text_is_named(write: Write) -> None:
    folder = write()
    (folder / "prompting_process/003_interception.txt").unlink()
    assert refusal(folder) == "003_interception.txt is missing"


def test_a_missing_image_is_not_missed(write: Write) -> None:
    folder = write(metadata(entities=[step("output_image", filename="05_output_image.png", metadata={"seed": 7})]))
    assert read(folder).seed == 7


def test_links_out_of_the_run_are_not_followed(write: Write, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    folder = write()
    text = folder / "prompting_process/001_input.txt"
    text.unlink()
    text.symlink_to(tmp_path / "secret.txt")
    assert "leaves the folder" in refusal(folder)


def test_a_link_for_metadata_is_not_followed(write: Write, tmp_path: Path) -> None:
    folder = write()
    (folder / "metadata.json").rename(tmp_path / "elsewhere.json")
    (folder / "metadata.json").symlink_to(tmp_path / "elsewhere.json")
    assert "leaves the folder" in refusal(folder)


def test_a_loop_of_links_is_named(write: Write) -> None:
    folder = write()
    text = folder / "prompting_process/001_input.txt"
    text.unlink()
    text.symlink_to(text)
    assert "001_input.txt" in refusal(folder)


def test_a_pipe_is_not_opened(write: Write) -> None:
    folder = write()
    text = folder / "prompting_process/001_input.txt"
    text.unlink()
    os.mkfifo(text)
    assert "not a plain file" in refusal(folder)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from(
    [
        "type",
        "timestamp",
        "config_name",
        "interception_config",
        "schema",
        "device_id",
        "entities",
        "prompting_process",
        "filename",
    ]
)
steps = st.lists(
    st.dictionaries(
        keys | st.just("metadata"), json_values | st.sampled_from(["input", "interception", "error", "x.txt"]), max_size=5
    )
    | json_values,
    max_size=4,
)
documents = st.dictionaries(keys, json_values | steps, max_size=6)
fuzz = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def reads_or_says_why(folder: Path) -> None:
    try:
        run = read(folder)
    except Unreadable as error:
        str(error).encode()  # raises on what Postgres would refuse
        return
    assert run.exclusion is None or run.exclusion in EXCLUSIONS
    json.dumps(run.feedback, default=str, allow_nan=False).encode()


@fuzz
@given(body=st.binary(max_size=200))
def test_no_bytes_in_metadata_raise_anything_else(write: Write, body: bytes) -> None:
    reads_or_says_why(write(body))


@fuzz
@given(document=documents)
def test_no_document_in_metadata_raises_anything_else(write: Write, document: dict[str, Any]) -> None:
    reads_or_says_why(write(json.dumps(document).encode()))


@fuzz
@given(place=st.integers(0, 600), byte=st.integers(0, 255))
def test_no_flipped_byte_in_metadata_raises_anything_else(write: Write, place: int, byte: int) -> None:
    whole = bytearray(json.dumps(metadata()).encode())
    whole[place % len(whole)] = byte
    reads_or_says_why(write(bytes(whole)))


# -- finding runs


def test_runs_are_found_at_every_depth_that_the_devserver_used(tmp_path: Path) -> None:
    places = ["2026-03-10/dev/run_3", "2026-03-10/run_2", "run_1", "2026-03-10/legacy_20251101/run_4"]
    for place in places:
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "metadata.json").write_text("{}")
    runs, skipped = find_runs(tmp_path)
    assert sorted(str(each.relative_to(tmp_path)) for each in runs) == sorted(places)
    assert skipped == []


def test_a_run_without_metadata_is_listed(tmp_path: Path) -> None:
    (tmp_path / "2026-03-10" / "device" / "run_1" / "final").mkdir(parents=True)
    (tmp_path / "2026-03-10" / "device" / "0b6f" / "prompting_process").mkdir(parents=True)
    runs, skipped = find_runs(tmp_path)
    assert runs == []
    assert {each.path for each in skipped} == {"2026-03-10/device/run_1", "2026-03-10/device/0b6f"}
    assert {each.reason for each in skipped} == {"metadata.json is missing"}


def test_linked_folders_are_listed_and_not_entered(tmp_path: Path) -> None:
    (tmp_path / "outside" / "run_1").mkdir(parents=True)
    (tmp_path / "outside" / "run_1" / "metadata.json").write_text("{}")
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "2026-03-10").symlink_to(tmp_path / "outside")
    (tmp_path / "json" / "back").symlink_to(tmp_path / "json")
    runs, skipped = find_runs(tmp_path / "json")
    assert runs == []
    assert [each.path for each in skipped] == ["2026-03-10", "back"]


def test_a_folder_name_that_is_not_utf8_is_a_reason(tmp_path: Path) -> None:
    folder = tmp_path / "2026-03-10" / os.fsdecode(b"ger\xe4t") / "run_1"
    folder.mkdir(parents=True)
    (folder / "metadata.json").write_text("{}")
    runs, _ = find_runs(tmp_path)
    with pytest.raises(Unreadable, match="not UTF-8"):
        read_run(runs[0], tmp_path)


def test_a_repository_is_entered_where_its_exports_lie(tmp_path: Path) -> None:
    (tmp_path / "exports" / "json").mkdir(parents=True)
    assert export_root(tmp_path) == tmp_path / "exports" / "json"
    assert export_root(tmp_path / "exports" / "json") == tmp_path / "exports" / "json"


# -- favourites


def test_favourites_are_read_by_run(tmp_path: Path) -> None:
    entries = [{"run_id": "run_1", "added_at": "2026-03-10T09:15:00", "device_id": None}, {"run_id": "run_2"}, {"run_id": 3}, 7]
    (tmp_path / "favorites.json").write_text(json.dumps({"version": "1.0", "favorites": entries}))
    favorites, skipped = read_favorites(tmp_path)
    assert favorites == {"run_1": datetime(2026, 3, 10, 9, 15).astimezone(UTC), "run_2": None}
    assert [each.path for each in skipped] == ["favorites.json#2", "favorites.json#3"]


def test_no_favourites_are_no_problem(tmp_path: Path) -> None:
    assert read_favorites(tmp_path) == ({}, [])


@pytest.mark.parametrize("body", ["[]", '{"favorites": {}}', '{"favorites": [', ""])
def test_broken_favourites_are_listed(tmp_path: Path, body: str) -> None:
    (tmp_path / "favorites.json").write_text(body)
    favorites, skipped = read_favorites(tmp_path)
    assert favorites == {}
    assert [each.path for each in skipped] == ["favorites.json"]


# -- what the next import remembers


def test_a_run_that_did_not_change_is_remembered_without_its_texts(write: Write) -> None:
    folder = write()
    whole = read(folder)
    entry = json.loads(json.dumps(index_entry(whole, "1")))
    assert "Fuchs" not in json.dumps(entry)
    again = remembered(entry, folder, "1")
    assert again is not None
    assert (again.digest, again.input, again.recorded_at, again.signals) == (
        whole.digest,
        None,
        whole.recorded_at,
        whole.signals,
    )


@pytest.mark.parametrize("file", ["metadata.json", "prompting_process/003_interception.txt"])
def test_a_changed_or_missing_file_makes_a_run_read_again(write: Write, file: str) -> None:
    folder = write()
    entry = index_entry(read(folder), "1")
    (folder / file).write_text((folder / file).read_text() + " ")
    assert remembered(entry, folder, "1") is None
    (folder / file).unlink()
    assert remembered(entry, folder, "1") is None


def test_another_checkout_or_another_search_makes_a_run_read_again(write: Write) -> None:
    folder = write()
    entry = index_entry(read(folder), reader_version(checkout("loom")))
    assert remembered(entry, folder, reader_version(checkout("loom"))) is not None
    assert remembered(entry, folder, reader_version(checkout("loom", "mosaic"))) is None


def test_a_link_inside_of_the_run_is_read_and_never_remembered(write: Write) -> None:
    folder = write()
    text = folder / "prompting_process/001_input.txt"
    text.rename(folder / "prompting_process/input.txt")
    text.symlink_to("input.txt")
    reading = read(folder)
    assert reading.input == "ein Fuchs"
    assert remembered(index_entry(reading, "1"), folder, "1") is None


def test_a_folder_that_is_a_link_out_of_the_run_is_not_followed(write: Write, tmp_path: Path) -> None:
    folder = write()
    (folder / "prompting_process").rename(tmp_path / "elsewhere")
    (folder / "prompting_process").symlink_to(tmp_path / "elsewhere")
    assert "leaves the folder" in refusal(folder)


def test_a_configs_own_context_is_nobodys_text(write: Write) -> None:
    folder = write(files={"prompting_process/002_context_prompt.txt": "Frag Frau Kowalczyk."})
    assert read(folder).exclusion == "personal_data"
    own = checkout("loom").model_copy(
        update={"configs": [checkout("loom").configs[0].model_copy(update={"context": {"de": "Frag Frau Kowalczyk."}})]}
    )
    assert read_run(folder, folder.parents[2], own).exclusion is None
