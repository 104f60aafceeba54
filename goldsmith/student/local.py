"""The student in this process: transformers for the base model, PEFT for its adapters."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, StoppingCriteria
from transformers.utils import logging as transformers_logging

from goldsmith.adapters import AdapterVersion
from goldsmith.errors import InvalidInput, ReferenceNotUsable
from goldsmith.storage import sha256_file
from goldsmith.student import Conversation, Told
from goldsmith.student.base import Base, prepare
from goldsmith.student.conversation import IGNORED, Tokens, prompt_ids, tokenize
from goldsmith.student.loading import load

ANSWERED_AT_ONCE = 32  # each step of answering reads all the weights once, for one row or for many
SCORED_AT_ONCE = 8  # more is no faster on a CPU: 660 tokens/s with 8 rows, 500 with 23, of padding and memory


class LocalStudent:
    """See `Student`. float32 on a CPU (bfloat16 was five times slower on one without AMX), bfloat16 on CUDA."""

    def __init__(self, base: Base) -> None:
        self.base_model, self.revision, self.folder = base.name, base.revision, base.folder
        self.base_sha256, self.base_files = base.sha256, base.files
        self.tokenizer: Any = _tokenizer(base.name, base.folder)
        if not self.tokenizer.chat_template:
            raise InvalidInput(f"base_model: {base.name!r} has no chat template; choose an instruction-tuned model")
        if self.tokenizer.eos_token_id is None or self.tokenizer.pad_token_id is None:
            raise InvalidInput(f"base_model: the tokenizer of {base.name!r} names no eos_token or no pad_token")
        self.tokenizer_sha256 = _tokenizer_sha256(self.tokenizer)
        self.template_sha256 = hashlib.sha256(self.tokenizer.chat_template.encode()).hexdigest()
        self._loaded: dict[str, str] = {}
        self._base: Any = None
        """The base model while whole weights are used in its place."""

    @classmethod
    def load(cls, base_model: str, adapter: AdapterVersion | None, *, cache: Path) -> LocalStudent:
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # a job's log is no terminal
        use_free_cores()
        base = prepare(base_model, cache)
        if adapter is not None:
            _compare(adapter, "base", base.sha256, base.name)  # a changed config.json may not be read at all
        try:
            student = cls(base)
        except _Unreadable as error:
            if adapter is None:
                raise
            raise ReferenceNotUsable(
                f"{adapter.ref} was trained on another tokenizer: expected sha256 {adapter.tokenizer_sha256}; {error}"
            ) from error
        student.use(adapter)
        return student

    @cached_property
    def model(self) -> Any:
        """Loaded at the first use: whoever trains on a quantised copy of the folder never pays for it."""
        cuda = torch.cuda.is_available()
        model: Any = load(AutoModelForCausalLM, self.folder, dtype=torch.bfloat16 if cuda else torch.float32)
        return model.to("cuda" if cuda else "cpu").eval()

    def use(self, adapter: AdapterVersion | None) -> None:
        if self._base is not None:
            self.model, self._base = self._base, None
        if adapter is not None and is_whole(adapter):
            self._check(adapter)
            whole: Any = load(AutoModelForCausalLM, adapter.folder, dtype=self.model.dtype)
            self._base, self.model = self.model, whole.to(self.model.device).eval()
            return
        if adapter is None:
            if self._loaded:
                self.model.base_model.disable_adapter_layers()
            return
        if adapter.ref not in self._loaded:
            self._load(adapter)
        self.model.base_model.enable_adapter_layers()
        self.model.set_adapter(self._loaded[adapter.ref], inference_mode=True)

    def _check(self, adapter: AdapterVersion) -> None:
        for what in ("base", "tokenizer", "template"):
            _compare(adapter, what, getattr(self, f"{what}_sha256"), self.base_model)
        for name, expected in (adapter.base_files or {}).items():
            if (actual := (self.base_files or {}).get(name, "no such file")) != expected:
                raise ReferenceNotUsable(
                    f"{adapter.ref}: {name} of its base model {self.base_model} changed: expected sha256 {expected}, found {actual}"
                )
        adapter.verify()

    def _load(self, adapter: AdapterVersion) -> None:
        self._check(adapter)
        name = f"a{len(self._loaded)}"
        if self._loaded:
            self.model.load_adapter(adapter.folder, adapter_name=name)
        else:
            self.model = PeftModel.from_pretrained(self.model, adapter.folder, adapter_name=name).eval()
        self._loaded[adapter.ref] = name

    def generate(
        self,
        conversations: Sequence[Conversation],
        max_new_tokens: int,
        *,
        temperature: float = 0.0,
        seed: int | None = None,
        told: Told | None = None,
    ) -> list[str]:
        return answer(self.model, self.tokenizer, conversations, max_new_tokens, temperature=temperature, seed=seed, told=told)

    def nll(self, conversations: Sequence[Conversation], told: Told | None = None) -> list[tuple[float, int]]:
        return likelihood(self.model, [tokenize(self.tokenizer, messages) for messages in conversations], told)


class _Unreadable(InvalidInput):
    """The tokenizer's files are broken."""


