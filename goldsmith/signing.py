"""Signatures of this installation: Ed25519 over canonical JSON (RFC 8785), with one key below the state folder.

The key is made at the first start. Who has it can sign; who lost it can check nothing that was signed before: back it up.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from goldsmith.errors import GoldsmithError, InvalidInput
from goldsmith.storage import Storage

KEY_FILE = "passport/ed25519.key"


class SignatureInvalid(GoldsmithError):
    status = 422
    title = "Signature invalid"


def canonical(document: Mapping[str, Any]) -> bytes:
    """RFC 8785: keys sorted, no spaces, UTF-8, each number in its one form. Raises `InvalidInput` for what JSON cannot say."""
    try:
        return rfc8785.dumps(dict(document))
    except rfc8785.CanonicalizationError as error:
        raise InvalidInput(f"the document has no canonical JSON: {error}") from None


def private_key(storage: Storage) -> Ed25519PrivateKey:
    """The installation's key, made by whoever comes first; the file is the 32 bytes of its seed in base64, mode 0600."""
    path = storage.path(KEY_FILE)
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".key-")  # mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
        except FileExistsError:
            pass  # another process was first; its key counts
        finally:
            os.unlink(temporary)
    try:
        return Ed25519PrivateKey.from_private_bytes(base64.b64decode(path.read_bytes(), validate=False))
    except ValueError:
        raise GoldsmithError(
            f"{path} is no key of ours; put the right one back, or remove it to begin with a new one"
        ) from None


def public_key(storage: Storage) -> str:
    """The public key, 32 bytes in base64."""
    return base64.b64encode(private_key(storage).public_key().public_bytes_raw()).decode()


def key_id(public: str) -> str:
    """Short enough to compare by eye: the first 16 hex digits of the key's SHA-256."""
    return hashlib.sha256(base64.b64decode(public)).hexdigest()[:16]


def sign(storage: Storage, name: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """`{<name>: document, "signature": …}`. What is signed are the canonical bytes of `{<name>: document}`."""
    key = private_key(storage)
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    value = base64.b64encode(key.sign(canonical({name: document}))).decode()
    signature = {"algorithm": "Ed25519", "key_id": key_id(public), "public_key": public, "value": value}
    return {name: dict(document), "signature": signature}


def opened(name: str, signed: Any, public: str) -> dict[str, Any]:
    """The document in it; raises `SignatureInvalid` when it is not, byte for byte, what the holder of `public` signed."""
    if not isinstance(signed, dict) or signed.keys() != {name, "signature"} or not isinstance(signed[name], dict):
        raise SignatureInvalid(f"this is no signed {name}: an object with the keys {name} and signature is expected")
    signature = signed["signature"] if isinstance(signed["signature"], dict) else {}
    value, signer = signature.get("value"), str(signature.get("public_key"))
    if signature.get("algorithm") != "Ed25519" or not isinstance(value, str):
        raise SignatureInvalid("the signature is not one of Ed25519")
    if signer != public:
        raise SignatureInvalid(f"signed with another key: expected {public}, found {signer}")
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))
        key.verify(base64.b64decode(value, validate=True), canonical({name: signed[name]}))
    except (InvalidSignature, binascii.Error, ValueError, InvalidInput):
        raise SignatureInvalid(f"the {name} was changed after it was signed with {_named(public)}") from None
    document: dict[str, Any] = signed[name]
    return document


def _named(public: str) -> str:
    try:
        return f"key {key_id(public)}"
    except (binascii.Error, ValueError):
        return f"{public[:60]!r}, which is no key"


def read_public_key(given: str) -> str:
    """A key as people hand it on: the base64 itself, a file with it, or the JSON that the server answers with."""
    path = Path(given)
    text = path.read_text(encoding="utf-8").strip() if len(given) < 4096 and path.is_file() else given.strip()
    if text.startswith("{"):
        try:
            text = str(json.loads(text)["public_key"])
        except (ValueError, KeyError):
            raise InvalidInput("the key's JSON has no public_key") from None
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        raise InvalidInput(
            "a public key is 32 bytes in base64, a file with them, or the JSON of /.well-known/goldsmith-passport-key"
        )
    return text
