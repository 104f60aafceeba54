"""What other programs keep on the GPU, and how they are asked to let go of it: Ollama, the devserver's GPU service, ComfyUI.

None of them knows a reservation: what was unloaded may be loaded again the next moment. Every request has a connection of its
own and a time limit for the whole of it, and what a server answers is believed only as far as NVML confirms it (see `room`).
"""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from goldsmith.settings import Settings
from goldsmith.student.chat import ollama_url

SAFETY_MODELS = ("qwen3:1.7b", "qwen3-vl:2b", "llama-guard3:1b")
"""The devserver's: after three failed calls of one of them it restarts Ollama and closes the workshop."""

CONNECT_S, LIST_S, UNLOAD_S = 2.0, 5.0, 30.0
LONGEST = 4_000_000  # bytes of an answer; a list of models has some thousand
MIB = 2**20


Answer = TypeVar("Answer", bound=BaseModel)


class Trouble(Exception):
    """A service did not do or say what it was asked; the words quote no body."""


class NotRunning(Trouble):
    """Nobody listens there, so nobody works there."""


@dataclass(frozen=True)
class Held:
    """A model that a service keeps on a GPU."""

    service: str
    model: str
    bytes: int | None
    """As the service says; None when it does not."""
    kept: str = ""
    """Why it must stay; empty: it may go."""
    path: str = field(default="", repr=False)
    body: dict[str, Any] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.service} {self.model}" + ("" if self.bytes is None else f" {self.bytes / 1e9:.1f} GB")


class Service(Protocol):
    @property
    def name(self) -> str: ...

    def held(self) -> list[Held]:
        """What it keeps now; raises `Trouble`. A service that does not run keeps nothing."""

    def unload(self, held: Held) -> None:
        """Ask it to let go; returns when it says that it did, raises `Trouble` when it does not."""


def services(settings: Settings) -> list[Service]:
    """Those that the admin allows to be asked, in the order of GOLDSMITH_GPU_UNLOAD."""
    keep = (*SAFETY_MODELS, *settings.gpu_keep)
    made: dict[str, Service] = {
        "ollama": Ollama(ollama_url(settings.ollama_host), keep),
        "devserver": GpuService(settings.gpu_service, keep),
        "comfyui": ComfyUI(settings.comfyui),
    }
    return [made[name] for name in dict.fromkeys(settings.gpu_unload)]


def busy(settings: Settings) -> str | None:
    """Why nothing at all may be unloaded now: somebody waits for a picture, or may do. None: nobody does."""
    asked = [("ComfyUI", f"{settings.comfyui}/queue")]
    if settings.devserver_url:
        asked.append(("the devserver", f"{settings.devserver_url.rstrip('/')}/api/queue-status"))
    for name, url in asked:
        try:
            queue = _Queue.model_validate(_ask("GET", url, LIST_S))
        except NotRunning:
            continue
        except (Trouble, ValidationError) as error:
            return f"{name} does not say whether it works ({_short(error)})"
        if queue.in_flight:
            return f"{name} has {queue.in_flight} job{'s' if queue.in_flight > 1 else ''} in flight"
    return None


class _Queue(BaseModel):
    """ComfyUI lists its jobs, the devserver counts them."""

    queue_running: list[Any] | int
    queue_pending: list[Any] | int

    @property
    def in_flight(self) -> int:
        return sum(len(one) if isinstance(one, list) else one for one in (self.queue_running, self.queue_pending))


@dataclass(frozen=True)
class Ollama:
    """`GET /api/ps`, and `POST /api/generate` with nothing to say and no time to keep: a model that answers at that moment
    ends its answer first."""

    url: str
    keep: tuple[str, ...]
    name: str = "ollama"

    def held(self) -> list[Held]:
        try:
            loaded = _validated(_Loaded, _ask("GET", f"{self.url}/api/ps", LIST_S)).models
        except NotRunning:
            return []
        same = self._digests() if loaded else {}
        return [
            Held(
                self.name,
                one.name,
                one.size_vram,
                "in main memory" if one.size_vram == 0 else kept_for(self.keep, one.name, *same.get(one.digest, ())),
                "/api/generate",
                {"model": one.name, "prompt": "", "keep_alive": 0, "stream": False},
            )
            for one in loaded
        ]

    def unload(self, held: Held) -> None:
        _ask("POST", f"{self.url}{held.path}", UNLOAD_S, held.body)

    def _digests(self) -> dict[str, list[str]]:
        """All names of each model: a safety model may be loaded under another one. Of a server without the list, none."""
        try:
            tags = _validated(_Loaded, _ask("GET", f"{self.url}/api/tags", LIST_S)).models
        except Trouble:
            return {}
        names: dict[str, list[str]] = {}
        for tag in tags:
            if tag.digest:
                names.setdefault(tag.digest, []).append(tag.name)
        return names


class _OllamaModel(BaseModel):
    name: str
    size_vram: int | None = None
    digest: str = ""


class _Loaded(BaseModel):
    models: list[_OllamaModel]


UNLOADABLE: dict[str, bool] = {"text": True, "diffusers": True, "heartmula": False, "stable_audio": False}
"""Backends that can be unloaded over HTTP, and whether by model; the others (mmaudio, imagebind, …) have no path."""


