"""What exporting and deploying say about what they made."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Quantization = Literal[
    "q8_0", "q6_k", "q5_1", "q5_0", "q5_k_m", "q5_k_s", "q4_1", "q4_0", "q4_k_m", "q4_k_s", "q3_k_m", "q3_k_s", "q3_k_l", "q2_k"
]

NOT_CHECKED = "NOT CHECKED: nobody has compared what is served with what was trained"


class Tolerance(BaseModel):
    """How far what is served may be from what was trained, in nats of log-probability."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    margin: float = Field(
        description="The likeliest token must be the same wherever the trained model prefers it to the next one by more."
    )
    bound: float = Field(description="Largest difference of a token's log-probability.")


# By how the weights are written. SmolLM2-135M with a trained adapter stays below a third of each (docs/export.md).
TOLERANCES = {
    "f32": Tolerance(margin=0.01, bound=0.01),
    "f16": Tolerance(margin=0.1, bound=0.1),
    "q8": Tolerance(margin=0.5, bound=0.5),
    "q6": Tolerance(margin=1.0, bound=1.0),
    "q5": Tolerance(margin=1.5, bound=1.5),
    "q4": Tolerance(margin=2.5, bound=2.5),
    "q3": Tolerance(margin=4.0, bound=4.0),
    "q2": Tolerance(margin=6.0, bound=6.0),
}


def tolerance_of(written: str) -> Tolerance:
    """Of `f32`, `f16` or a quantisation."""
    return TOLERANCES[written if written in TOLERANCES else written[:2]]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Difference(Part):
    prompt: int = Field(description="Which of the frozen prompts, from 0; they stand in parity.json.")
    what: Literal["template", "stop", "token", "logprob", "adapter"]
    detail: str


class Parity(Part):
    """What is served against what was trained, on the same prompts."""

    served: str = Field(description="The files or the tag that answered.")
    by: Literal["transformers", "llama.cpp", "ollama"]
    tolerance: Tolerance
    prompts: int
    tokens: int = Field(description="Tokens of answers that were compared.")
    undecided: int = Field(description="Of those, where both said different tokens between which the trained model wavers.")
    stops: int = Field(description="Answers whose end was compared.")
    largest_difference: float | None = Field(description="Of a token's log-probability; none where the server tells none.")
    mean_difference: float | None
    base_difference: float = Field(description="Mean difference between the trained model and its base on the same tokens.")
    own_words: int = Field(description="Compared tokens at which the base model says another one.")
    differences: list[Difference]

    @property
    def passed(self) -> bool:
        return not self.differences


class ExportedFile(Part):
    artifact: str = Field(description="`job:<id>/<name>`")
    name: str
    format: Literal["peft", "safetensors", "gguf-lora", "gguf-merged", "modelfile", "card", "passport"]
    bytes: int
    sha256: str


def failed(parities: list[Parity]) -> str:
    """What differs, in words; empty when nothing does."""
    said: list[Any] = []
    for parity in parities:
        for one in parity.differences[:3]:
            said.append(f"{parity.served} ({parity.by}), prompt {one.prompt}, {one.what}: {one.detail}")
        if more := len(parity.differences) - 3:
            said += [f"and {more} more of {parity.served}"] if more > 0 else []
    return "; ".join(said)
