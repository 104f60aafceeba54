"""Canonical JSON and the installation's signature."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from goldsmith import signing
from goldsmith.errors import GoldsmithError, InvalidInput
from goldsmith.signing import SignatureInvalid
from goldsmith.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def test_canonical_json_has_one_form() -> None:
    """The examples of RFC 8785: order by UTF-16 code units, numbers as ECMAScript writes them."""
    told = {"\u20ac": 1.0, "\r": 1e-05, "1": 1e21, "\U0001f600": 4.50, "ö": "ü", "a": [1, None, True]}
    assert signing.canonical(told).decode() == '{"\\r":0.00001,"1":1e+21,"a":[1,null,true],"ö":"ü","€":1,"😀":4.5}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**60, {1: 2}])
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="no canonical JSON"):
        signing.canonical({"x": value})


def test_the_key_is_made_once_for_its_owner_alone(storage: Storage) -> None:
    keys: list[str] = []
    start = threading.Barrier(8)

    def make() -> None:
        start.wait()
        keys.append(signing.public_key(storage))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(keys)) == 1
    path = storage.path(signing.KEY_FILE)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_file_that_is_no_key_is_not_replaced(storage: Storage) -> None:
    signing.public_key(storage)
    storage.path(signing.KEY_FILE).write_text("cut off")
    with pytest.raises(GoldsmithError, match=r"ed25519\.key is no key of ours"):
        signing.public_key(storage)


def test_what_was_signed_is_opened_and_every_change_is_seen(storage: Storage) -> None:
    document = {"r": 8, "lr": 2e-4, "name": "Fuchs"}
    signed = json.loads(json.dumps(signing.sign(storage, "passport", document)))
    public = signing.public_key(storage)

    assert signing.opened("passport", signed, public) == document
    text = json.dumps(signed["passport"])
    for change in ({"r": 9}, {"lr": 2.1e-4}, {"name": "fuchs"}, {"more": 1}):
        with pytest.raises(SignatureInvalid, match="changed after it was signed"):
            signing.opened("passport", signed | {"passport": json.loads(text) | change}, public)
    with pytest.raises(SignatureInvalid, match="no signed passport"):
        signing.opened("passport", document, public)
    with pytest.raises(SignatureInvalid, match="no signed adapter"):
        signing.opened("adapter", signed, public)
    with pytest.raises(SignatureInvalid, match="not one of Ed25519"):
        signing.opened("passport", signed | {"signature": {}}, public)


def test_a_signature_by_another_key_names_both(storage: Storage, tmp_path: Path) -> None:
    other = Storage(tmp_path / "other")
    signed = signing.sign(other, "passport", {"r": 8})
    with pytest.raises(SignatureInvalid, match="another key") as refusal:
        signing.opened("passport", signed, signing.public_key(storage))
    assert signing.public_key(storage) in str(refusal.value)
    assert signing.public_key(other) in str(refusal.value)


def test_a_public_key_is_read_in_each_form_it_comes_in(storage: Storage, tmp_path: Path) -> None:
    public = signing.public_key(storage)
    (tmp_path / "key").write_text(f"{public}\n")
    (tmp_path / "key.json").write_text(json.dumps({"algorithm": "Ed25519", "public_key": public}))
    for given in (public, str(tmp_path / "key"), str(tmp_path / "key.json")):
        assert signing.read_public_key(given) == public
    for given in ("short", "{}", "!" * 44):
        with pytest.raises(InvalidInput, match="key"):
            signing.read_public_key(given)
