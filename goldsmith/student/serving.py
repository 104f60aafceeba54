"""A student that serves: one base model, a few adapters on top of it, one answer at a time, told while it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import StoppingCriteria, StoppingCriteriaList, TextStreamer

from goldsmith.adapters import AdapterVersion
from goldsmith.errors import InvalidInput
from goldsmith.student import Conversation
from goldsmith.student.base import Base
from goldsmith.student.conversation import prompt_ids
from goldsmith.student.local import LocalStudent, is_whole


@dataclass(frozen=True)
class Sampling:
    max_tokens: int
    temperature: float
    """0: greedy."""
    top_p: float
    seed: int | None = None


@dataclass(frozen=True)
class Completion:
    prompt_tokens: int
    completion_tokens: int
    finish_reason: Literal["stop", "length"]
    """`length`: cut at max_tokens, or stopped from outside."""


class ServedStudent(LocalStudent):
    """Not thread-safe: all calls come from one thread."""

    keep = 4
    """Adapters held in memory; the one that was used longest ago makes room."""

    def __init__(self, base: Base) -> None:
        super().__init__(base)
        self._recent: list[AdapterVersion] = []

    def use(self, adapter: AdapterVersion | None) -> None:
        super().use(adapter)
        if adapter is None or is_whole(adapter):
            return
        self._recent = [one for one in self._recent if one.ref != adapter.ref] + [adapter]
        while len(self._recent) > self.keep:
            oldest = self._recent.pop(0)
            name = self._loaded.pop(oldest.ref)
            self.model.delete_adapter(name)
            self._loaded[f"given up as {name}"] = name  # adapters are named by their count, and no name may come twice

    @property
    def in_memory(self) -> list[str]:
        """References of the adapters held, the one used longest ago first."""
        return [adapter.ref for adapter in self._recent]

    def answer(
        self,
        messages: Conversation,
        adapter: AdapterVersion | None,
        sampling: Sampling,
        on_text: Callable[[str], None],
        stopped: Callable[[], bool],
    ) -> Completion:
        """Write the next assistant turn; `on_text` gets its parts, which joined are the whole of it.

        `stopped` is asked after every token. Raises `InvalidInput` when prompt and answer do not fit into the model's context.
        """
        self.use(adapter)
        ids = prompt_ids(self.tokenizer, messages)
        room = int(self.model.config.max_position_embeddings) - len(ids)
        if room < sampling.max_tokens:
            context = len(ids) + room
            raise InvalidInput(
                f"messages: {len(ids)} tokens and max_tokens {sampling.max_tokens} do not fit into the context of {context}",
                errors=[{"field": "messages", "value": len(ids), "message": f"at most {context - sampling.max_tokens} tokens"}],
            )
        if sampling.seed is not None:
            torch.manual_seed(sampling.seed)
        device = self.model.device
        prompt = torch.tensor([ids], device=device)
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=sampling.max_tokens,
                eos_token_id=self.tokenizer.eos_token_id,
                pad_token_id=self.tokenizer.pad_token_id,
                streamer=_Parts(self.tokenizer, on_text),
                stopping_criteria=StoppingCriteriaList([_Stopped(stopped)]),
                **_how(sampling),
            )
        written = out[0, len(ids) :].tolist()
        ended = bool(written) and written[-1] == self.tokenizer.eos_token_id
        return Completion(len(ids), len(written), "stop" if ended else "length")


def _how(sampling: Sampling) -> dict[str, Any]:
    if sampling.temperature == 0:
        return {"do_sample": False}
    # top_k 0: transformers would cut to the 50 likeliest tokens, which nobody asked for
    return {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}


class _Parts(TextStreamer):
    """Hands whole words on as soon as they are certain."""

    def __init__(self, tokenizer: Any, on_text: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.on_text = on_text

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self.on_text(text)


class _Stopped(StoppingCriteria):
    def __init__(self, stopped: Callable[[], bool]) -> None:
        self.stopped = stopped

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), self.stopped(), device=input_ids.device, dtype=torch.bool)


def load_served(base_model: str, *, cache: Path) -> ServedStudent:
    """Load the base model, weights included; raises `InvalidInput` when it is not there."""
    student = ServedStudent.load(base_model, None, cache=cache)
    assert isinstance(student, ServedStudent)
    _ = student.model
    return student
