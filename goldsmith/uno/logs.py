"""Sessions out of logs: one JSON object a line, a chat as OpenAI or ShareGPT write it, or a row of feedback."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from goldsmith.language import language_of
from goldsmith.sessions import Session, Signal
from goldsmith.uno.prompts import language_of_prompts
from goldsmith.uno.runs import too_long

Format = Literal["openai", "sharegpt", "feedback"]

MAX_TEXT = 1_000_000  # characters of one text; longer than any model reads
LANGUAGE_FROM = 2_000  # characters that tell the language
CORRECTED = {"de": "So wäre es richtig:", "en": "This would have been right:"}
_ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant", "bot": "assistant", "bard": "assistant", "bing": "assistant",
    "tool": "tool", "function": "tool", "function_call": "tool", "observation": "tool",
}  # fmt: skip

Text = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TEXT)]


class _Line(BaseModel):
    """Keys that are not named here are left out, and counted."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    id: Annotated[str, StringConstraints(min_length=1, max_length=200)] | int | None = Field(
        None, validation_alias=AliasChoices("id", "session_id", "conversation_id")
    )
    language: str | None = Field(None, pattern="^[a-z]{2,3}$", description="ISO 639, such as de; empty: it is detected.")
    config_id: str | None = Field(None, min_length=1, max_length=200)

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, data: Any) -> Any:
        _check_texts(data, "")
        return data


class Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    type: str = "text"
    text: Text = ""


