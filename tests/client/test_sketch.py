"""Sketches of the workshop's texts: what can be told from them, and what cannot."""

from __future__ import annotations

import base64
import itertools
import random
import re
import stat
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from goldsmith.abstats import sketch as reader
from goldsmith.client.sketch import key_of, sketch

KEY = b"k" * 32
EXPORTS = Path(__file__).parents[2] / "examples" / "workshop" / "exports"


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def pairs(text: str) -> set[tuple[str, str]]:
    return set(itertools.pairwise(words(text)))


def read(texts: list[str], key: bytes = KEY) -> tuple[reader.Counts, reader.Minima]:
    return reader.decode([reader.from_text(sketch(text, key)) for text in texts])


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return sorted({file.read_text() for file in EXPORTS.rglob("final/*interception.txt")})


def changed(text: str, share: float) -> str:
    """The text with this share of its words replaced."""
    found = text.split()
    for place in random.Random(7).sample(range(len(found)), max(1, int(len(found) * share))):
        found[place] = "anders"
    return " ".join(found)


def test_a_sketch_is_the_same_for_the_same_words_and_key():
    assert len(sketch("Ein Haus", KEY)) == reader.CHARACTERS == 512
    assert sketch("Ein Haus, ein Garten.", KEY) == sketch("ein  HAUS – ein Garten", KEY)
    assert sketch("Cafe\u0301", KEY) == sketch("Café", KEY)
    assert sketch("Ein Haus", KEY) != sketch("Ein Haus", b"x" * 32)


@pytest.mark.parametrize("text", ["", "…!", "\ud800 x", "a" * 100_000, "na " * 1000])
def test_any_text_has_a_sketch(text: str):
    counts, minima = read([text])
    assert counts.sum() == min(255, len(words(text)))
    assert (minima != reader.EMPTY).sum() == min(1, len(pairs(text)))


def test_entropy_follows_the_texts(texts: list[str]):
    every, one = read(texts)[0], read([texts[0]] * len(texts))[0]
    frequencies = np.array([*Counter(word for text in texts for word in words(text)).values()])
    share = frequencies / frequencies.sum()
    assert reader.entropy(every) == pytest.approx(-(share * np.log2(share)).sum(), abs=1.5), "words share 256 buckets"
    assert reader.entropy(one) < reader.entropy(every) - 2
    assert reader.entropy(read([""])[0]) == 0


def test_a_near_duplicate_shows_and_nothing_else_looks_like_one(texts: list[str]):
    minima = read(texts)[1]
    others = [float(reader.similarity(minima[a], minima[b])) for a, b in itertools.combinations(range(len(texts)), 2)]
    assert len(others) > 2000
    assert max(others) < 0.2
    edited = read([changed(text, 0.1) for text in texts])[1]
    assert reader.similarity(minima, edited).min() > reader.NEAR_DUPLICATE
    assert reader.similarity(minima, minima).min() == 1
    assert reader.similarity(*read(["", ""])[1]) == 0, "two empty answers are no two equal ones"


def test_the_similarity_is_that_of_the_pairs_of_words(texts: list[str]):
    both = [(text, changed(text, share)) for share in (0.05, 0.2, 0.4) for text in texts]
    true = np.array([len(pairs(a) & pairs(b)) / len(pairs(a) | pairs(b)) for a, b in both])
    told = reader.similarity(read([a for a, _ in both])[1], read([b for _, b in both])[1])
    assert np.sqrt(np.mean((told - true) ** 2)) < 0.08


def test_distinct_pairs_are_counted_over_texts(texts: list[str]):
    counts, minima = read(texts)
    true = len(set().union(*map(pairs, texts)))
    assert reader.distinct(minima) == pytest.approx(true, rel=0.3)
    assert reader.distinct(read(texts * 3)[1]) == reader.distinct(minima)
    share = reader.distinct_share(counts, minima)
    assert share is not None
    assert share > 0.7
    repeated = reader.distinct_share(*read(texts[:4] * 16))
    assert repeated is not None
    assert repeated < 0.1
    assert reader.distinct_share(*read(["", "eins"])) is None


def test_without_the_key_a_dictionary_tells_nothing(texts: list[str]):
    """Whoever has every word there is and guesses a key claims a word as often rightly as by chance."""
    dictionary = sorted({word for text in texts for word in words(text)})
    guessed = {word: reader.decode([reader.from_text(sketch(word, b"g" * 32))])[0].argmax() for word in dictionary}
    counts = read(texts)[0]
    claimed = np.array([[counts[row, guessed[word]] > 0 for word in dictionary] for row in range(len(texts))])
    there = np.array([[word in set(words(text)) for word in dictionary] for text in texts])
    assert there[claimed].mean() == pytest.approx(there.mean(), rel=0.25)

    right = {word: reader.decode([reader.from_text(sketch(word, KEY))])[0].argmax() for word in dictionary}
    knowing = np.array([[counts[row, right[word]] > 0 for word in dictionary] for row in range(len(texts))])
    assert there[knowing].mean() > 5 * there[claimed].mean(), "with the key it does: the key must stay where the texts are"


def test_matching_frequencies_names_no_word_that_means_something(texts: list[str]):
    """Whoever knows other texts of the same workshop matches the fullest bucket with the commonest word, and so on."""
    shuffled = random.Random(3).sample(texts, len(texts))
    known, secret = shuffled[: len(texts) // 2], shuffled[len(texts) // 2 :]
    common = [word for word, _ in Counter(word for text in known for word in words(text)).most_common(256)]
    counts = read(secret)[0]
    by_fullness = np.argsort(-counts.sum(axis=0), kind="stable")
    claims = [
        word in words(secret[row])
        for bucket, word in zip(by_fullness, common, strict=False)
        if len(word) >= 5
        for row in np.flatnonzero(counts[:, bucket])
    ]
    assert len(claims) > 100
    assert np.mean(claims) < 0.1


def test_the_minima_say_nothing_of_which_words_they_are_of(texts: list[str]):
    raw = base64.urlsafe_b64decode(sketch(texts[0], KEY))
    assert not any(word.encode() in raw for word in words(texts[0]) if len(word) > 3)
    other = reader.similarity(read(texts)[1], read(texts, b"g" * 32)[1])
    assert other.max() < 0.1, "another key, another sketch of the same text"


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path):
    file, found = tmp_path / "new" / "sketch.key", []
    threads = [threading.Thread(target=lambda: found.append(key_of(file))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 8
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in file.parent.iterdir()] == ["sketch.key"]
    file.write_bytes(b"short")
    with pytest.raises(ValueError, match="32 bytes, not 5"):
        key_of(file)
