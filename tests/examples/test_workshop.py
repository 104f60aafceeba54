"""The recorded workshop is what its README says, and what the demo needs."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from goldsmith.devserver.checkout import Checkout, read_checkout
from goldsmith.devserver.exports import find_runs, read_run
from goldsmith.devserver.files import Unreadable
from goldsmith.devserver.readings import Reading
from goldsmith.language import language_of

WORKSHOP = Path(__file__).parents[2] / "examples" / "workshop"
EXPORT = WORKSHOP / "exports" / "json"


@pytest.fixture(scope="module")
def checkout() -> Checkout:
    return read_checkout(WORKSHOP)[0]


@pytest.fixture(scope="module")
def usable(checkout: Checkout) -> list[Reading]:
    found = []
    for folder in find_runs(EXPORT)[0]:
        try:
            found.append(read_run(folder, EXPORT, checkout))
        except Unreadable:
            continue
    return [each for each in found if each.exclusion is None]


def documents() -> list[tuple[Path, dict[str, Any]]]:
    whole = []
    for path in sorted(EXPORT.rglob("metadata.json")):
        if path.read_text().rstrip().endswith("}"):
            whole.append((path.parent, json.loads(path.read_text())))
    return whole


def test_there_are_enough_runs() -> None:
    assert len(find_runs(EXPORT)[0]) == 86


def test_sixty_prompts_each_in_its_own_words(usable: list[Reading]) -> None:
    prompts = {each.input or "" for each in usable}
    assert len(prompts) == 60
    assert Counter(language_of(prompt) for prompt in prompts) == {"de": 36, "en": 24}
    assert all(5 <= len(prompt.split()) <= 14 for prompt in prompts)
    beginnings = Counter(" ".join(prompt.lower().split()[:2]) for prompt in prompts)
    assert max(beginnings.values()) <= 2


def test_every_config_has_ten_prompts(usable: list[Reading], checkout: Checkout) -> None:
    by_config = Counter(config_id for config_id, _ in {(each.config_id, each.input) for each in usable})
    assert by_config == {each.config_id: 10 for each in checkout.configs}


def test_contexts_are_short_enough_for_a_small_student(checkout: Checkout) -> None:
    lengths = {(each.config_id, lang): len(text.split()) for each in checkout.configs for lang, text in each.context.items()}
    assert len(lengths) == 12
    assert all(30 <= length <= 45 for length in lengths.values()), lengths


def test_some_answers_break_the_rules_and_the_children_mend_them(usable: list[Reading]) -> None:
    edited = [each for each in usable if each.accepted is not None and each.accepted != each.output]
    assert len(edited) == 17
    broken = re.compile(
        r"im Stil|in the style|\*\*|^- |^Title|Hier ist|Here is|In diesem Text|This description|symbolisiert", re.M
    )
    assert sum(bool(broken.search(each.output or "")) for each in edited) >= 9
    assert not any(broken.search(each.accepted or "") for each in edited)
    assert sum(language_of(each.output or "") != language_of(each.input or "") for each in edited) == 3


def test_folders_times_and_ids_agree() -> None:
    for folder, document in documents():
        assert document["run_id"] == folder.name
        assert document["timestamp"].startswith(folder.parent.parent.name)
        assert document.get("device_id") in (None, folder.parent.name)


def test_recorded_files_are_there_but_for_the_one_that_is_missing_on_purpose() -> None:
    missing = []
    for folder, document in documents():
        names = [
            f"final/{each['filename']}"
            for each in document["entities"]
            if not each["filename"].startswith("prompting_process/")
        ]
        names += [each["filename"] for each in document.get("prompting_process", [])]
        missing += [name for name in names if not (folder / name).is_file()]
    assert missing == ["prompting_process/003_interception.txt"]


def test_images_are_real_and_tiny() -> None:
    images = list(EXPORT.rglob("*.png"))
    assert len(images) > 50
    for path in images:
        data = path.read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", data[16:24]) == (16, 16)
        length = struct.unpack(">I", data[33:37])[0]
        assert len(zlib.decompress(data[41 : 41 + length])) == 16 * (1 + 16 * 3)
        assert len(data) < 1000
