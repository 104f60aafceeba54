"""Deploy: an adapter as a model of Ollama, which gets its name only once it answers like the trained model."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, model_validator

from goldsmith.export.report import Parity, Quantization
from goldsmith.kinds.base import AdapterRef, JobConfig, JobResult, Name


class DeployConfig(JobConfig):
    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "cpu"
    isolated: ClassVar[bool] = True
    timeout_s: ClassVar[int] = 4 * 3600

    kind: Literal["deploy"] = "deploy"
    adapter: AdapterRef = Field(description="The adapter to deploy to the Ollama at OLLAMA_HOST.")
    model: Name | None = Field(
        None, description="The model's name there; empty: the adapter's. Its tags are v<version of the adapter> and latest."
    )
    format: Literal["gguf-merged", "gguf-lora"] = Field(
        "gguf-merged", description="gguf-lora: base model and adapter apart; Ollama loads adapters of some architectures only."
    )
    outtype: Literal["f32", "f16"] = Field("f16", description="How the weights are written.")
    quantization: Quantization | None = Field(
        None, description="The merged model so, in place of outtype; what is not built in needs llama-quantize on the worker."
    )
    from_model: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}$")] | None = Field(
        None,
        description="For gguf-lora: a model in Ollama that is the adapter's very base, unquantised; then only the adapter is sent."
        " For Qwen3-4B-Instruct-2507 that is qwen3:4b-instruct-2507-fp16; qwen3:4b is another model, which thinks.",
    )
    alias: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9._-]{0,63}$")] | None = Field(
        "deployed", description="Moved to this version of the adapter when it is deployed; null: no alias is."
    )
    parity_prompts: int = Field(8, ge=1, le=200, description="Prompts to compare on: held-out rows first, then built-in ones.")
    parity_tokens: int = Field(64, ge=1, le=2048, description="Most tokens of an answer to compare; more see more answers end.")

    @model_validator(mode="after")
    def _fits_the_format(self) -> DeployConfig:
        if self.quantization is not None and self.format != "gguf-merged":
            raise ValueError("quantization: only the format gguf-merged is quantised")
        if self.from_model is not None and self.format != "gguf-lora":
            raise ValueError(
                "from_model: only the format gguf-lora takes a base model that Ollama has; set format to gguf-lora"
            )
        return self


class Canary(JobResult):
    prompt: str
    answer: str = Field(description="What the tag said: the words of the trained model, where its base model says others.")


class DeployResult(JobResult):
    adapter: str
    base_model: str
    rehearsal: bool
    label: str = Field(description="REHEARSAL when a rehearsal teacher wrote the answers, else empty.")
    model: str = Field(description="The name in Ollama; `latest` is this version now.")
    tag: str = Field(description="`<model>:v<version>`")
    digest: str = Field(description="Of what Ollama made.")
    former_digest: str | None = Field(description="Of what `latest` was; kept as `<model>:former` for a rollback.")
    alias: str | None
    former_alias_version: int | None
    uploaded: list[str] = Field(description="sha256 of each file that was sent; what Ollama had is not sent again.")
    parity: Parity
    canary: Canary
    seconds: float