class OpenAIMessage(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    role: str
    content: Text | list[Part] | None = None

    @property
    def turn(self) -> tuple[str, str]:
        if isinstance(self.content, list):
            return _role(self.role), "\n".join(part.text for part in self.content if part.text.strip()).strip()
        return _role(self.role), (self.content or "").strip()


class ShareGPTMessage(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    role: str = Field(validation_alias=AliasChoices("from", "role"))
    value: Text | None = Field(validation_alias=AliasChoices("value", "content", "text"))

    @property
    def turn(self) -> tuple[str, str]:
        return _role(self.role), (self.value or "").strip()


class _Chat(_Line):
    system: Text | None = None

    def turns(self) -> list[tuple[str, str]]:
        raise NotImplementedError


class OpenAIChat(_Chat):
    """`{"messages": [{"role": "user", "content": "…"}, …]}`"""

    messages: list[OpenAIMessage] = Field(min_length=1, max_length=10_000)

    def turns(self) -> list[tuple[str, str]]:
        return [message.turn for message in self.messages]


class ShareGPTChat(_Chat):
    """`{"conversations": [{"from": "human", "value": "…"}, …]}`"""

    conversations: list[ShareGPTMessage] = Field(min_length=1, max_length=10_000)

    def turns(self) -> list[tuple[str, str]]:
        return [message.turn for message in self.conversations]


class FeedbackRow(_Line):
    """`{"text": "…", "score": 0.5, "correction": "…"}`, best with `query` and `answer`.

    With `answer` the text is what was said about it; without, the text is what was judged. Where no `query` is given, the text is
    also what was asked: the task is then to better it.
    """

    query: Words | None = Field(
        None, validation_alias=AliasChoices("query", "question", "prompt", "input", "user_question", "user_input")
    )
    answer: Words | None = Field(
        None, validation_alias=AliasChoices("answer", "response", "output", "ai_response", "model_output")
    )
    text: Words | None = None
    comment: Words | None = Field(None, validation_alias=AliasChoices("comment", "feedback"))
    score: float | None = Field(
        None, allow_inf_nan=False, validation_alias=AliasChoices("score", "feedback_score", "rating", "user_rating")
    )
    correction: Words | None = Field(None, validation_alias=AliasChoices("correction", "corrected"))
    system: Text | None = None

    @model_validator(mode="after")
    def _says_something(self) -> FeedbackRow:
        if self.answer is None and self.text is None:
            raise ValueError("text: it, or answer, must say what the feedback is about")
        if self.answer is not None and self.query is None:
            raise ValueError("query: with answer it is needed too")
        return self


@dataclass
class Read:
    """What a log held."""

    sessions: list[Session] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    without_query: int = 0
    """Rows of feedback whose text stands for the query."""
    scores: tuple[float, float] | None = None
    """The scale that scores were read on; None: there were none."""


def format_of(data: Any) -> Format:
    """Raises `ValueError` that says what is wanted."""
    if not isinstance(data, dict):
        raise ValueError(f'a JSON object is wanted, such as {{"messages": [...]}}, not {type(data).__name__}')
    if "messages" in data:
        return "openai"
    if "conversations" in data:
        return "sharegpt"
    known = {"text", "correction", "corrected", "score", "feedback_score", "rating", "user_rating", "comment", "feedback"}
    if known & set(data):
        return "feedback"
    raise ValueError("it has neither messages (OpenAI), nor conversations (ShareGPT), nor text, score or correction (feedback)")


_MODELS: Mapping[Format, type[OpenAIChat | ShareGPTChat | FeedbackRow]] = {
    "openai": OpenAIChat,
    "sharegpt": ShareGPTChat,
    "feedback": FeedbackRow,
}


def parse(data: Any) -> OpenAIChat | ShareGPTChat | FeedbackRow:
    """One line. Raises `ValueError`, or pydantic's, which name the field."""
    try:
        return _MODELS[format_of(data)].model_validate(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def ignored(data: Mapping[str, Any]) -> list[str]:
    """Its keys that are not read."""
    known: set[str] = set()
    for name, one in _MODELS[format_of(data)].model_fields.items():
        alias = one.validation_alias
        known |= {name} if alias is None else {str(choice) for choice in getattr(alias, "choices", [alias])}
    return sorted(str(key)[:64] for key in data if key not in known)


def sessions_of_lines(
    lines: Iterable[Any],
    *,
    form: Literal["auto", "openai", "sharegpt", "feedback"],
    limit: int | None,
    max_characters: int,
    private: bool,
) -> Read:
    """Sessions of a stored upload, whose lines were checked when it came, in their order."""
    read = Read()
    parsed: list[OpenAIChat | ShareGPTChat | FeedbackRow] = []
    for data in lines:
        found = format_of(data)
        read.formats[found] += 1
        if form in ("auto", found):
            parsed.append(parse(data))
        else:
            read.dropped[f"of the format {found}, not {form}"] += 1
    read.scores = scale_of([line.score for line in parsed if isinstance(line, FeedbackRow) and line.score is not None])
    taken: dict[str, int] = {}
    for line in parsed:
        made = _of_row(line, read) if isinstance(line, FeedbackRow) else _of_chat(line)
        if isinstance(made, str):
            read.dropped[made] += 1
        elif sum(len(text or "") for text in (made["query"], made["answer"], made["feedback"])) > max_characters:
            read.dropped[too_long(max_characters)] += 1
        elif limit is not None and len(read.sessions) == limit:
            read.dropped["beyond the limit"] += 1
        else:
            read.sessions.append(_session(line, made, len(read.sessions), taken, private))
    return read


def scale_of(scores: Sequence[float]) -> tuple[float, float] | None:
    """The narrowest of the usual scales that holds all scores; one that nobody knows is from its lowest to its highest."""
    if not scores:
        return None
    low, high = min(scores), max(scores)
    for scale in ((-1.0, 1.0), (1.0, 5.0), (0.0, 5.0), (1.0, 10.0), (0.0, 10.0), (0.0, 100.0)):
        if scale[0] <= low and high <= scale[1]:
            return scale
    return low, high


def _session(
    line: OpenAIChat | ShareGPTChat | FeedbackRow, made: dict[str, Any], ordinal: int, taken: dict[str, int], private: bool
) -> Session:
    unique = name = str(line.id) if line.id is not None else _name(made)
    while unique in taken:
        taken[name] += 1
        unique = f"{name}-{taken[name]}"
    taken[unique] = 1
    return Session(
        ordinal=ordinal,
        session_id=unique,
        source="feedback" if isinstance(line, FeedbackRow) else "chat",
        config_id=line.config_id,
        language=line.language or language_of(made["query"][:LANGUAGE_FROM]),
        private=private,
        **made,
    )


def _name(made: Mapping[str, Any]) -> str:
    """The same session has the same name in every upload."""
    said = "\0".join(str(made[name]) for name in ("system", "query", "answer", "feedback"))
    return f"s-{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def _of_chat(line: OpenAIChat | ShareGPTChat) -> dict[str, Any] | str:
    """Its first answer and all that the user said afterwards; or why it is no session."""
    turns = [(role, text) for role, text in line.turns() if text]
    system = "\n\n".join([*([line.system.strip()] if line.system else []), *(text for role, text in turns if role == "system")])
    spoken = [(role, text) for role, text in turns if role in ("user", "assistant")]
    first = next((at for at, (role, _) in enumerate(spoken) if role == "user"), None)
    if first is None:
        return "no turn of a user"
    answered = next((at for at, (role, _) in enumerate(spoken) if role == "assistant" and at > first), None)
    if answered is None:
        return "no answer"
    said = [text for role, text in spoken[answered + 1 :] if role == "user"]
    return {
        "system": system or None,
        "query": "\n\n".join(text for _, text in spoken[first:answered]),
        "answer": spoken[answered][1],
        "feedback": numbered_feedback(said),
        "signal": "turns" if said else "none",
        "weight": 1.0 if said else 0.0,
    }


def _of_row(line: FeedbackRow, read: Read) -> dict[str, Any] | str:
    answer = line.answer or line.text
    assert answer is not None
    if line.query is None:
        read.without_query += 1
    query = line.query or answer
    words = line.comment, line.text if line.answer is not None else None
    said = [one for one in words if one]
    if line.correction and line.correction.split() != answer.split():
        language = line.language or language_of(query[:LANGUAGE_FROM])
        said.append(f"{CORRECTED[language_of_prompts(language)]} {line.correction}")
    signal: Signal = "none"
    if line.correction and line.correction.split() != answer.split():
        signal = "correction"
    elif line.score is not None:
        signal = "score"
    elif said:
        signal = "turns"
    return {
        "system": line.system or None,
        "query": query,
        "answer": answer,
        "feedback": numbered_feedback(said),
        "signal": signal,
        "weight": _weight(line.score, read.scores, bool(said)),
    }


def numbered_feedback(said: Sequence[str]) -> str | None:
    """`Feedback 1: …`, one below the other; None when nothing was said."""
    return "\n".join(f"Feedback {number}: {text}" for number, text in enumerate(said, 1)) or None


def _weight(score: float | None, scale: tuple[float, float] | None, words: bool) -> float:
    """Words weigh 1; a score alone as much as it is away from the middle of its scale, the ends 1."""
    if words or score is None or scale is None or scale[0] == scale[1]:
        return 1.0 if words else 0.0
    middle = (scale[0] + scale[1]) / 2
    return abs(score - middle) / (scale[1] - middle)


def _role(role: str) -> str:
    return _ROLES.get(role.strip().lower(), "tool")


def _check_texts(value: Any, where: str) -> None:
    """Raises `ValueError` for what Postgres cannot store."""
    if isinstance(value, str) and re.search(r"[\0\ud800-\udfff]", value):
        raise ValueError(f"{where or 'text'}: must not contain NUL or half characters")
    if isinstance(value, dict):
        for name, one in value.items():
            _check_texts(one, f"{where}.{name}" if where else str(name))
    if isinstance(value, list):
        for at, one in enumerate(value):
            _check_texts(one, f"{where}.{at}")
