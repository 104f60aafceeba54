"""Which teachers there are, and what must be set for each."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import anthropic
import httpx
import httpx2

from goldsmith.errors import InvalidInput, Unavailable
from goldsmith.teacher.anthropic import Messages
from goldsmith.teacher.batches import MessageBatches
from goldsmith.teacher.bedrock import Bedrock
from goldsmith.teacher.limited import Limited
from goldsmith.teacher.limiter import Limiter
from goldsmith.teacher.openai_compatible import OpenAICompatible
from goldsmith.teacher.pace import MOST
from goldsmith.teacher.prices import FREE, Price, eu_regions, price_of, prices
from goldsmith.teacher.privacy import Gate, bedrock_place, is_loopback, is_own
from goldsmith.teacher.provider import Provider, Wire

if TYPE_CHECKING:
    from goldsmith.settings import Settings

PROVIDERS = ("anthropic", "bedrock", "openai-compatible", "rehearsal")
REHEARSAL_MODEL = "rehearsal-1"
CONNECT_S = 5
# Six tries back off for about 15 s, or as long as `retry-after` says; then the job is put back with its own back-off.
TRIES = 6
REHEARSAL_TRIES = 3
KEPT_OPEN = (
    16  # idle connections: the pool looks at each of them before every request, which for 60 is a fifth of a request's CPU
)
_HERE = "on this machine or its network"


def open_provider(settings: Settings, provider: str, model: str | None, *, recorded: bool) -> Provider:
    """The teacher below the meter. `recorded`: some of what it is going to be asked comes from recorded runs.

    Raises `InvalidInput`, and `Unavailable` where it is not set up here; both name the setting. Nothing is sent yet.
    """
    wire: Wire
    if provider == "anthropic":
        wire = _anthropic(settings, model or settings.teacher_model, recorded)
    elif provider == "bedrock":
        wire = _bedrock(settings, model or settings.bedrock_model, recorded)
    elif provider == "openai-compatible":
        wire = _openai_compatible(settings, model, recorded)
    elif provider == "rehearsal":
        wire = _rehearsal(settings, model or REHEARSAL_MODEL)
    else:
        raise InvalidInput(
            f"teacher {provider!r}: one of {', '.join(PROVIDERS)}",
            errors=[{"field": "teacher", "value": provider, "allowed": list(PROVIDERS)}],
        )
    limiter = Limiter(settings.broker, _account(settings, wire))
    return Limited(wire, limiter, tries=REHEARSAL_TRIES if provider == "rehearsal" else TRIES)


def check_model(settings: Settings, provider: str, model: str | None) -> None:
    """Raises `InvalidInput` for a model that no budget could hold, or that belongs to another teacher."""
    default = {"anthropic": settings.teacher_model, "bedrock": settings.bedrock_model, "rehearsal": REHEARSAL_MODEL}
    if provider in default:
        _price(settings, provider, model or default[provider])
    elif provider == "openai-compatible" and (settings.openai_compatible_url or settings.ollama_host):
        _openai_compatible(settings, model, False)


def _account(settings: Settings, wire: Wire) -> str:
    """What has one limit: a model, at one address, under one key."""
    keys = (settings.anthropic_api_key, settings.openai_compatible_key)
    addresses = (
        settings.anthropic_base_url,
        settings.openai_compatible_url,
        settings.ollama_host,
        settings.rehearsal_url,
        settings.bedrock_region,
    )
    said = [*(key.get_secret_value() if key else "" for key in keys), *(address or "" for address in addresses)]
    return f"{wire.name}:{wire.model}:{hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]}"


class BatchedMessages(Messages):
    """The Messages API with its batches."""

    def __init__(self, client: anthropic.AsyncAnthropic, **more: Any) -> None:
        super().__init__(client, **more)
        self.batches = MessageBatches(self, client)


def _anthropic(settings: Settings, model: str, recorded: bool) -> Wire:
    price = _price(settings, "anthropic", model)
    # also with a base URL on this machine: a gateway passes on what it gets
    gate = Gate("anthropic", "outside", "outside the EU", settings.allow_providers)
    gate.check(recorded)
    key = settings.anthropic_api_key.get_secret_value() if settings.anthropic_api_key else ""
    if not key:
        raise Unavailable("teacher 'anthropic' needs a key: set ANTHROPIC_API_KEY, or rehearse with teacher 'rehearsal'")
    client = _client(key, settings.anthropic_base_url, settings.teacher_timeout_s)
    return BatchedMessages(client, name="anthropic", model=model, price=price, gate=gate, key_setting="ANTHROPIC_API_KEY")


def _bedrock(settings: Settings, model: str, recorded: bool) -> Wire:
    price = _price(settings, "bedrock", model)
    place, where = bedrock_place(settings.bedrock_region, model, eu_regions(settings.prices))
    gate = Gate("bedrock", place, where, settings.allow_providers)
    gate.check(recorded)
    return Bedrock(
        region=settings.bedrock_region,
        base_url=settings.bedrock_base_url,
        model=model,
        price=price,
        gate=gate,
        timeout=httpx2.Timeout(settings.teacher_timeout_s, connect=CONNECT_S),
    )


def _openai_compatible(settings: Settings, model: str | None, recorded: bool) -> Wire:
    model = model or settings.openai_compatible_model or settings.ollama_model
    url = settings.openai_compatible_url or settings.ollama_host
    if not url:
        raise Unavailable("teacher 'openai-compatible' has no address: set GOLDSMITH_OPENAI_COMPATIBLE_URL or OLLAMA_HOST")
    if not model:
        raise InvalidInput(
            "teacher 'openai-compatible' needs a model: say `model`, or set GOLDSMITH_OPENAI_COMPATIBLE_MODEL",
            errors=[{"field": "model", "value": None, "message": "must be given"}],
        )
    url = (url if "://" in url else f"http://{url}").rstrip("/")
    url = url if url.count("/") > 2 else f"{url}/v1"
    local = is_own(url) and not model.endswith(("-cloud", ":cloud"))  # Ollama sends its cloud models on to its maker
    price = FREE if local and model not in prices(settings.prices) else _price(settings, "openai-compatible", model)
    where = _HERE if local else f"at {url}, which is not known to be in the EU"
    gate = Gate("openai-compatible", "here" if local else "outside", where, settings.allow_providers)
    gate.check(recorded)
    key = settings.openai_compatible_key.get_secret_value() if settings.openai_compatible_key else None
    timeout = httpx.Timeout(settings.teacher_timeout_s, connect=CONNECT_S)
    return OpenAICompatible(url, key=key, model=model, price=price, gate=gate, local=local, timeout=timeout)


def _rehearsal(settings: Settings, model: str) -> Wire:
    price = _price(settings, "rehearsal", model)
    url = settings.rehearsal_url
    if not url:
        raise Unavailable(
            "the rehearsal teacher is not running: start Goldsmith with --rehearsal, or set GOLDSMITH_REHEARSAL_URL"
        )
    if not is_loopback(url):
        raise InvalidInput(f"GOLDSMITH_REHEARSAL_URL {url!r}: the rehearsal teacher must be on loopback")
    client = _client("rehearsal", url, settings.teacher_timeout_s)
    gate = Gate("rehearsal", "here", _HERE, settings.allow_providers)
    return BatchedMessages(client, name="rehearsal", model=model, price=price, gate=gate, key_setting="GOLDSMITH_REHEARSAL_URL")


def _price(settings: Settings, provider: str, model: str) -> Price:
    price = price_of(model, settings.prices)
    if price.provider != provider:
        allowed = sorted(name for name, known in prices(settings.prices).items() if known.provider == provider)
        raise InvalidInput(
            f"model {model!r} is not one of teacher {provider!r}, by the price list: it belongs to {price.provider!r}",
            errors=[{"field": "model", "value": model, "allowed": allowed, "message": f"belongs to {price.provider!r}"}],
        )
    return price


def _client(key: str, url: str | None, timeout_s: float) -> anthropic.AsyncAnthropic:
    loopback = url is not None and is_loopback(url)
    return anthropic.AsyncAnthropic(
        api_key=key,
        base_url=url,
        max_retries=0,
        timeout=httpx2.Timeout(timeout_s, connect=CONNECT_S),
        http_client=anthropic.DefaultAsyncHttpxClient(
            limits=httpx2.Limits(max_connections=2 * MOST, max_keepalive_connections=KEPT_OPEN),
            trust_env=not loopback,  # no proxy on loopback
        ),
    )