@dataclass(frozen=True)
class GpuService:
    """`GET /api/health/vram`, and `POST /api/<backend>/unload`, which does not look whether the model is in use: we do."""

    url: str
    keep: tuple[str, ...]
    name: str = "devserver"

    def held(self) -> list[Held]:
        try:
            said = _validated(_Vram, _ask("GET", f"{self.url}/api/health/vram", LIST_S))
        except NotRunning:
            return []
        drawing = any(one.backend == "diffusers" for one in said.loaded_models) and self._draws()
        return [
            Held(
                self.name,
                f"{one.backend} {one.model}",
                None if one.vram_mb is None else round(one.vram_mb * MIB),
                self._kept(one, said.eviction_in_progress, drawing),
                f"/api/{one.backend}/unload",
                {"model_id": one.model} if UNLOADABLE.get(one.backend) else {},
            )
            for one in said.loaded_models
        ]

    def _kept(self, one: _GpuModel, evicting: bool, drawing: bool) -> str:
        if one.backend not in UNLOADABLE:
            return "has no path to unload it"
        if evicting:
            return "the service is evicting"
        if one.in_use or (one.backend == "diffusers" and drawing):
            return "in use"
        return kept_for(self.keep, one.model)

    def _draws(self) -> bool:
        """Fails closed: what does not say that it rests is at work."""
        try:
            answer = _ask("GET", f"{self.url}/api/diffusers/progress", LIST_S)
        except Trouble:
            return True
        return not isinstance(answer, dict) or answer.get("active") is not False

    def unload(self, held: Held) -> None:
        try:
            answer = _ask("POST", f"{self.url}{held.path}", UNLOAD_S, held.body)
        except NotLoaded:
            return  # somebody else was faster
        if not isinstance(answer, dict) or answer.get("success") is not True:
            raise Trouble(f"{held.path} did not succeed")


class _GpuModel(BaseModel):
    backend: str
    model: str
    vram_mb: float | None = None
    in_use: int = 1
    """Of one that does not say, in use."""


class _Vram(BaseModel):
    loaded_models: list[_GpuModel]
    eviction_in_progress: bool = False


@dataclass(frozen=True)
class ComfyUI:
    """`GET /system_stats`, and `POST /free`, which its worker does between two jobs."""

    url: str
    name: str = "comfyui"

    def held(self) -> list[Held]:
        try:
            said = _validated(_Stats, _ask("GET", f"{self.url}/system_stats", LIST_S))
        except NotRunning:
            return []
        size = sum(one.torch_vram_total for one in said.devices)
        return [Held(self.name, "all models", size, "", "/free", {"unload_models": True})] if size else []

    def unload(self, held: Held) -> None:
        _ask("POST", f"{self.url}{held.path}", UNLOAD_S, held.body)


class _Device(BaseModel):
    torch_vram_total: int = 0


class _Stats(BaseModel):
    devices: list[_Device]


def kept_for(keep: tuple[str, ...], *names: str) -> str:
    """Why a model is kept, empty when it is not: one of its names is on the list, or a variant of one that is."""
    for name in map(_plain, names):
        for entry in keep:
            if name == _plain(entry) or name.startswith(f"{_plain(entry)}-"):
                return "safety model" if entry in SAFETY_MODELS else "named in GOLDSMITH_GPU_KEEP"
    return ""


def _plain(name: str) -> str:
    """Without owner and `:latest`; a tag and a quantisation are parted from the name alike."""
    return name.lower().rpartition("/")[2].removesuffix(":latest").replace(":", "-")


class NotLoaded(Trouble):
    """404: the service has no such model (any more)."""


def _ask(method: str, url: str, seconds: float, body: dict[str, Any] | None = None) -> Any:
    """The JSON of the answer, None where it is empty; raises `Trouble`."""
    try:
        status, content = asyncio.run(_exchange(method, url, seconds, body))
    except httpx.ConnectError as error:
        raise NotRunning(f"nothing answers at {_place(url)}") from error
    except (httpx.TimeoutException, TimeoutError) as error:
        raise Trouble(f"{_place(url)} gave no answer within {seconds:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise Trouble(f"{_place(url)} broke off ({type(error).__name__})") from error
    if status == 404:
        raise NotLoaded(f"{_place(url)} answered 404")
    if not 200 <= status < 300:
        raise Trouble(f"{_place(url)} answered {status}")
    try:
        return json.loads(content) if content else None
    except ValueError as error:
        raise Trouble(f"{_place(url)} answered something that is no JSON") from error


@lru_cache
def _tls() -> ssl.SSLContext:
    """Made once: reading the certificates takes longer than a request."""
    return ssl.create_default_context()


async def _exchange(method: str, url: str, seconds: float, body: dict[str, Any] | None) -> tuple[int, bytes]:
    async with (
        asyncio.timeout(seconds),  # httpx's own limits are for each packet
        httpx.AsyncClient(timeout=httpx.Timeout(seconds, connect=CONNECT_S), trust_env=False, verify=_tls()) as client,
        client.stream(method, url, json=body) as response,
    ):
        content = b""
        async for part in response.aiter_bytes():
            content += part
            if len(content) > LONGEST:
                raise httpx.ReadError("too long")
        return response.status_code, content


def _validated(model: type[Answer], answer: Any) -> Answer:
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        raise Trouble(f"an answer is not as expected: {_short(error)}") from error


def _short(error: Exception) -> str:
    """The field that is wrong, never its value."""
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the answer'}: {first['msg']}"
    return str(error)


def _place(url: str) -> str:
    """The address without what may stand in front of the host."""
    parts = httpx.URL(url)
    return f"{parts.host}:{parts.port or ''}{parts.path}"
