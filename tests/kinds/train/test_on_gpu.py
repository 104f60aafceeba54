"""What only a CUDA device can show: both backends learn the same, the estimate holds, memory that really runs out is survived.

Each run has a process of its own: Unsloth patches what it finds, and memory is counted from zero.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from goldsmith import gpu
from goldsmith.footprint import Shape, footprint
from goldsmith.kinds.train import memory, rows
from tests.tiny import gold, make_model, student_factory
from tests.training import config

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

RUN = """
import json, sys
from pathlib import Path
import torch
order = json.loads(sys.argv[1])
if order["fraction"]:
    torch.cuda.set_per_process_memory_fraction(order["fraction"])
from goldsmith.kinds.train import backends
from goldsmith.kinds.train.schema import TrainConfig
backends.choose(TrainConfig(**order["config"]))  # Unsloth comes before transformers
from goldsmith.kinds.train.run import run
from tests.training import context
ctx = context(Path(order["folder"]))
result = run(TrainConfig(**order["config"]), ctx)
print(json.dumps({"result": result.model_dump(mode="json"), "logs": [message for message, _ in ctx.logs]}))
"""


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"))


def trained(model: Path, folder: Path, *, fraction: float | None = None, **more: Any) -> tuple[dict[str, Any], list[str]]:
    asked = config(model, **more).model_dump(mode="json", exclude={"load_in_4bit"})
    order = json.dumps({"config": asked, "folder": str(folder), "fraction": fraction})
    done = subprocess.run([sys.executable, "-c", RUN, order], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    return said["result"], said["logs"]


@pytest.mark.parametrize("method", ["lora", "qlora"])
@pytest.mark.parametrize("packing", [True, False])
def test_both_backends_learn_the_same(model_folder: Path, tmp_path: Path, method: str, packing: bool) -> None:
    pytest.importorskip("unsloth", reason="the extra goldsmith[unsloth] is not installed")
    peft, _ = trained(model_folder, tmp_path / "peft", backend="peft", method=method, packing=packing)
    unsloth, _ = trained(model_folder, tmp_path / "unsloth", backend="unsloth", method=method, packing=packing)
    assert (peft["backend"], unsloth["backend"]) == ("peft", "unsloth")
    assert unsloth["steps"] == peft["steps"]
    assert unsloth["heldout_loss_before"] == pytest.approx(peft["heldout_loss_before"], rel=0.02)
    # The first weights are drawn by each backend for itself.
    assert unsloth["heldout_loss_after"] == pytest.approx(peft["heldout_loss_after"], rel=0.1)
    assert peft["heldout_loss_after"] < 0.8 * peft["heldout_loss_before"]


@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_the_estimate_is_not_far_from_the_peak(tmp_path: Path, method: str, checkpointing: bool) -> None:
    sizes = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 16}
    model = _larger(tmp_path / "model", sizes | {"num_key_value_heads": 8, "head_dim": 128})
    more = {"backend": "peft", "method": method, "gradient_checkpointing": checkpointing, "num_train_epochs": 1}
    asked = config(model, per_device_train_batch_size=8, packing=False, **more)
    student = student_factory(tmp_path)(str(model), None)
    data = rows.tokenized(student.tokenizer, rows.checked("gold", gold()), asked.max_length)
    shape = Shape.of(json.loads((model / "config.json").read_text()))
    assert shape is not None
    estimated = footprint(shape, memory.plan(asked, "peft", data.train))
    result, _ = trained(model, tmp_path / "run", per_device_train_batch_size=8, packing=False, **more)
    assert estimated.total - estimated.context == pytest.approx(result["peak_memory_gb"] * 1e9, rel=0.3)


def test_memory_that_runs_out_halves_the_batch(model_folder: Path, tmp_path: Path) -> None:
    more = {"backend": "peft", "packing": False, "num_train_epochs": 2}
    one, _ = trained(model_folder, tmp_path / "one", per_device_train_batch_size=1, gradient_accumulation_steps=8, **more)
    eight, _ = trained(model_folder, tmp_path / "eight", per_device_train_batch_size=8, **more)
    between = (one["peak_memory_gb"] + eight["peak_memory_gb"]) / 2 * 1e9
    fraction = between / torch.cuda.get_device_properties(0).total_memory
    tight, logs = trained(model_folder, tmp_path / "tight", per_device_train_batch_size=8, fraction=fraction, **more)
    assert tight["per_device_train_batch_size"] < 8
    assert any("memory ran out" in message for message in logs)
    assert tight["heldout_loss_after"] == pytest.approx(eight["heldout_loss_after"], rel=1e-2)


def test_nvml_sees_what_another_process_holds() -> None:
    (device, *_) = gpu.visible_devices()
    before = gpu.memory(device)
    assert before is not None
    holding = "import sys, torch; held = torch.empty(2 * 10**9, dtype=torch.uint8, device='cuda'); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", holding], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        during = gpu.memory(device)
        process.communicate()
    assert during is not None
    assert before.free - during.free > 1.9e9
    assert gpu.memory(device) is not None


def _larger(folder: Path, sizes: dict[str, int]) -> Path:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    make_model(folder)
    kind: Any = Qwen3ForCausalLM
    kind(Qwen3Config.from_pretrained(folder, **sizes)).save_pretrained(folder)
    return folder
