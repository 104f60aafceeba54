"""What runs at this moment, in one signed document, and the answers that follow from it: the same in the server and in the SDK.

Everything that a caller's answer depends on is in the snapshot and in the request, so no network call is needed to give it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from goldsmith.ab.assignment import BASE, bucket
from goldsmith.ab.plan import ID, Eligibility, plain_model

_is_id = re.compile(ID).fullmatch


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)  # unknown keys are let through: an older SDK reads what a newer server says


class SnapshotArm(_Part):
    name: str
    buckets: tuple[int, int] | None = Field(
        None, description="First, and first not; none for `base`, which has all the others."
    )
    adapter: str | None = None
    alias: str | None = None
    model: str | None = None
    gated: str | None = Field(None, description="Why `base` answers in its place.")


class SnapshotGroup(_Part):
    name: str
    salt: str
    buckets: tuple[int, int] = Field(description="Of the group's 10,000: first, and first not.")


class SnapshotExperiment(_Part):
    id: str
    name: str
    version: int
    status: Literal["running", "paused"]
    step: int
    salt: str
    unit: Literal["device_id", "run_id"]
    group: SnapshotGroup | None = None
    arms: list[SnapshotArm]
    eligibility: Eligibility
    configs: list[str] | None = None


class Snapshot(_Part):
    format_version: Literal[1] = 1
    issued_at: datetime
    sequence: int = Field(description="Rises with every change of what is below.")
    experiments: list[SnapshotExperiment]


class Assignment(NamedTuple):
    """What a request is answered with, and what its exposure says."""

    experiment_id: str | None
    arm: str | None
    """What answers. None: the request is in no arm of the experiment; it is answered as if there were none, which is by base."""
    assigned: str | None
    """The arm that the unit is counted in, also while base answers in its place. None: send no exposure."""
    gated: str | None
    """Why base answers for the assigned arm: `model_missing`, `adapter_retired`, `stale`."""
    adapter: str | None
    model: str | None
    """Of the arm that answers; None: whatever answers anyway."""
    step: int | None
    reason: str
    """`assigned`, or why not: `paused`, `no_unit`, `config`, `context_sha256`, `input_language`, `context_language`, `group`,
    `model_missing`, `adapter_retired`, `stale`, `no_snapshot`, `no_experiment`, `stopped`, `error`."""


class Facts(NamedTuple):
    """What a caller knows of a request."""

    config_id: str | None = None
    context_sha256: str | None = None
    input_language: str | None = None
    context_language: str | None = None
    models: Collection[str] | None = None
    """The models that it has at hand; None: it does not say."""


def nobody(reason: str) -> Assignment:
    """Base, for a request that no experiment is about."""
    return Assignment(None, BASE, None, None, None, None, None, reason)


class _Choice(NamedTuple):
    """An arm, made ready."""

    lo: int
    hi: int
    name: str
    adapter: str | None
    model: str | None
    spellings: tuple[str, ...]
    gated: str | None


class Rules:
    """One experiment of a snapshot, made ready: an answer takes a few microseconds, asks nobody and changes nothing."""

    def __init__(self, experiment: SnapshotExperiment) -> None:
        eligibility = experiment.eligibility
        self.id, self.name, self.step = experiment.id, experiment.name, experiment.step
        self.running = experiment.status == "running"
        self.by_device = experiment.unit == "device_id"
        self._salt, self._group = experiment.salt, experiment.group
        self._configs = experiment.configs and frozenset(experiment.configs)
        self._contexts = eligibility.context_sha256 and frozenset(eligibility.context_sha256)
        self._input_languages = eligibility.input_languages and frozenset(eligibility.input_languages)
        self._context_languages = eligibility.context_languages and frozenset(eligibility.context_languages)
        self._model_must_be_named = eligibility.model_present
        self._arms = [_choice(arm) for arm in experiment.arms if arm.buckets is not None]
        self._base_model = next((arm.model for arm in experiment.arms if arm.buckets is None), None)

    def covers(self, config_id: str | None) -> bool:
        return not self._configs or config_id in self._configs

    def answer(self, unit: str | None, facts: Facts, *, fresh: bool = True) -> Assignment:
        """Runs it? Is the request meant? Is the unit in the group's share? Which arm? Is its model there? Is this still true?"""
        if not self.running:
            return Assignment(self.id, BASE, None, None, None, self._base_model, self.step, "paused")
        if (why := self._not_meant(facts)) is not None:
            return Assignment(self.id, None, None, None, None, None, self.step, why)
        if not unit or _is_id(unit) is None:
            return Assignment(self.id, None, None, None, None, None, self.step, "no_unit")
        if self._group is not None:
            first, end = self._group.buckets
            if not first <= bucket(self._group.salt, unit) < end:
                return Assignment(self.id, None, None, None, None, None, self.step, "group")
        number = bucket(self._salt, unit)
        for arm in self._arms:
            if arm.lo <= number < arm.hi:
                gated = arm.gated or self._missing(arm, facts.models) or (None if fresh else "stale")
                if gated is not None:
                    return Assignment(self.id, BASE, arm.name, gated, None, self._base_model, self.step, gated)
                return Assignment(self.id, arm.name, arm.name, None, arm.adapter, arm.model, self.step, "assigned")
        return Assignment(self.id, BASE, BASE, None, None, self._base_model, self.step, "assigned" if fresh else "stale")

    def _not_meant(self, facts: Facts) -> str | None:
        if self._configs and facts.config_id is not None and facts.config_id not in self._configs:
            return "config"  # without one, whoever asks has chosen the experiment by its name
        if self._contexts and facts.context_sha256 not in self._contexts:
            return "context_sha256"
        if self._input_languages and facts.input_language not in self._input_languages:
            return "input_language"
        if self._context_languages and facts.context_language not in self._context_languages:
            return "context_language"
        return None

    def _missing(self, arm: _Choice, models: Collection[str] | None) -> str | None:
        if models is None:
            return "model_missing" if self._model_must_be_named else None
        there = not arm.spellings or any(name in models for name in arm.spellings)
        return None if there else "model_missing"


def _choice(arm: SnapshotArm) -> _Choice:
    lo, hi = arm.buckets or (0, 0)
    names = () if arm.model is None else _spellings(arm.model)
    return _Choice(lo, hi, arm.name, arm.adapter, arm.model, names, arm.gated)


def _spellings(model: str) -> tuple[str, ...]:
    """How a model's name may read among those at hand: every name with the same `plain_model`."""
    plain = plain_model(model)
    names = (plain, f"local/{plain}")
    return names if ":" in plain else (*names, *(f"{name}:latest" for name in names))
