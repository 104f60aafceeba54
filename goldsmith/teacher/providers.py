"""Which teachers there are, what must be set for each, and where recorded data may go."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anthropic
import httpx2

from goldsmith.errors import GoldsmithError, InvalidInput
from goldsmith.teacher.anthropic import Messages
from goldsmith.teacher.batches import MessageBatches
from goldsmith.teacher.limited import Limited
from goldsmith.teacher.prices import price_of
from goldsmith.teacher.provider import Provider

if TYPE_CHECKING:
    from goldsmith.settings import Settings

PROVIDERS = ("anthropic", "rehearsal")
REHEARSAL_MODEL = "rehearsal-1"
CONNECT_S = 5
# Six tries back off for about 15 s, or as long as `retry-after` says; then the job is put back with its own back-off.
TRIES = 6
REHEARSAL_TRIES = 3


class BatchedMessages(Messages):
    """The Messages API with its batches."""

    def __init__(self, client: anthropic.AsyncAnthropic, **more: Any) -> None:
        super().__init__(client, **more)
        self.batches = MessageBatches(self, client)


def open_provider(settings: Settings, provider: str, model: str | None, *, recorded: bool) -> Provider:
    """The teacher below the meter. `recorded`: some of what it is going to be asked comes from recorded runs.

    Raises `InvalidInput` and `GoldsmithError` that name the setting; nothing is sent yet.
    """
    if provider not in PROVIDERS:
        raise InvalidInput(
            f"teacher {provider!r}: {' or '.join(PROVIDERS)}",
            errors=[{"field": "teacher", "value": provider, "allowed": list(PROVIDERS)}],
        )
    name = model or (REHEARSAL_MODEL if provider == "rehearsal" else settings.teacher_model)
    if name.startswith("rehearsal-") != (provider == "rehearsal"):
        raise InvalidInput(
            f"model {name!r} is not one of teacher {provider!r}",
            errors=[{"field": "model", "value": name, "teacher": provider}],
        )
    if provider == "rehearsal":
        return Limited(_rehearsal(settings, name), tries=REHEARSAL_TRIES)
    return Limited(_anthropic(settings, name, recorded), tries=TRIES)


def _anthropic(settings: Settings, model: str, recorded: bool) -> Provider:
    if recorded and "anthropic" not in settings.allow_providers:
        raise InvalidInput(
            "teacher 'anthropic': the prompts come from recorded runs, that is from children, and would leave this machine."
            " The admin allows it with GOLDSMITH_ALLOW_PROVIDERS=anthropic; teacher 'rehearsal' stays on this machine",
            errors=[{"field": "teacher", "value": "anthropic", "allowed": ["rehearsal", *settings.allow_providers]}],
        )
    key = settings.anthropic_api_key.get_secret_value() if settings.anthropic_api_key else ""
    if not key:
        raise GoldsmithError("teacher 'anthropic' needs a key: set ANTHROPIC_API_KEY, or rehearse with teacher 'rehearsal'")
    url = settings.anthropic_base_url
    client = _client(key, url, settings.teacher_timeout_s)
    return BatchedMessages(
        client,
        name="anthropic",
        model=model,
        price=price_of(model, settings.prices),
        key_setting="ANTHROPIC_API_KEY",
    )


def _rehearsal(settings: Settings, model: str) -> Provider:
    url = settings.rehearsal_url
    if not url:
        raise GoldsmithError(
            "the rehearsal teacher is not running: start Goldsmith with --rehearsal, or set GOLDSMITH_REHEARSAL_URL"
        )
    if not is_loopback(url):
        raise InvalidInput(f"GOLDSMITH_REHEARSAL_URL {url!r}: the rehearsal teacher must be on loopback")
    client = _client("rehearsal", url, settings.teacher_timeout_s)
    return BatchedMessages(
        client,
        name="rehearsal",
        model=model,
        price=price_of(model, settings.prices),
        key_setting="GOLDSMITH_REHEARSAL_URL",
    )


def _client(key: str, url: str | None, timeout_s: float) -> anthropic.AsyncAnthropic:
    loopback = url is not None and is_loopback(url)
    return anthropic.AsyncAnthropic(
        api_key=key,
        base_url=url,
        max_retries=0,
        timeout=httpx2.Timeout(timeout_s, connect=CONNECT_S),
        http_client=anthropic.DefaultAsyncHttpxClient(trust_env=False) if loopback else None,  # no proxy on loopback
    )


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
