"""The kinds, and the only door to their heavy code."""

from __future__ import annotations

import importlib
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from goldsmith.errors import InvalidInput
from goldsmith.kinds.ab_report.schema import AbReportConfig, AbReportResult
from goldsmith.kinds.ablation.schema import AblationConfig, AblationResult
from goldsmith.kinds.base import JobConfig, JobResult
from goldsmith.kinds.bias_audit.schema import BiasAuditConfig, BiasAuditResult
from goldsmith.kinds.cluster.schema import ClusterConfig, ClusterResult
from goldsmith.kinds.corpus.schema import CorpusConfig, CorpusResult
from goldsmith.kinds.deploy.schema import DeployConfig, DeployResult
from goldsmith.kinds.evaluate.schema import EvaluateConfig, EvaluateResult
from goldsmith.kinds.export.schema import ExportConfig, ExportResult
from goldsmith.kinds.fidelity.schema import FidelityConfig, FidelityResult
from goldsmith.kinds.gap.schema import GapConfig, GapResult
from goldsmith.kinds.gold.schema import GoldConfig, GoldResult
from goldsmith.kinds.golden.schema import GoldenConfig, GoldenResult
from goldsmith.kinds.imports.schema import ImportConfig, ImportResult
from goldsmith.kinds.intercept.schema import InterceptConfig, InterceptResult
from goldsmith.kinds.merge.schema import MergeConfig, MergeResult
from goldsmith.kinds.pairs.schema import PairsConfig, PairsResult
from goldsmith.kinds.render.schema import RenderConfig, RenderResult
from goldsmith.kinds.rollback.schema import RollbackConfig, RollbackResult
from goldsmith.kinds.router.schema import RouterConfig, RouterResult
from goldsmith.kinds.rules.schema import RulesConfig, RulesResult
from goldsmith.kinds.sessions.schema import SessionsConfig, SessionsResult
from goldsmith.kinds.train.schema import TrainConfig, TrainResult
from goldsmith.kinds.uno.schema import UnoConfig, UnoResult
from goldsmith.kinds.verify.schema import VerifyConfig, VerifyResult

SHOWN_ERRORS = 50
SHOWN_STEP = 64  # characters of each part of a field's name
SHOWN_VALUE = 200  # characters of a wrong value that an error repeats
_PREFIX = re.compile(r"([a-z_][a-z0-9_]*(?:\.[a-z0-9_]+)*): (.+)", re.DOTALL)


class Kind(NamedTuple):
    config: type[JobConfig]
    result: type[JobResult]


BUILT_IN: tuple[Kind, ...] = (
    Kind(ImportConfig, ImportResult),
    Kind(CorpusConfig, CorpusResult),
    Kind(GoldConfig, GoldResult),
    Kind(RenderConfig, RenderResult),
    Kind(SessionsConfig, SessionsResult),
    Kind(RulesConfig, RulesResult),
    Kind(ClusterConfig, ClusterResult),
    Kind(GapConfig, GapResult),
    Kind(PairsConfig, PairsResult),
    Kind(TrainConfig, TrainResult),
    Kind(VerifyConfig, VerifyResult),
    Kind(RouterConfig, RouterResult),
    Kind(AblationConfig, AblationResult),
    Kind(UnoConfig, UnoResult),
    Kind(MergeConfig, MergeResult),
    Kind(GoldenConfig, GoldenResult),
    Kind(EvaluateConfig, EvaluateResult),
    Kind(BiasAuditConfig, BiasAuditResult),
    Kind(FidelityConfig, FidelityResult),
    Kind(ExportConfig, ExportResult),
    Kind(DeployConfig, DeployResult),
    Kind(RollbackConfig, RollbackResult),
    Kind(AbReportConfig, AbReportResult),
    Kind(InterceptConfig, InterceptResult),
)


@lru_cache
def kinds() -> dict[str, Kind]:
    """Every kind by its word. `GOLDSMITH_EXTRA_KINDS` (modules with a `KIND`, separated by commas) adds to the built-in ones."""
    extra = [name for name in os.environ.get("GOLDSMITH_EXTRA_KINDS", "").split(",") if name]
    every = (*BUILT_IN, *(importlib.import_module(name).KIND for name in extra))
    return {kind.config.model_fields["kind"].default: kind for kind in every}


