"""What the rehearsal teacher makes of one Messages request: a check, an answer by written rules, and the bill."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any
from uuid import uuid4

from goldsmith.teacher import rehearsal_judge, rehearsal_prompts, rehearsal_rules, rehearsal_uno, transform
from goldsmith.teacher.prices import price_of

MODELS = ("rehearsal-1",)
NO_TEMPERATURE_SINCE = "2026-10-21"
"""The version of the API from which on `temperature` and `top_p` answer 400."""
TTL_S = {"5m": 300.0, "1h": 3600.0}
HUGE_TOKENS = 40_000


class Dropped(Exception):
    """The connection is cut; the caller hears nothing."""


class Refused(Exception):
    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def check(body: Mapping[str, Any], version: str, models: Collection[str] = MODELS) -> None:
    """Refuse what the provider would refuse; raises `Refused`."""
    if body.get("model") not in models:
        raise Refused(404, f"model: {body.get('model')}")
    prompt_of(body)
    max_tokens = body.get("max_tokens")
    if not isinstance(max_tokens, int) or isinstance(max_tokens, bool) or max_tokens < 0:
        raise Refused(400, f"max_tokens: {max_tokens!r} is no integer of at least 0")
    sampling = {name: body[name] for name in ("temperature", "top_p") if name in body}
    for name, value in sampling.items():
        if version >= NO_TEMPERATURE_SINCE:
            raise Refused(400, f"{name}: Extra inputs are not permitted")
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise Refused(400, f"{name}: {value!r} is not from 0 to 1")
    if len(sampling) == 2:
        raise Refused(400, "`temperature` and `top_p` cannot both be specified for this model")
    _writer(body)


class Meter:
    """The cache and the true bill, by arithmetic of its own: the ledger is held to it, not to itself. Thread-safe."""

    def __init__(self) -> None:
        self.tokens: Counter[str] = Counter()
        """`requests batch_requests input output cache_read cache_write_5m cache_write_1h`, of all that was billed."""
        self.usd = 0.0
        self._cached: dict[str, tuple[float, str]] = {}
        self._lock = threading.Lock()

    def input(self, body: Mapping[str, Any]) -> tuple[dict[str, int], str | None]:
        """The input part of `usage`, and the name of what `remember` may put into the cache."""
        prompt, system = prompt_of(body), _text(body.get("system", ""))
        total = count(prompt, system)
        prefix, ttl = _marked(body)
        tokens = min(total, math.ceil(len(prefix.encode()) / 4))
        if ttl is None or tokens < price_of(str(body["model"])).cache_min:
            return _input(total), None
        name = f"{ttl} {hashlib.sha256(prefix.encode()).hexdigest()}"
        with self._lock:
            until, _ = self._cached.get(name, (0.0, ttl))
            if until > time.monotonic():
                self._cached[name] = time.monotonic() + TTL_S[ttl], ttl
                return _input(total - tokens, read=tokens), None
        return _input(total - tokens, **{f"write_{ttl}": tokens}), name

    def remember(self, name: str | None) -> None:
        """From now on the prefix is read from the cache: a real one has it when the answer begins, not when it is asked."""
        if name is not None:
            ttl = name.partition(" ")[0]
            with self._lock:
                self._cached[name] = time.monotonic() + TTL_S[ttl], ttl

    def charge(self, model: str, usage: Mapping[str, Any], *, batch: bool = False) -> None:
        price = price_of(model)
        written = usage["cache_creation"]
        read = usage["cache_read_input_tokens"]
        short, long = written["ephemeral_5m_input_tokens"], written["ephemeral_1h_input_tokens"]
        weighed = usage["input_tokens"] + price.cache_read * read + price.cache_write_5m * short + price.cache_write_1h * long
        usd = (price.input * weighed + price.output * usage["output_tokens"]) / 1e6 * ((price.batch or 1) if batch else 1)
        with self._lock:
            self.usd += usd
            self.tokens.update(
                {
                    "requests": 1,
                    "batch_requests": int(batch),
                    "input": usage["input_tokens"],
                    "output": usage["output_tokens"],
                    "cache_read": read,
                    "cache_write_5m": short,
                    "cache_write_1h": long,
                }
            )

    def bill(self) -> dict[str, Any]:
        with self._lock:
            return {"usd": round(self.usd, 6), **self.tokens}


def compose(body: Mapping[str, Any], usage: Mapping[str, Any], how: str | None = None) -> dict[str, Any]:
    """The message that answers a checked request. `how`: a misbehaviour that shows in the message itself."""
    prompt = prompt_of(body)
    text = _writer(body)(prompt)
    if how == "empty":
        text = ""
    if how == "huge":
        text = (text + " ") * (HUGE_TOKENS * 4 // (len(text.encode()) + 1) + 1)
    content = [{"type": "text", "text": text}]
    if how == "thinking":
        content.insert(0, {"type": "thinking", "thinking": "…", "signature": "s"})
    stop_reason, output = "end_turn", count(text)
    if output > body["max_tokens"] and how != "huge":
        stop_reason, output = "max_tokens", body["max_tokens"]
        content[-1]["text"] = text.encode()[: output * 4].decode("utf-8", "ignore")
    if how == "refusal":
        stop_reason, content = "refusal", []
    if not body["max_tokens"]:  # nothing but the prefix was wanted in the cache
        content = []
    return {
        "id": f"msg_{uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": output},
    }


def count(*texts: str) -> int:
    """Tokens are bytes over four, rounded up for each text."""
    return sum(math.ceil(len(text.encode()) / 4) for text in texts)


def prompt_of(body: Mapping[str, Any]) -> str:
    """The text of the last turn, which must be the user's."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "messages: at least one message is required")
    last = messages[-1]
    if not isinstance(last, dict) or last.get("role") != "user":
        raise Refused(400, f"messages.{len(messages) - 1}: the last message must have the role user")
    content = _text(last.get("content"))
    if not content.strip():
        raise Refused(400, f"messages.{len(messages) - 1}: text content must not be empty")
    return content