def _tokenizer(base_model: str, folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # tokenizers raises nothing narrower
        files = (f"{path.name} has sha256 {sha256_file(path)}" for path in sorted(folder.glob("tokenizer*.json")))
        found = "; ".join(files) or "there is no tokenizer.json"
        raise _Unreadable(
            f"base_model: the tokenizer of {base_model!r} in {folder} cannot be read ({error}): {found}"
        ) from error


def _compare(adapter: AdapterVersion, what: str, actual: str, base_model: str) -> None:
    expected = getattr(adapter, f"{what}_sha256")
    if expected != actual:
        raise ReferenceNotUsable(
            f"{adapter.ref} was trained on another {what}: expected sha256 {expected} ({adapter.base_model}), "
            f"found {actual} ({base_model})"
        )


def is_whole(adapter: AdapterVersion) -> bool:
    """Whether its files are a whole model, trained by method `full`, and no adapter to put on one."""
    return adapter.method.get("method") == "full"


def answer(
    model: Any,
    tokenizer: Any,
    conversations: Sequence[Conversation],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    seed: int | None = None,
    told: Told | None = None,
) -> list[str]:
    """`Student.generate` of any causal language model."""
    if seed is not None:
        torch.manual_seed(seed)
    prompts = [prompt_ids(tokenizer, messages) for messages in conversations]
    answers = [""] * len(prompts)
    for done, batch in _counted(by_length([len(ids) for ids in prompts], ANSWERED_AT_ONCE)):
        ids, mask = _padded([prompts[index] for index in batch], tokenizer.pad_token_id)
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                max_new_tokens=max_new_tokens,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                stopping_criteria=[_Tell(told, ids.shape[1], max_new_tokens, done, len(batch), len(prompts))] if told else None,
                **({"do_sample": True, "temperature": temperature, "top_k": 0} if temperature > 0 else {"do_sample": False}),
            )
        texts = tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
        for index, text in zip(batch, texts, strict=True):
            answers[index] = text.strip()
    return answers


class _Tell(StoppingCriteria):
    """Stops nothing; tells after every token how far a batch of answers is."""

    def __init__(self, told: Told, width: int, longest: int, done: int, rows: int, total: int) -> None:
        self._told, self._width, self._longest = told, width, longest
        self._done, self._rows, self._total = done, rows, total

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        written = (input_ids.shape[1] - self._width) / self._longest
        self._told((self._done + self._rows * written) / self._total)
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


def use_free_cores() -> None:
    """One thread for each core that this process may use, unless OMP_NUM_THREADS says otherwise.

    More threads than free cores collapse: 25 s instead of 8 s for the same LoRA step on two cores of which one was busy.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        torch.set_num_threads(cores or 1)


def likelihood(
    model: Any, rows: Sequence[Tokens], told: Told | None = None, at_once: int = SCORED_AT_ONCE
) -> list[tuple[float, int]]:
    """`Student.nll` of any causal language model; fewer rows at once when memory runs out.

    The head, a fifth of the work on a small model, is computed only for positions that have a label in some row of the batch.
    """
    with suppress(torch.OutOfMemoryError):
        return _likelihood(model, rows, told, at_once)
    torch.cuda.empty_cache()
    return likelihood(model, rows, told, at_once // 2) if at_once > 1 else _likelihood(model, rows, told, 1)


def _likelihood(model: Any, rows: Sequence[Tokens], told: Told | None, at_once: int) -> list[tuple[float, int]]:
    results = [(0.0, 0)] * len(rows)
    model.eval()
    for done, batch in _counted(by_length([len(row.input_ids) for row in rows], at_once)):
        if told:
            told(done / len(rows))
        ids, mask = _padded([rows[index].input_ids for index in batch], 0)
        labels, _ = _padded([rows[index].labels for index in batch], IGNORED)
        asked = (labels[:, 1:] != IGNORED).any(dim=0).nonzero().squeeze(1)
        targets = labels[:, asked + 1].to(model.device)
        with torch.inference_mode():
            logits = model(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0).to(model.device),
                logits_to_keep=asked.to(model.device),
                use_cache=False,
            ).logits.float()
            losses = torch.nn.functional.cross_entropy(
                logits.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none"
            ).sum(dim=1)
        for index, loss, number in zip(batch, losses.tolist(), (targets != IGNORED).sum(dim=1).tolist(), strict=True):
            results[index] = (loss, number)
    return results


def by_length(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Indices in batches of like length, the longest first: what does not fit in memory fails at once."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _counted(batches: Iterator[list[int]]) -> Iterator[tuple[int, list[int]]]:
    """Each batch with the number of rows before it."""
    done = 0
    for batch in batches:
        yield done, batch
        done += len(batch)


def _padded(rows: Sequence[Sequence[int]], value: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows, filled up on the left so that they end together, and a mask that is 1 where they are."""
    width = max(len(row) for row in rows)
    gaps = [width - len(row) for row in rows]
    values = [[value] * gap + list(row) for gap, row in zip(gaps, rows, strict=True)]
    mask = [[0] * gap + [1] * (width - gap) for gap in gaps]
    return torch.tensor(values), torch.tensor(mask)


def _tokenizer_sha256(tokenizer: Any) -> str:
    """Over all that turns text into ids: vocabulary, merges, normalisation, added tokens, and the ids that end and pad."""
    content = f"{tokenizer.backend_tokenizer.to_str()}\n{tokenizer.eos_token_id}\n{tokenizer.pad_token_id}"
    return hashlib.sha256(content.encode()).hexdigest()
