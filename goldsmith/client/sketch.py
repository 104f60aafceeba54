"""A sketch of an answer: enough to tell how varied answers are and which two are nearly the same, not enough to read one.

It is computed where the answer is, with a key that stays there. Standard library only. `goldsmith.abstats.sketch` reads it.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import unicodedata
from array import array
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

BUCKETS = 256
BINS = 64
EMPTY = 0xFFFF
KEY_BYTES = 32

_WORD = re.compile(r"\w+")


def sketch(text: str, key: bytes) -> str:
    """512 characters of base64url, 384 bytes: for each of 256 buckets how many words fell into it (255 at most), then for each of
    64 bins the smallest 16-bit hash (big-endian) of the pairs of neighbouring words that fell into it, 65535 for none.

    What falls where depends on `key`, so sketches can be compared where the keys are equal. 0.4 ms for 150 words.
    """
    counts, minima = bytearray(BUCKETS), array("H", [EMPTY]) * BINS
    words = list(_words(text))
    for word in words:
        bucket = _hash(key, word) % BUCKETS
        counts[bucket] = min(255, counts[bucket] + 1)
    for pair in set(pairwise(words)):
        number = _hash(key, " ".join(pair))
        place, value = number % BINS, min((number // BINS) & 0xFFFF, EMPTY - 1)
        minima[place] = min(minima[place], value)
    return base64.urlsafe_b64encode(bytes(counts) + b"".join(value.to_bytes(2, "big") for value in minima)).decode()


def key_of(file: Path) -> bytes:
    """The key in this file; the first to ask makes it, readable by its owner alone. Every process that sends events of an
    experiment needs the same: with another key, the same words fall elsewhere."""
    try:
        return _key_in(file)
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    with open(fresh, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as made:
        made.write(secrets.token_bytes(KEY_BYTES))
        made.flush()
        os.fsync(made.fileno())
    try:
        os.link(fresh, file)  # fails where another process was first: there is one key
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    return _key_in(file)


def _key_in(file: Path) -> bytes:
    key = file.read_bytes()
    if len(key) != KEY_BYTES:
        raise ValueError(f"{file}: a key has {KEY_BYTES} bytes, not {len(key)}; remove the file to have a new one made")
    return key


def _words(text: str) -> Iterator[str]:
    return (found.group() for found in _WORD.finditer(unicodedata.normalize("NFC", text).casefold()))


@lru_cache(maxsize=32_768)  # texts repeat their words: 2 MB spare two thirds of the time
def _hash(key: bytes, token: str) -> int:
    return int.from_bytes(blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest(), "big")
