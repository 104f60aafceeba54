"""Intercept: one text, transformed as one of the devserver's configs says, answered by the model that serves."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from goldsmith.kinds.base import AdapterRef, ArtifactRef, JobConfig, JobResult


def _nfc(value: Any) -> Any:
    """macOS writes file names in NFD, and a config's id is the name of its file."""
    return unicodedata.normalize("NFC", value) if isinstance(value, str) else value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value


def _primary(value: Any) -> Any:
    """de-AT and de_AT are read as de: contexts are written per language, not per country."""
    return re.split("[-_]", value)[0].lower() if isinstance(value, str) else value


class InterceptConfig(JobConfig):
    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "io"
    timeout_s: ClassVar[int] = 600
    priority: ClassVar[int] = 8

    kind: Literal["intercept"] = "intercept"
    config_id: Annotated[str, BeforeValidator(_nfc)] = Field(
        min_length=1, max_length=128, description="Which config transforms the text, such as clay_workshop; compared in NFC."
    )
    user_input: Annotated[str, AfterValidator(_not_blank)] = Field(min_length=1, max_length=10_000, description="The text.")
    language: Annotated[str, BeforeValidator(_primary)] | None = Field(
        None,
        pattern=r"^[a-z]{2,3}$",
        description="Which language of the config's context: de, en, …; en when empty or missing there.",
    )
    contexts: ArtifactRef | None = Field(
        None, description="The contexts.json of an import; filled in at submit with the newest one."
    )
    adapter: AdapterRef | None = Field(
        None, description="What answers; filled in at submit with the champion. None: the base model."
    )
    max_tokens: int | None = Field(None, ge=1, le=4096, description="Longest answer; empty: what the config says, else 512.")
    temperature: float | None = Field(None, ge=0, le=2, description="Empty: what the config says, else 0.7.")


class InterceptResult(JobResult):
    output_text: str
    model_used: str = Field(description="What the server says that answered.")
    adapter: str | None = Field(description="`adapter:<name>@<version>`, or null for the base model.")
    config_id: str
