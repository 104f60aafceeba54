"""Golden sets: prompts with what is expected of an answer, written down before anybody answers.

A row expects exactly one thing: a text (or one of several), a pattern, a JSON schema, or that the gates pass. Patterns are
those of the `regex` package, because it can be told when to stop; schemas are read offline, and the patterns in them by an
engine that takes linear time, so that no golden set can hold up a worker or fetch from elsewhere. What cannot be stopped is
measured beforehand: how long a pattern gets when its repetitions are written out, and how often a schema refers to itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Self

import jsonschema_rs
import regex
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from goldsmith.datasets import Message
from goldsmith.errors import InvalidInput

MAX_TEXT = 20_000  # characters of a prompt or of an expected answer
MAX_PATTERN = 2_000
MAX_UNROLLED = 20_000
"""Characters. The package writes repetitions out: 75 characters, 14 nested `{2}`, took 8 s and 2 GB to compile; this takes 0.05 s."""
MAX_REFERENCES = 40
"""Of one schema. Parts that refer to two others each double the work: so many take 0.4 s in the worst order, 80 a week."""
MAX_TEXTS = 20
PROBE_S, MATCH_S = 0.1, 1.0
"""A pattern that needs longer for a probe is refused; one that needs longer for an answer says nothing about it. Ordinary ones
take microseconds."""
KINDS = ("expected", "pattern", "schema", "rules")
PROBES = ("a" * 60 + "!", "0" * 60 + "!", "a " * 40 + "!", " " * 60 + "!", "ab" * 40 + "!", "x=" * 40 + "!")


class Lengths(BaseModel):
    """The gates pass (K1 to K12), with so many words."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    min_words: int = Field(20, ge=1, le=5000)
    max_words: int = Field(300, ge=1, le=5000)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words: {self.min_words} is above max_words {self.max_words}")
        return self


class Expectation(BaseModel):
    """What is expected of an answer: exactly one of these."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    expected: list[str] | None = Field(None, min_length=1, max_length=MAX_TEXTS, description="One of these texts.")
    pattern: str | None = Field(None, min_length=1, max_length=MAX_PATTERN, description="Is found in the answer.")
    schema_: dict[str, Any] | None = Field(None, alias="schema", description="The answer is JSON of this schema.")
    rules: Lengths | None = Field(None, description="Every gate passes.")

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if self._of(kind) is not None)

    def _of(self, kind: str) -> object:
        return getattr(self, "schema_" if kind == "schema" else kind)

    @model_validator(mode="before")
    @classmethod
    def _one_text(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("expected"), str):
            return data | {"expected": [data["expected"]]}
        return data

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [kind for kind in KINDS if self._of(kind) is not None]
        if not given:
            raise ValueError(f"nothing is expected of the answer: give one of {', '.join(KINDS)}")
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given; a row expects one of them: write a row for each")
        if self.expected is not None:
            _check_texts(self.expected)
        if self.pattern is not None:
            compiled(self.pattern)
        if self.schema_ is not None:
            validator(json.dumps(self.schema_))
        return self

    def stored(self) -> dict[str, Any]:
        """As a dataset's row keeps it."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _check_texts(texts: Sequence[str]) -> None:
    for text in texts:
        if not text.strip() or len(text) > MAX_TEXT:
            raise ValueError(f"expected: a text of 1 to {MAX_TEXT:,} characters is wanted, not one of {len(text.strip()):,}")


class GoldenRow(BaseModel):
    """One line of an uploaded golden set."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    messages: list[Message] = Field(min_length=1, max_length=50, description="What is asked; the user speaks last.")
    expectation: Expectation
    as_written: bool = Field(description="Whether `messages` were given, to be sent as they are whatever the config.")
    config_id: str | None = Field(None, min_length=1, max_length=200)
    language: str | None = Field(None, pattern="^[a-z]{2,3}$")
    group: str | None = Field(None, min_length=1, max_length=200, description="Rows of one group are no independent evidence.")

    @property
    def input(self) -> str:
        return self.messages[-1].content


class _Line(BaseModel):
    """As it is written."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input: str | None = Field(None, min_length=1, max_length=MAX_TEXT)
    messages: list[Message] | None = Field(None, min_length=1, max_length=50)
    expected: str | list[str] | None = None
    pattern: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema", min_length=1)
    rules: dict[str, Any] | None = None
    config_id: str | None = None
    language: str | None = None
    group: str | None = None


KEYS = ("input", "messages", *KINDS, "config_id", "language", "group")