def system_of(body: Mapping[str, Any]) -> str:
    return _text(body.get("system", ""))


def _text(content: object) -> str:
    if isinstance(content, list):
        return "".join(_block_text(block) for block in content)
    return content if isinstance(content, str) else ""


def _block_text(block: object) -> str:
    return str(block.get("text", "")) if isinstance(block, dict) and block.get("type") == "text" else ""


def _marked(body: Mapping[str, Any]) -> tuple[str, str | None]:
    """The prefix up to the last cache mark and how long it is kept; None: nothing is marked."""
    prefix, found, ttl = "", "", None
    for content in (body.get("system", ""), body["messages"][-1].get("content")):
        for block in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            prefix += _block_text(block)
            mark = block.get("cache_control") if isinstance(block, dict) else None
            if mark:
                ttl = mark.get("ttl", "5m")
                if mark.get("type") != "ephemeral" or ttl not in TTL_S:
                    raise Refused(400, f"cache_control: {mark!r}")
                found = prefix
    return found, ttl


def _input(plain: int, *, read: int = 0, write_5m: int = 0, write_1h: int = 0) -> dict[str, Any]:
    return {
        "input_tokens": plain,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": write_5m + write_1h,
        "cache_creation": {"ephemeral_5m_input_tokens": write_5m, "ephemeral_1h_input_tokens": write_1h},
    }


# By the properties of the schema that a request asks for.
WRITERS: Mapping[frozenset[str], Callable[[str], str]] = {
    frozenset({"rules"}): rehearsal_rules.rules,
    frozenset({"prompts"}): rehearsal_prompts.prompts,
    frozenset({"translation"}): rehearsal_prompts.translation,
    rehearsal_judge.SCORES: rehearsal_judge.scores,
    rehearsal_judge.BETTER: rehearsal_judge.better,
    rehearsal_uno.SCORE: rehearsal_uno.score,
    rehearsal_uno.COVERED: rehearsal_uno.covered,
}


def _writer(body: Mapping[str, Any]) -> Callable[[str], str]:
    wanted = (body.get("output_config") or {}).get("format")
    if wanted is None:
        return rehearsal_uno.revised if rehearsal_uno.is_revision(prompt_of(body)) else transform.answer
    properties = frozenset((wanted.get("schema") or {}).get("properties") or {})
    if wanted.get("type") != "json_schema" or properties not in WRITERS:
        known = " or ".join(", ".join(sorted(each)) for each in WRITERS)
        raise Refused(400, f"output_config.format: this rehearsal fills a schema of these properties: {known}")
    return WRITERS[properties]
