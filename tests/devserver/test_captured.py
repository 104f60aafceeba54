from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from goldsmith.devserver.captured import TemplateCheck, compare
from goldsmith.devserver.checkout import Checkout, read_checkout
from goldsmith.errors import InvalidInput
from tests.devserver.stand_in import CASES, DATA, capture

WIRE = {"config_id": "wire", "language": "en", "text": "a kite"}


@pytest.fixture
def checkout() -> Checkout:
    return read_checkout(DATA)[0]


def request(name: str) -> bytes:
    return (DATA / "requests" / f"{name}.json").read_bytes()


@pytest.mark.parametrize("name", CASES)
def test_what_we_render_is_byte_for_byte_what_was_captured(checkout: Checkout, name: str) -> None:
    found = compare(checkout, request(name), **CASES[name])
    assert found.same
    assert found.first_difference is None
    assert found.rendered_bytes == found.captured_bytes > 200
    assert found.template_version == checkout.template_version


def test_the_fixtures_are_what_the_stand_in_sends_today() -> None:
    assert capture() == {name: request(name) for name in CASES}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("wiki_de", {"wiki": False}),
        ("plain_en", {"text": CASES["plain_en"]["text"] + " "}),
        ("plain_en", {"config_id": "kachelöfen"}),
        ("plain_uk", {"language": "en"}),
    ],
)
def test_anything_else_is_found_at_its_first_byte(checkout: Checkout, name: str, changes: dict[str, Any]) -> None:
    found = compare(checkout, request(name), **(CASES[name] | changes))
    assert not found.same
    ours, theirs = rendered(found, checkout, name, changes), json.loads(request(name))["prompt"].encode()
    at = found.first_difference
    assert at is not None
    assert ours[:at] == theirs[:at]
    assert ours[at : at + 1] != theirs[at : at + 1]


def rendered(found: TemplateCheck, checkout: Checkout, name: str, changes: dict[str, Any]) -> bytes:
    from goldsmith.devserver.prompts import render

    case = CASES[name] | changes
    content = render(checkout, case["config_id"], case["language"], case["text"], wiki=case.get("wiki")).content.encode()
    assert len(content) == found.rendered_bytes
    return content


def test_a_template_that_changed_since_is_found(checkout: Checkout) -> None:
    newer = checkout.model_copy(update={"template": checkout.template.replace("Important:", "Note:")})
    found = compare(newer, request("plain_en"), **CASES["plain_en"])
    assert not found.same
    assert found.template_version != checkout.template_version
    assert "Note:" in found.rendered
    assert "Important:" in found.captured


def test_a_chat_with_one_turn_of_the_user_is_read_as_well(checkout: Checkout) -> None:
    prompt = json.loads(request("plain_uk"))["prompt"]
    chat = json.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}]}).encode()
    assert compare(checkout, chat, **CASES["plain_uk"]).same


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "no JSON"),
        (b"[]", "no object"),
        (b"{}", "neither a text under `prompt`"),
        (b'{"prompt": 1}', "neither a text under `prompt`"),
        (b'{"prompt": "x", "system": "be nice"}', "system prompt"),
        (b'{"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]}', "system"),
    ],
)
def test_what_is_no_request_for_a_single_turn_is_refused(checkout: Checkout, body: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        compare(checkout, body, **WIRE)
    assert refused.value.errors[0]["field"] == "request"


def test_the_wiki_block_is_read_and_never_run(tmp_path: Path, checkout: Checkout) -> None:
    assert checkout.wiki.startswith("\nLOOKING THINGS UP")
    assert checkout.template_version != checkout.model_copy(update={"wiki": ""}).template_version
    broken = tmp_path / "devserver" / "schemas"
    for path in (DATA / "devserver" / "schemas").rglob("*"):
        if path.is_file():
            (broken / path.relative_to(DATA / "devserver" / "schemas")).parent.mkdir(parents=True, exist_ok=True)
            (broken / path.relative_to(DATA / "devserver" / "schemas")).write_bytes(path.read_bytes())
    (broken / "engine" / "wikipedia_prompt_helper.py").write_text("def get_wikipedia_instructions():\n    return load()\n")
    with pytest.raises(InvalidInput, match="get_wikipedia_instructions"):
        read_checkout(tmp_path)


def test_a_folder_of_configs_alone_gets_the_built_in_template(tmp_path: Path) -> None:
    for path in (DATA / "devserver" / "schemas" / "configs" / "interception").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    found, skipped = read_checkout(tmp_path)
    assert [config.config_id for config in found.configs] == ["kachelöfen", "wire"]
    assert skipped == []
    labels = [found.template.index(label) for label in ("Task:\n", "Context:\n", "Important:", "Prompt:\n")]
    assert labels == sorted(labels)
    assert found.wiki == ""
