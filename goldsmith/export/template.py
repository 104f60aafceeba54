"""The tokenizer's chat template as a Go template, and the Modelfile around it: what Ollama needs beside a GGUF file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from goldsmith.adapters import AdapterVersion
from goldsmith.errors import InvalidInput
from goldsmith.student import Conversation, Student
from goldsmith.student.conversation import render

SMALLEST_CONTEXT = 4096
"""Ollama's own default depends on the device, and a prompt that is longer than it is cut without a word."""

ROOM_TO_ANSWER = 1024

# Bases that Ollama has under a name of its own. There `qwen3:4b` is the thinking build, another model than this one.
OLLAMA_NAMES = {"Qwen/Qwen3-4B-Instruct-2507": "qwen3:4b-instruct-2507-fp16"}


@dataclass(frozen=True)
class ChatForm:
    """A chat template that writes each turn between two fixed texts; what it says before the first one depends on its role."""

    beginning: str
    """Before a first turn that is not the system's; some templates put a system turn of their own here."""
    turns: dict[str, tuple[str, str]]
    """By role, what stands before and after the content. The system's turn is the first."""
    answer: str
    """Where the answer begins."""

    def rendered(self, messages: Conversation) -> str:
        """What the Go template writes, before an answer."""
        turns = [f"{self.turns[turn['role']][0]}{turn['content']}{self.turns[turn['role']][1]}" for turn in messages]
        return ("" if messages[0]["role"] == "system" else self.beginning) + "".join(turns) + self.answer

    def go(self) -> str:
        """Every text is a string literal, so that nothing depends on how blanks around actions are trimmed."""
        cases = [
            f'if eq $turn.Role "{role}" }}}}{{{{ {_quoted(before)} }}}}{{{{ $turn.Content }}}}{{{{ {_quoted(after)} }}}}'
            for role, (before, after) in self.turns.items()
        ]
        first = f'{{{{ if and (eq $i 0) (ne $turn.Role "system") }}}}{{{{ {_quoted(self.beginning)} }}}}{{{{ end }}}}'
        return (
            f"{{{{ range $i, $turn := .Messages }}}}{first if self.beginning else ''}"
            f"{{{{ {'{{ else '.join(cases)}{{{{ end }}}}{{{{ end }}}}{{{{ {_quoted(self.answer)} }}}}"
        )


def chat_form(tokenizer: Any) -> ChatForm:
    """Found by rendering conversations; raises `InvalidInput` when the template does anything that a `ChatForm` cannot."""
    system, user, other, answer = ({"role": role, "content": f"Xq{n}zX"} for n, role in enumerate(_ROLES))

    def said(*turns: Mapping[str, str], answer_next: bool = False) -> str:
        return render(tokenizer, turns, answer_next=answer_next)

    try:
        alone, asked = said(user), said(user, answer_next=True)
        head, after_user = alone.split(user["content"])
        before_user = said(user, other).split(user["content"])[1].split(other["content"])[0].removeprefix(after_user)
        between = said(user, answer, other)
        before_answer = _between(between, user, answer).removeprefix(after_user)
        with_system = said(system, user)
        form = ChatForm(
            beginning=head.removesuffix(before_user),
            turns={
                "system": (
                    with_system.split(system["content"])[0],
                    _between(with_system, system, user).removesuffix(before_user),
                ),
                "user": (before_user, after_user),
                "assistant": (before_answer, _between(between, answer, other).removesuffix(before_user)),
            },
            answer=asked.removeprefix(alone),
        )
        for turns in ([user], [system, user], [user, answer, other], [system, user, answer, other, answer, user]):
            if form.rendered(turns) != said(*turns, answer_next=True):
                raise InvalidInput(
                    f"adapter: {_NOT_GO}: it writes {[turn['role'] for turn in turns]} otherwise than turn by turn"
                )
    except (jinja2.TemplateError, ValueError) as error:  # a turn that it refuses, writes twice, or leaves out
        raise InvalidInput(f"adapter: {_NOT_GO}: {error}") from error
    return form


_ROLES = ("system", "user", "user", "assistant")
_NOT_GO = "the base model's chat template cannot be written as a Go template"


def options(student: Student, adapter: AdapterVersion) -> dict[str, Any]:
    """Ollama's options for the model. Its own penalty for repetition (1.1) would make it answer otherwise than it was trained
    to; the context takes what training took, and an answer."""
    tokenizer, model = student.tokenizer, student.model
    ends = model.generation_config.eos_token_id
    stops = tokenizer.convert_ids_to_tokens(ends if isinstance(ends, list) else [tokenizer.eos_token_id])
    longest = int(adapter.method.get("max_length") or 0) + ROOM_TO_ANSWER
    return {
        "temperature": 0.7,
        "top_p": 0.8,
        "repeat_penalty": 1.0,
        "num_ctx": min(int(model.config.max_position_embeddings), max(SMALLEST_CONTEXT, longest)),
        "stop": list(dict.fromkeys([tokenizer.eos_token, *stops])),
    }


def modelfile(model: str, adapter: str | None, template: str, options: Mapping[str, Any], remarks: Sequence[str]) -> str:
    """For `ollama create -f`, beside the files that it names."""
    lines = [f"# {remark}" for remark in remarks]
    lines.append(f"FROM ./{model}")
    if adapter is not None:
        lines.append(f"ADAPTER ./{adapter}")
    lines.append(f'TEMPLATE """{template}"""')
    for name, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            lines.append(f"PARAMETER {name} {json.dumps(one) if isinstance(one, str) else f'{one:g}'}")
    return "\n".join(lines) + "\n"


def _between(text: str, first: Mapping[str, str], second: Mapping[str, str]) -> str:
    return text.split(first["content"])[1].split(second["content"])[0]


def _quoted(text: str) -> str:
    """A Go string literal; JSON's escapes are all Go's, too."""
    return json.dumps(text, ensure_ascii=False)
