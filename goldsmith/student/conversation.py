"""A conversation as the student reads it: one rendering for training, measuring and answering."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from goldsmith.errors import InvalidInput
from goldsmith.student import Conversation

IGNORED = -100  # a label that PyTorch's cross entropy skips


@dataclass(frozen=True)
class Tokens:
    """Token ids, and as labels the same ids where the assistant speaks, `IGNORED` elsewhere; equally long."""

    input_ids: list[int]
    labels: list[int]


def render(tokenizer: Any, messages: Conversation, *, answer_next: bool) -> str:
    """The conversation in the base model's own chat template, unchanged: where that template adds a system turn (SmolLM2's
    does), the model was tuned with it, and servers that read the template from the model add it too.

    `answer_next` ends it where the assistant's answer begins. Models that can think aloud are asked not to.
    """
    text: str = tokenizer.apply_chat_template(
        [dict(message) for message in messages], tokenize=False, add_generation_prompt=answer_next, enable_thinking=False
    )
    return text


def prompt_ids(tokenizer: Any, messages: Conversation) -> list[int]:
    """What the student reads before it answers."""
    return _ids(tokenizer, render(tokenizer, messages, answer_next=True))


def tokenize(tokenizer: Any, messages: Conversation) -> Tokens:
    """Labels cover every assistant turn and the token that closes it, so that ending is learned; nothing follows the last.

    What precedes an answer is tokenized apart from it, as it is when the student answers. Raises `InvalidInput` when no turn is
    the assistant's.
    """
    input_ids: list[int] = []
    labels: list[int] = []
    done = ""
    for turn, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = render(tokenizer, messages[:turn], answer_next=True)
        after = render(tokenizer, messages[: turn + 1], answer_next=False)
        if not (before.startswith(done) and after.startswith(before)):
            raise InvalidInput("base_model: its chat template rewrites earlier turns, so answers cannot be told from prompts")
        end = after.rfind(tokenizer.eos_token)
        if end < len(before):
            raise InvalidInput(f"base_model: its chat template does not close an answer with {tokenizer.eos_token!r}")
        closed = after[: end + len(tokenizer.eos_token)]
        asked, answered = _ids(tokenizer, before[len(done) :]), _ids(tokenizer, closed[len(before) :])
        input_ids += [*asked, *answered]
        labels += [IGNORED] * len(asked) + answered
        done = closed
    if not input_ids:
        raise InvalidInput("messages: no turn is the assistant's")
    return Tokens(input_ids, labels)


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
