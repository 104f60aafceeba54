"""Drift: what a dataset was rendered with against what a checkout says now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from goldsmith.datasets import Example
    from goldsmith.devserver.checkout import Checkout


class Pins(BaseModel):
    """The content hashes that rows were rendered with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    template_versions: list[str]
    contexts: dict[str, dict[str, list[str]]] = Field(description="Config id to language to SHA-256 of the context's text.")


def pins_of(rows: Iterable[Example]) -> Pins:
    return pinned((row.template_version, row.config_id, row.context_lang, row.context_sha256) for row in rows)


def pinned(rows: Iterable[tuple[str, str, str, str]]) -> Pins:
    """From template version, config id, language and hash of each row."""
    versions: set[str] = set()
    contexts: dict[str, dict[str, set[str]]] = {}
    for version, config_id, lang, sha256 in rows:
        versions.add(version)
        contexts.setdefault(config_id, {}).setdefault(lang, set()).add(sha256)
    return Pins(
        template_versions=sorted(versions),
        contexts={
            config_id: {lang: sorted(contexts[config_id][lang]) for lang in sorted(contexts[config_id])}
            for config_id in sorted(contexts)
        },
    )


def changes(pins: Pins, checkout: Checkout) -> list[str]:
    """Every difference in words; empty when a student that was trained on the rows would see the same prompts today."""
    found = []
    if pins.template_versions != [checkout.template_version]:
        found.append(f"template or task: {', '.join(pins.template_versions)} → {checkout.template_version}")
    for config_id, languages in pins.contexts.items():
        if not checkout.has(config_id):
            found.append(f"{config_id}: the config is gone")
            continue
        config = checkout.config(config_id)
        for lang, hashes in languages.items():
            if lang not in config.context:
                found.append(f"{config_id} ({lang}): the context is gone")
            elif hashes != [config.context_sha256(lang)]:
                now = config.context_sha256(lang)[:12]
                found.append(f"{config_id} ({lang}): the context was {', '.join(one[:12] for one in hashes)} and is {now}")
    return found