def parse_config(data: Mapping[str, Any]) -> JobConfig:
    """The config of whichever kind `data["kind"]` names; raises `InvalidInput` that names each wrong field."""
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in kinds():
        message = f"kind must be one of: {', '.join(kinds())}"
        raise InvalidInput(message, errors=[{"field": "kind", "value": shown(kind), "message": message}])
    try:
        config = kinds()[kind].config.model_validate(dict(data))
    except ValidationError as error:
        errors = field_errors(error, keys=kinds()[kind].config.model_fields)
        raise InvalidInput(f"the config of this {kind} job is not valid: {summary(errors)}", errors=errors) from None
    for field, draft in config.drafts():
        try:
            parse_config(draft)
        except InvalidInput as error:
            raise InvalidInput(
                f"{field}: {error.detail}", errors=[one | {"field": f"{field}.{one['field']}"} for one in error.errors]
            ) from None
    return config


def field_errors(error: ValidationError, keys: Mapping[str, FieldInfo] | None = None) -> list[dict[str, Any]]:
    """Pydantic's errors as `{field, value, message}`, at most `SHOWN_ERRORS` of them and one that counts the others. `keys` are the
    known fields at the top: what an unknown key might have been, and what a number may be (`allowed`). A check over several
    fields names its field at the head of its message.
    """
    every = error.errors(include_url=False, include_context=False)
    found = []
    for entry in every[:SHOWN_ERRORS]:
        field, message = ".".join(map(shortened, entry["loc"])), entry["msg"].removeprefix("Value error, ")
        if entry["type"] == "extra_forbidden":
            message = "unknown key" + (f"; the known ones are: {', '.join(keys)}" if keys and len(entry["loc"]) == 1 else "")
        elif entry["type"] == "value_error" and (named := _PREFIX.fullmatch(message)):
            field, message = ".".join(filter(None, (field, named[1]))), named[2]
        one = {"field": field, "value": shown(entry["input"]), "message": message}
        if entry["type"] == "missing" or not entry["loc"]:
            del one["value"]  # there is none, or it is the whole body
            if isinstance(entry["input"], dict) and field in entry["input"]:
                one["value"] = shown(entry["input"][field])
        if entry["type"].startswith(("greater_than", "less_than")) and keys and field in keys:
            one |= _allowed(keys[field])
        found.append(one)
    if more := len(every) - len(found):
        found.append({"field": "", "message": f"and {more} more"})
    return found


def _allowed(field: FieldInfo) -> dict[str, str]:
    """Both ends, where there are two: pydantic names the one that was passed."""
    ends = {name: getattr(one, name) for one in field.metadata for name in ("ge", "gt", "le", "lt") if hasattr(one, name)}
    if len(ends) < 2:
        return {}
    low = str(ends["ge"]) if "ge" in ends else f"more than {ends['gt']}"
    high = str(ends["le"]) if "le" in ends else f"less than {ends['lt']}"
    return {"allowed": f"{low} to {high}"}


def summary(found: Sequence[Mapping[str, Any]]) -> str:
    """The first errors in one line."""
    said = [": ".join(filter(None, (entry["field"], entry["message"] + _not(entry)))) for entry in found[:3]]
    return "; ".join(said) + ("; `errors` has the others" if len(found) > 3 else "")


def _not(entry: Mapping[str, Any]) -> str:
    """What was given and what may be. Numbers are repeated; a text may be long or a secret, and stands in `errors` alone."""
    given = f", not {entry['value']}" if isinstance(entry.get("value"), int | float) else ""
    return given + (f"; allowed is {entry['allowed']}" if "allowed" in entry else "")


def shortened(step: str | int) -> str:
    """A part of a field's name, printable and short."""
    text = str(step).encode("utf-8", "replace").decode()
    return text if len(text) <= SHOWN_STEP else text[:SHOWN_STEP] + "…"


def shown(value: Any) -> Any:
    """A wrong value, short enough to repeat."""
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case int() if abs(value) >= 10**18:
            return str(value) if value.bit_length() <= 64 else f"an integer of {value.bit_length()} bits"
        case None | bool() | int() | float():
            return value
        case dict():
            return f"an object with {len(value)} keys"
        case list() | tuple():
            return f"an array of {len(value)}"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN_VALUE else text[:SHOWN_VALUE] + "…"


def load_run(kind: str) -> Callable[..., Any]:
    """The kind's `run`, imported now: here, and only here, torch and its like come in."""
    schema = kinds()[kind].config.__module__
    run: Callable[..., Any] = importlib.import_module(schema.rpartition(".")[0] + ".run").run
    return run
