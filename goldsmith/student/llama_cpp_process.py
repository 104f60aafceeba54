"""The process of `goldsmith.student.llama_cpp`: loads what it is told, says where it listens, ends with its standard input."""

from __future__ import annotations

import json
import sys
from typing import Any

import xllamacpp

from goldsmith.student.llama_cpp import threads


def main(order: dict[str, Any]) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = order["model"]
    params.hostnames = ["127.0.0.1"]
    params.port = 0  # one that is free
    params.n_ctx = order["context"]
    params.n_parallel = 1
    params.warmup = False
    params.ui = False
    params.n_gpu_layers = 0  # a build for CUDA would take the device that a worker of the gpu queue guards
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads()
    if order["exact"]:
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    if order["adapter"]:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = order["adapter"], 1.0
        params.lora_adapters = [adapter]
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
