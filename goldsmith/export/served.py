"""What is compared with the trained model: files that are loaded again, llama.cpp with a GGUF file, Ollama with a tag."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from transformers.convert_slow_tokenizer import bytes_to_unicode

from goldsmith.errors import Unavailable
from goldsmith.export.parity import Probe, Said, steps
from goldsmith.student.conversation import prompt_ids, render
from goldsmith.student.llama_cpp import LlamaCpp
from goldsmith.student.ollama import Ollama


@dataclass(frozen=True)
class TransformersServed:
    """A model that was loaded from the very files."""

    name: str
    model: Any
    tokenizer: Any
    by: Literal["transformers"] = "transformers"

    def prompt(self, probe: Probe) -> list[int]:
        return prompt_ids(self.tokenizer, probe.messages)

    def continued(self, probe: Probe, done: int) -> list[Said]:
        likelihood = steps(self.model, probe.ids + probe.given, probe.said)[done:]
        return [Said(int(row.argmax()), float(row.max())) for row in likelihood]


@dataclass(frozen=True)
class LlamaCppServed:
    name: str
    server: LlamaCpp
    tokenizer: Any
    by: Literal["llama.cpp"] = "llama.cpp"

    def prompt(self, probe: Probe) -> list[int]:
        return self.server.tokenized(self.server.rendered(probe.messages))

    def continued(self, probe: Probe, done: int) -> list[Said]:
        ids, told = self.server.continued(probe.ids + probe.given + probe.said[:done], len(probe.said) - done)
        said: list[Said] = []
        text = b""
        for token in ids:
            text += self._bytes(token)
            known = not _cut_short(text) and bool(told) and told[0].id == token
            said.append(Said(token, told.pop(0).logprob if known else None))
        return said

    def _bytes(self, token: int) -> bytes:
        if token in self.tokenizer.all_special_ids:
            return b""  # llama.cpp writes nothing for them
        return bytes(_BYTES.get(sign, 0) for sign in self.tokenizer.convert_ids_to_tokens(token) or "")


_BYTES = {sign: byte for byte, sign in bytes_to_unicode().items()}  # type: ignore[no-untyped-call]


def _cut_short(text: bytes) -> bool:
    """Whether it ends within a character."""
    for back, byte in enumerate(reversed(text[-3:]), start=1):
        if byte >= 0xC0:
            return back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4)
        if byte < 0x80:
            return False
    return False


@dataclass(frozen=True)
class OllamaServed:
    """A tag, asked as callers ask it. It tells texts, not token ids: a token counts as said when its text comes next."""

    name: str
    server: Ollama
    tokenizer: Any
    by: Literal["ollama"] = "ollama"

    def prompt(self, probe: Probe) -> list[int] | int:
        *system, user = probe.messages
        if user["role"] != "user" or [turn["role"] for turn in system] not in ([], ["system"]):
            return self._count(self.server.chat(self.name, probe.messages, limit=1))
        answer = self.server.generate(self.name, user["content"], system=system[0]["content"] if system else None, limit=1)
        count, context = self._count(answer), answer.get("context")
        if not isinstance(context, list):
            return count  # newer versions may tell it no more
        # The prompt's last token and the answer's first are tokenized as one text there and may have become one.
        return probe.ids if count == len(probe.ids) and context[: count - 1] == probe.ids[:-1] else context[:count]

    def continued(self, probe: Probe, done: int) -> list[Said]:
        limit = len(probe.said) - done + 1
        if done == 0 and not probe.given:
            answer = self.server.chat(self.name, probe.messages, limit=limit)
            text = answer["message"]["content"]
        else:
            prompt = render(self.tokenizer, probe.messages, answer_next=True)
            forced = probe.given + probe.said[:done]
            before = self.tokenizer.decode(forced)
            if self.tokenizer(before, add_special_tokens=False)["input_ids"] != forced:
                return []  # it takes texts only, and this one would be read as other tokens
            answer = self.server.generate(self.name, prompt + before, raw=True, limit=limit)
            text = answer["response"]
        told = answer.get("logprobs") or []
        said: list[Said] = []
        for place in range(done, len(probe.said)):
            token, start = probe.said[place], self._text(probe, done, place)
            if token == self.tokenizer.eos_token_id:
                ended = text == start and answer.get("done_reason") == "stop"
                return [*said, Said(token if ended else None, None, text[len(start) :])]
            whole = self._text(probe, done, place + 1)
            # a character of several tokens is there only with the last of them
            if not text.startswith(whole.rstrip("\ufffd")):
                ended = text == start and answer.get("done_reason") == "stop"
                return [*said, Said(self.tokenizer.eos_token_id if ended else None, None, text[len(start) :])]
            at = place - done
            if at >= len(told) or told[at]["token"] != self.tokenizer.decode([token]):
                told = []  # within a character servers count tokens differently; from there on only words are compared
            said.append(Said(token, float(told[at]["logprob"]) if told else None))
        return said

    def _text(self, probe: Probe, done: int, end: int) -> str:
        text: str = self.tokenizer.decode(probe.said[done:end])
        return text

    def _count(self, answer: dict[str, Any]) -> int:
        count = answer.get("prompt_eval_count")
        if not isinstance(count, int):
            raise Unavailable(f"Ollama at {self.server.url} does not tell prompt_eval_count; 0.5 and later do")
        return count
