"""Loading from several threads, against the real transformers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, PreTrainedModel

from goldsmith.student.loading import load
from tests.tiny import make_model


def test_models_loaded_at_once_are_whole_and_so_is_what_is_loaded_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, original = make_model(tmp_path), PreTrainedModel.tie_weights
    monkeypatch.setattr(PreTrainedModel, "tie_weights", original)  # put back for the tests after this one, whatever happens
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: load(AutoModelForCausalLM, folder), range(24)))
    assert PreTrainedModel.tie_weights is original
    for model in models:
        assert model.lm_head.weight is model.model.embed_tokens.weight
        assert model.lm_head.weight.device.type == "cpu"