def read_row(data: Any) -> GoldenRow:
    """A line of a golden set; raises `ValidationError` or `ValueError` that says what is wrong with it."""
    if not isinstance(data, dict):
        raise ValueError(f'a JSON object is wanted, such as {{"input": "2 + 2", "expected": "4"}}, not {type(data).__name__}')
    if "\\u0000" in json.dumps(data) or regex.search(r"[\ud800-\udfff]", json.dumps(data, ensure_ascii=False)):
        raise ValueError("must not contain NUL or half characters")
    line = _Line.model_validate(data)
    if (line.input is None) == (line.messages is None):
        raise ValueError("input: exactly one of input and messages says what is asked")
    expectation = Expectation.model_validate({kind: data[kind] for kind in KINDS if data.get(kind) is not None})
    messages = line.messages or [Message(role="user", content=line.input or "")]
    if messages[-1].role != "user":
        raise ValueError("messages: the last one must be the user's; what the answer should be belongs into expected")
    if any(not message.content.strip() or len(message.content) > MAX_TEXT for message in messages):
        raise ValueError(f"messages: a text of 1 to {MAX_TEXT:,} characters is wanted in each")
    return GoldenRow(
        messages=messages, expectation=expectation, as_written=line.messages is not None,
        config_id=line.config_id, language=line.language, group=line.group,
    )  # fmt: skip


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> regex.Pattern[str]:
    """Raises `ValueError` when it is no pattern, or one that would take the memory of the machine."""
    if flags := _FLAGS.search(pattern):
        raise ValueError(f"pattern: the flags {flags[0]}…) are not taken (x and V1 are not); write it without them")
    if (length := unrolled(pattern)) > MAX_UNROLLED:
        raise ValueError(
            f"pattern: with its repetitions written out it has some {length:,} characters; at most {MAX_UNROLLED:,} are taken"
        )
    try:
        return regex.compile(pattern)
    except (regex.error, OverflowError, RecursionError, MemoryError) as error:
        raise ValueError(f"pattern: it does not compile: {error}") from None


_FLAGS = re.compile(r"\(\?[a-zA-Z0]*(?:x|V1)")  # both change what brackets mean
_TOKENS = re.compile(
    r"\\.|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]|(?P<open>\()|(?P<close>\))|(?P<least>\+|\{\d+(?:,\d*)?\})[?+]?|.", re.DOTALL
)


def unrolled(pattern: str) -> int:
    """About how many characters a pattern has when each part stands there as often as it must be found at least."""
    groups, last = [0], 0
    for token in _TOKENS.finditer(pattern):
        if token["open"]:
            groups.append(0)
            last = 0
        elif token["close"]:
            last = groups.pop() if len(groups) > 1 else 0
            groups[-1] += last
        elif token["least"]:
            least = 1 if token["least"] == "+" else int(re.findall(r"\d+", token["least"])[0])
            groups[-1] += last * least  # one more than it must be: so the package writes them
            last += last * least
        else:
            groups[-1] += (last := 1)
    return sum(groups)


def check_pattern(pattern: str, *texts: str) -> None:
    """Raise `ValueError` for one that explodes on a short text."""
    for text in (*PROBES, *texts):
        if found(pattern, text, PROBE_S) is None:
            raise ValueError(
                f"pattern: it takes more than {PROBE_S:g} s on {len(text)} characters ({text[:12]!r} …); nested repetitions such as"
                " (a|aa)+ explode: write it without them"
            )


def found(pattern: str, text: str, seconds: float = MATCH_S) -> bool | None:
    """Whether the pattern is found in the text; None where that takes longer than `seconds`."""
    try:
        return compiled(pattern).search(text, timeout=seconds) is not None
    except TimeoutError:
        return None


_REFERENCE = re.compile(r'"\$(?:ref|dynamicRef|recursiveRef)":')


@lru_cache(maxsize=4096)
def validator(schema: str) -> jsonschema_rs.Validator:
    """Of a schema as JSON. Raises `ValueError` when it is none, refers to what is not in it, or refers too often."""
    if (references := len(_REFERENCE.findall(schema))) > MAX_REFERENCES:
        raise ValueError(f"schema: it refers to parts of itself {references} times; at most {MAX_REFERENCES} are taken")
    try:
        return jsonschema_rs.validator_for(json.loads(schema), offline=True, pattern_options=jsonschema_rs.RegexOptions())
    except ValueError as error:
        raise ValueError(f"schema: it is no JSON schema: {str(error).splitlines()[0]}") from None


def why_not(schema: dict[str, Any], text: str) -> str | None:
    """Why a text is not JSON of this schema; None when it is."""
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    try:
        first = next(validator(json.dumps(schema)).iter_errors(value), None)
    except ValueError as error:  # half characters, or hundreds of brackets in each other
        return f"not JSON that can be held against the schema: {error}"[:300]
    return None if first is None else f"not of the schema: {first.message}"[:300]


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def expectation_of(stored: dict[str, Any], ref: str) -> Expectation:
    """What a row of a dataset expects; raises `InvalidInput` where somebody wrote something else into it."""
    try:
        return Expectation.model_validate(stored)
    except ValidationError as error:
        raise InvalidInput(f"dataset: {ref} has a row whose expectation cannot be read: {error.errors()[0]['msg']}") from None
