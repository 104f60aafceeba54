"""Where a teacher works on what it is asked, and who may be asked about children's texts.

A prompt from a recorded run was typed by a child. It may be worked on here or in the European Union; a provider elsewhere
sees it only when the admin has allowed that provider by name. What was made up may go anywhere.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from goldsmith.errors import InvalidInput

# Names that no public resolver knows: those of containers have no dot at all.
_INNER = (".local", ".internal", ".lan", ".home.arpa")


@dataclass(frozen=True)
class Gate:
    """What one provider may be asked about."""

    provider: str
    place: Literal["here", "eu", "outside"]
    where: str
    """For people: `on this machine or its network`, `in eu-central-1`, …"""
    allowed: Collection[str]
    """GOLDSMITH_ALLOW_PROVIDERS"""

    @property
    def open(self) -> bool:
        """Whether recorded rows may pass."""
        return self.place != "outside" or self.provider in self.allowed

    def check(self, recorded: bool) -> None:
        """Raises `InvalidInput` that names the setting."""
        if recorded and not self.open:
            raise InvalidInput(
                f"teacher {self.provider!r} works {self.where}: these prompts come from recorded runs, that is from children,"
                f" and may not leave the European Union. The admin allows it with GOLDSMITH_ALLOW_PROVIDERS={self.provider};"
                " teacher 'bedrock' in an EU region, 'openai-compatible' on your own machines and 'rehearsal' need no word, and"
                " rows that come from no recorded run may go anywhere",
                errors=[
                    {
                        "field": "teacher",
                        "value": self.provider,
                        "setting": "GOLDSMITH_ALLOW_PROVIDERS",
                        "allowed": sorted({"bedrock", "openai-compatible", "rehearsal", *self.allowed}),
                    }
                ],
            )


def is_loopback(url: str) -> bool:
    host = _host(url)
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def is_own(url: str) -> bool:
    """On this machine or its network, by the address as it is written: loopback, a private address, a name without a dot or
    with an ending that public resolvers do not have. No name is resolved."""
    host = _host(url)
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        return address.is_loopback or address.is_private
    return bool(host) and ("." not in host or host.endswith(_INNER))


def bedrock_place(region: str, model: str, eu_regions: Collection[str]) -> tuple[Literal["eu", "outside"], str]:
    """Where Bedrock works: in its region, unless the model is a profile that spreads requests over others (`us.`, `global.`)."""
    area = model.partition(".")[0]
    if model.startswith("arn:"):
        return "outside", "where an inference profile of your own sends it (an ARN does not say where)"
    if area not in ("anthropic", "eu"):
        return "outside", f"wherever the inference profile {area!r} sends it"
    if region not in eu_regions:
        return "outside", f"in {region}, outside the EU"
    return "eu", f"in {region if area == 'anthropic' else 'regions of the EU'}"


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").rstrip(".")
