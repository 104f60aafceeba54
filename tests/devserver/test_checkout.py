from __future__ import annotations

import hashlib
import json
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from goldsmith.devserver.checkout import CONFIGS, TASK, TEMPLATE, Checkout, read_checkout
from goldsmith.errors import InvalidInput

WORKSHOP = Path(__file__).parents[2] / "examples" / "workshop"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the example's devserver folder, to be broken."""
    return Path(shutil.copytree(WORKSHOP / "devserver", tmp_path / "devserver"))


def write(root: Path, name: str, /, **changes: Any) -> None:
    config = json.loads((root / CONFIGS / "loom.json").read_text()) | changes
    (root / CONFIGS / name).write_text(json.dumps(config))


def reasons(root: Path) -> dict[str, str]:
    return {Path(each.path).name: each.reason for each in read_checkout(root)[1]}


@pytest.mark.parametrize("given", [WORKSHOP, WORKSHOP / "devserver"])
def test_the_repository_and_its_devserver_folder_read_the_same(given: Path) -> None:
    checkout, skipped = read_checkout(given)
    assert [each.config_id for each in checkout.configs] == [
        "herbarium",
        "loom",
        "mosaic",
        "paper_cut",
        "risograph",
        "töpferei",
    ]
    assert checkout == read_checkout(WORKSHOP)[0]
    assert len(skipped) == 3


def test_configs_that_are_not_for_the_student_are_left_out_with_the_reason(root: Path) -> None:
    write(root, "no_context.json", context={"en": " ", "de": ""})
    found = reasons(root)
    assert "hidden" in found["echo_box.json"]
    assert "skips stage 2" in found["straight_on.json"]
    assert "music_generation" in found["counting_song.json"]
    assert "no context" in found["no_context.json"]


def test_the_task_is_taken_from_the_source_without_running_it(root: Path, tmp_path: Path) -> None:
    (root / TASK).write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\n"
        "RULES = 'x'\n"
        "INSTRUCTION_TYPES: dict = {'other': {'default': RULES + '!'}, 'transformation': {'description': RULES,\n"
        "    'default': 'Rewrite ' 'it.'}}\n"
    )
    assert read_checkout(root)[0].task == "Rewrite it."
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "source",
    ["INSTRUCTION_TYPES = load()", "INSTRUCTION_TYPES = {'transformation': {'default': TEXT}}", "x = 1", "def (", "\x00"],
)
def test_a_task_that_is_no_literal_text_is_an_error_that_says_so(root: Path, source: str) -> None:
    (root / TASK).write_text(source)
    with pytest.raises(InvalidInput, match=r"instruction_selector\.py"):
        read_checkout(root)


def test_a_template_without_a_placeholder_is_an_error_that_names_it(root: Path) -> None:
    (root / TEMPLATE).write_text(json.dumps({"template": "{{CONTEXT}} {{INPUT_TEXT}}"}))
    with pytest.raises(InvalidInput, match="TASK_INSTRUCTION"):
        read_checkout(root)


@pytest.mark.parametrize("part", [TEMPLATE, TASK])
def test_a_missing_part_is_an_error_that_names_it(root: Path, part: Path) -> None:
    (root / part).unlink()
    with pytest.raises(InvalidInput, match=part.name) as caught:
        read_checkout(root)
    assert caught.value.errors[0]["field"] == "checkout"


def test_a_folder_that_is_no_checkout_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no devserver checkout"):
        read_checkout(tmp_path)


def test_a_checkout_without_a_usable_config_is_an_error_that_says_why(root: Path) -> None:
    for path in (root / CONFIGS).glob("*.json"):
        path.write_text("{}")
    with pytest.raises(InvalidInput, match="pipeline is 'None'"):
        read_checkout(root)


def test_ids_are_nfc_whatever_the_file_system_and_the_caller_say(root: Path) -> None:
    (root / CONFIGS / "töpferei.json").rename(root / CONFIGS / (unicodedata.normalize("NFD", "töpferei") + ".json"))
    checkout, _ = read_checkout(root)
    assert checkout.config("töpferei").config_id == "töpferei"
    assert checkout.config(unicodedata.normalize("NFD", "töpferei")) is checkout.config("töpferei")


def test_one_id_in_two_spellings_is_read_once(root: Path) -> None:
    write(root, unicodedata.normalize("NFD", "töpferei") + ".json")
    checkout, skipped = read_checkout(root)
    assert [each.config_id for each in checkout.configs].count("töpferei") == 1
    assert any("twice" in each.reason for each in skipped)


def test_broken_configs_are_listed_and_the_good_ones_go_on(root: Path, tmp_path: Path) -> None:
    (root / CONFIGS / "cut.json").write_text('{"pipeline": "text_tra')
    (root / CONFIGS / "latin.json").write_bytes('{"name": "Töpferei"}'.encode("latin-1"))
    (root / CONFIGS / "list.json").write_text("[]")
    (root / CONFIGS / "nan.json").write_text('{"parameters": {"temperature": NaN}}')
    (root / CONFIGS / "folder.json").mkdir()
    (tmp_path / "outside.json").write_text((root / CONFIGS / "loom.json").read_text())
    (root / CONFIGS / "away.json").symlink_to(tmp_path / "outside.json")
    found = reasons(root)
    assert "truncated" in found["cut.json"]
    assert "not UTF-8" in found["latin.json"]
    assert "a list" in found["list.json"]
    assert "NaN" in found["nan.json"]
    assert "not a plain file" in found["folder.json"]
    assert "leaves the folder" in found["away.json"]
    assert len(read_checkout(root)[0].configs) == 6


def test_a_context_may_be_a_bare_text(root: Path) -> None:
    write(root, "bare.json", context="Carve it.", name="Bare")
    config = read_checkout(root)[0].config("bare")
    assert (config.context, config.name) == ({"en": "Carve it."}, {"en": "Bare"})


def test_an_unknown_id_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match=r"herbarium, loom, mosaic, paper_cut, risograph, töpferei"):
        read_checkout(WORKSHOP)[0].config("lathe")


def test_hashes_pin_what_the_student_was_trained_on() -> None:
    checkout, _ = read_checkout(WORKSHOP)
    loom = checkout.config("loom")
    assert loom.context_sha256("de") == hashlib.sha256(loom.context["de"].encode()).hexdigest()
    assert loom.context_sha256("de") != loom.context_sha256("en")
    assert len(checkout.template_version) == 12
    assert checkout.model_copy(update={"task": "Other."}).template_version != checkout.template_version


def test_a_checkout_survives_being_an_artifact() -> None:
    checkout, _ = read_checkout(WORKSHOP)
    assert Checkout.model_validate_json(checkout.model_dump_json()) == checkout
