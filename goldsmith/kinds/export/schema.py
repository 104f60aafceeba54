"""Export: an adapter as files that other programs load, each of them compared with the trained model."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from goldsmith.export.report import ExportedFile, Parity, Quantization
from goldsmith.kinds.base import AdapterRef, JobConfig, JobResult

Format = Literal["peft", "safetensors", "gguf-lora", "gguf-merged"]


class ExportConfig(JobConfig):
    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "cpu"
    isolated: ClassVar[bool] = True
    timeout_s: ClassVar[int] = 4 * 3600

    kind: Literal["export"] = "export"
    adapter: AdapterRef = Field(description="The adapter to export.")
    formats: list[Format] = Field(
        ["gguf-merged"],
        min_length=1,
        max_length=4,
        description="peft: the adapter's folder; safetensors: base model and adapter in one, for transformers and vLLM;"
        " gguf-lora: the adapter for llama.cpp and Ollama, with its base model beside it; gguf-merged: both in one GGUF file."
        " The GGUF formats come with an Ollama Modelfile. Architectures of GGUF: llama and qwen3.",
    )
    outtype: Literal["f32", "f16"] = Field("f16", description="How the weights are written.")
    quantization: Quantization | None = Field(
        None,
        description="Also write the merged GGUF so. q8_0, q5_1, q5_0, q4_1 and q4_0 are built in; the others need the program"
        " llama-quantize of llama.cpp on the worker's PATH.",
    )
    parity: bool = Field(True, description="false: nothing is compared, and result and model card say so loudly.")
    parity_prompts: int = Field(8, ge=1, le=200, description="Prompts to compare on: held-out rows first, then built-in ones.")
    parity_tokens: int = Field(64, ge=1, le=2048, description="Most tokens of an answer to compare; more see more answers end.")

    @model_validator(mode="after")
    def _of_a_merged_file(self) -> ExportConfig:
        if self.quantization is not None and "gguf-merged" not in self.formats:
            raise ValueError("quantization: only the format gguf-merged is quantised; add it to formats")
        return self


class ExportResult(JobResult):
    adapter: str
    base_model: str
    rehearsal: bool
    label: str = Field(
        description="REHEARSAL when a rehearsal teacher wrote the answers; NOT CHECKED without parity; else empty."
    )
    files: list[ExportedFile]
    parity_checked: bool
    parity: list[Parity] = Field(description="One for each file or pair of files that was loaded again and asked.")
    prompts: int = Field(description="Frozen prompts that all of them were asked.")
    seconds: float
