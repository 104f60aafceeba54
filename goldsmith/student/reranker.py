"""Rerankers that run in this process. Importing this loads torch; `goldsmith.student.load_reranker` is the door."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from goldsmith.errors import GoldsmithError, InvalidInput, Unavailable
from goldsmith.student import RERANKED_AT_ONCE, RERANKERS, Reranker, Told
from goldsmith.student.base import Base, prepare
from goldsmith.student.loading import load

MAX_TOKENS = 8192
ROWS = 16  # of one pass

# The frame that Qwen3-Reranker was trained in, as its model card (Apache-2.0) gives it; another one gives other numbers.
BEFORE = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided."
    ' Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
AFTER = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
INSTRUCT = (
    "Query is a suggestion for an answer, Document a list of rules. Decide whether the list already covers the suggestion."
)


class _Local:
    """What both kinds have in common: float32 on a CPU, float16 on CUDA, and passes over texts of like length."""

    def __init__(self, name: str, base: Base) -> None:
        self.name, self.revision, self.sha256 = name, base.revision, base.sha256
        self.folder = base.folder
        self.config: Mapping[str, Any] = json.loads((base.folder / "config.json").read_text())
        self.tokenizer: Any = AutoTokenizer.from_pretrained(base.folder, local_files_only=True)
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.cut = 0
        self.device = "cuda" if torch.cuda.is_available() else "cpu"

    auto: Any

    @cached_property
    def model(self) -> Any:
        dtype = torch.float16 if self.device == "cuda" else torch.float32
        return load(self.auto, self.folder, dtype=dtype).to(self.device).eval()

    def covered(self, pairs: Sequence[tuple[str, str]], told: Told | None = None) -> list[float]:
        rows = [self._row(query, document) for query, document in pairs]
        found = [0.0] * len(rows)
        done = 0
        for batch in _batches([len(row["input_ids"]) for row in rows]):
            if told:
                told(done / len(rows))
            with torch.inference_mode():
                for index, probability in zip(batch, self._pass([rows[index] for index in batch]), strict=True):
                    found[index] = probability
            done += len(batch)
        wrong = [index for index, probability in enumerate(found) if not 0 <= probability <= 1]
        if wrong:
            raise GoldsmithError(f"the reranker {self.name} gave no probability ({found[wrong[0]]}) for pair {wrong[0]}")
        return found

    def _row(self, query: str, document: str) -> dict[str, list[int]]:
        raise NotImplementedError

    def _pass(self, rows: Sequence[dict[str, list[int]]]) -> list[float]:
        raise NotImplementedError


class YesNo(_Local):
    """Qwen3-Reranker and its like: a causal model that is asked, and P("yes") of its next token against "no".

    The document is cut, from its end, where frame and texts are longer than 8,192 tokens. A mark of the frame that was typed is
    read as plain text.
    """

    auto = AutoModelForCausalLM

    def __init__(self, name: str, base: Base) -> None:
        super().__init__(name, base)
        known = self.tokenizer.get_vocab()
        if missing := [word for word in ("yes", "no") if word not in known]:
            raise _wrong(name, f"has no token for {' and '.join(missing)}: it is no reranker of Qwen3's kind")
        self.yes, self.no = known["yes"], known["no"]
        self.before, self.after = (self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (BEFORE, AFTER))
        self.room = min(MAX_TOKENS, self.config.get("max_position_embeddings") or MAX_TOKENS)
        self.room -= len(self.before) + len(self.after)
        if self.room < 1:
            raise _wrong(name, "has no room for its own frame")

    def _row(self, query: str, document: str) -> dict[str, list[int]]:
        text = f"<Instruct>: {INSTRUCT}\n<Query>: {query}\n<Document>: {document}"
        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        self.cut += len(ids) > self.room
        return {"input_ids": [*self.before, *ids[: self.room], *self.after]}

    def _pass(self, rows: Sequence[dict[str, list[int]]]) -> list[float]:
        width = max(len(row["input_ids"]) for row in rows)
        gaps = [width - len(row["input_ids"]) for row in rows]
        ids = torch.tensor(
            [[self.tokenizer.pad_token_id] * gap + row["input_ids"] for gap, row in zip(gaps, rows, strict=True)]
        )
        mask = torch.tensor([[0] * gap + [1] * (width - gap) for gap in gaps])
        logits = self.model(
            input_ids=ids.to(self.device),
            attention_mask=mask.to(self.device),
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0).to(self.device),
            logits_to_keep=1,
            use_cache=False,
        ).logits[:, -1, [self.no, self.yes]]
        probabilities: list[float] = logits.float().softmax(dim=1)[:, 1].tolist()
        return probabilities


class CrossEncoder(_Local):
    """Any model with a head for sequence classification: the sigmoid of its one label, or the second of two by softmax."""

    auto = AutoModelForSequenceClassification

    def __init__(self, name: str, base: Base) -> None:
        super().__init__(name, base)
        labels = len(self.config.get("id2label") or {0: "", 1: ""})
        if labels > 2:
            raise _wrong(name, f"has {labels} labels; a cross-encoder has one, or two of which the second means covered")
        positions = self.config.get("max_position_embeddings") or MAX_TOKENS
        if self.config.get("model_type") in ("roberta", "xlm-roberta", "camembert"):
            positions -= 2  # theirs begin behind the padding's
        self.longest = int(min(MAX_TOKENS, positions, self.tokenizer.model_max_length))

    def _row(self, query: str, document: str) -> dict[str, list[int]]:
        whole = dict(self.tokenizer(query, document, verbose=False))
        if len(whole["input_ids"]) <= self.longest:
            return whole
        self.cut += 1
        return dict(self.tokenizer(query, document, truncation="longest_first", max_length=self.longest))

    def _pass(self, rows: Sequence[dict[str, list[int]]]) -> list[float]:
        logits = self.model(**self.tokenizer.pad(list(rows), return_tensors="pt").to(self.device)).logits.float()
        probabilities: list[float] = (logits.sigmoid()[:, 0] if logits.shape[1] == 1 else logits.softmax(dim=1)[:, 1]).tolist()
        return probabilities


def load_reranker(name: str, *, cache: Path) -> Reranker:
    """A known name, a folder's path, or a model on the hub. Raises `InvalidInput` or `Unavailable` that say what to install."""
    try:
        base = prepare(RERANKERS.get(name, name), cache)
    except (InvalidInput, Unavailable) as error:
        why = error.detail.removeprefix("base_model: ")
        raise type(error)(
            f"the reranker {name} is not there ({why}). Install one: `hf download"
            f" {RERANKERS.get(name, 'owner/name')} --local-dir <folder>` where there is a network, the folder below"
            " GOLDSMITH_MODEL_ROOTS and its path as `reranker`; or choose method embedding (lite) or judge",
            errors=[{"field": "reranker", "value": name, "message": why}],
        ) from error
    architectures = json.loads((base.folder / "config.json").read_text()).get("architectures") or [""]
    if architectures[0].endswith("ForSequenceClassification"):
        return CrossEncoder(name, base)
    if architectures[0].endswith("ForCausalLM"):
        return YesNo(name, base)
    raise _wrong(
        name, f"is a {architectures[0] or 'model without an architecture'}; …ForCausalLM or …ForSequenceClassification reranks"
    )


def _wrong(name: str, message: str) -> InvalidInput:
    return InvalidInput(f"the reranker {name} {message}", errors=[{"field": "reranker", "value": name, "message": message}])


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of like length together, the longest first: what does not fit into memory fails at once."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batch and (len(batch) == ROWS or (len(batch) + 1) * lengths[batch[0]] > RERANKED_AT_ONCE):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
