"""The kinds, and the only door to their heavy code."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, Union

from pydantic import Field, TypeAdapter, ValidationError

from goldsmith.errors import InvalidInput
from goldsmith.kinds.ab_report.schema import AbReportConfig, AbReportResult
from goldsmith.kinds.base import JobConfig, JobResult
from goldsmith.kinds.cluster.schema import ClusterConfig, ClusterResult
from goldsmith.kinds.corpus.schema import CorpusConfig, CorpusResult
from goldsmith.kinds.evaluate.schema import EvaluateConfig, EvaluateResult
from goldsmith.kinds.gold.schema import GoldConfig, GoldResult
from goldsmith.kinds.imports.schema import ImportConfig, ImportResult
from goldsmith.kinds.intercept.schema import InterceptConfig, InterceptResult
from goldsmith.kinds.rules.schema import RulesConfig, RulesResult
from goldsmith.kinds.train.schema import TrainConfig, TrainResult

SHOWN_VALUE = 200  # characters of a wrong value that an error repeats


class Kind(NamedTuple):
    config: type[JobConfig]
    result: type[JobResult]


BUILT_IN: tuple[Kind, ...] = (
    Kind(ImportConfig, ImportResult),
    Kind(CorpusConfig, CorpusResult),
    Kind(GoldConfig, GoldResult),
    Kind(RulesConfig, RulesResult),
    Kind(ClusterConfig, ClusterResult),
    Kind(TrainConfig, TrainResult),
    Kind(EvaluateConfig, EvaluateResult),
    Kind(AbReportConfig, AbReportResult),
    Kind(InterceptConfig, InterceptResult),
)


@lru_cache
def kinds() -> dict[str, Kind]:
    """Every kind by its word. `GOLDSMITH_EXTRA_KINDS` (modules with a `KIND`, separated by commas) adds to the built-in ones."""
    extra = [name for name in os.environ.get("GOLDSMITH_EXTRA_KINDS", "").split(",") if name]
    every = (*BUILT_IN, *(importlib.import_module(name).KIND for name in extra))
    return {kind.config.model_fields["kind"].default: kind for kind in every}


@lru_cache
def _any_config() -> TypeAdapter[JobConfig]:
    union = Union[tuple(kind.config for kind in kinds().values())]  # type: ignore[invalid-type]  # noqa: UP007
    return TypeAdapter(Annotated[union, Field(discriminator="kind")])


def parse_config(data: Mapping[str, Any]) -> JobConfig:
    """The config of whichever kind `data["kind"]` names; raises `InvalidInput` that names each wrong field."""
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in kinds():
        message = f"kind must be one of: {', '.join(kinds())}"
        raise InvalidInput(message, errors=[{"field": "kind", "value": shown(kind), "message": message}])
    try:
        return _any_config().validate_python(dict(data))
    except ValidationError as error:
        raise InvalidInput(f"the config of this {kind} job is not valid", errors=field_errors(error, skip=kind)) from None


def field_errors(error: ValidationError, skip: str | None = None) -> list[dict[str, Any]]:
    """Pydantic's errors as `{field, value, message}`, the union's own step left out of the path."""
    found = []
    for entry in error.errors(include_url=False):
        path = [str(part) for part in entry["loc"] if part != skip]
        message = entry["msg"]
        if entry["type"] == "extra_forbidden":
            message = f"unknown key; the known ones are: {', '.join(kinds()[skip].config.model_fields)}" if skip else "unknown key"
        found.append({"field": ".".join(path), "value": shown(entry.get("input")), "message": message})
    return found


def shown(value: Any) -> Any:
    """A wrong value, short enough to repeat."""
    if value is None or isinstance(value, bool | int | float):
        return value if not isinstance(value, int) or abs(value) < 10**18 else f"{str(value)[:SHOWN_VALUE]}"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN_VALUE else text[:SHOWN_VALUE] + "…"


def load_run(kind: str) -> Callable[..., Any]:
    """The kind's `run`, imported now: here, and only here, torch and its like come in."""
    schema = kinds()[kind].config.__module__
    run: Callable[..., Any] = importlib.import_module(schema.rpartition(".")[0] + ".run").run
    return run
