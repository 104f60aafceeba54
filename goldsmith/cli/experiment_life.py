"""`goldsmith experiments create|list|show|change|delete|start|pause|resume|approve|end`: an experiment from its plan to its end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from goldsmith.cli.output import Json, console, print_json, print_table, said_plainly
from goldsmith.cli.stack import connect
from goldsmith.errors import InvalidInput

Id = Annotated[str, typer.Argument(help="The id of an experiment.")]
PlanFile = Annotated[
    Path, typer.Argument(help="A JSON file: name, arms, and what docs/experiments.md names.", exists=True, dir_okay=False)
]
Reason = Annotated[str | None, typer.Option("--reason", help="Why; stays in the experiment's history.")]


def create(plan: PlanFile, as_json: Json = False) -> None:
    """Write a draft from a plan."""
    with said_plainly(as_json), connect() as client:
        _show(client.create_experiment(_read(plan)), as_json)


def change(experiment_id: Id, plan: PlanFile, as_json: Json = False) -> None:
    """Put another plan in a draft's place; of a started experiment it makes the next version, a new draft."""
    with said_plainly(as_json), connect() as client:
        draft = client.experiment(experiment_id)["status"] == "draft"
        put = client.change_experiment if draft else client.new_experiment_version
        _show(put(experiment_id, _read(plan)), as_json)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInput(f"{path} is not JSON: {error}") from None
    if not isinstance(plan, dict):
        raise InvalidInput(f"{path}: a plan is a JSON object")
    return plan


def list_experiments(
    status: Annotated[str | None, typer.Option(help="draft, running, paused, completed or rolled_back.")] = None,
    name: Annotated[str | None, typer.Option(help="Every version of one.")] = None,
    as_json: Json = False,
) -> None:
    """List the newest experiments."""
    with said_plainly(as_json), connect() as client:
        found = client.experiments(status=status, name=name)
        if as_json:
            print_json(found)
            return
        rows = [
            (
                one["id"],
                f"{one['name']} v{one['version']}",
                one["status"] + (" (held)" if one["held_reason"] else ""),
                _step(one),
                ", ".join(_share(arm) for arm in one["arms"]),
                (one["started_at"] or one["created_at"])[:16].replace("T", " "),
            )
            for one in found
        ]
        print_table(("id", "experiment", "status", "step", "arms", "since"), rows, whole=("id",))


def show(experiment_id: Id, as_json: Json = False) -> None:
    """Show an experiment: its plan's hash, arms, steps, and why it is held."""
    with said_plainly(as_json), connect() as client:
        _show(client.experiment(experiment_id), as_json)


def delete(experiment_id: Id, as_json: Json = False) -> None:
    """Remove a draft."""
    with said_plainly(as_json), connect() as client:
        client.delete_experiment(experiment_id)
        print_json({"deleted": experiment_id}) if as_json else console.print(f"{experiment_id} is deleted")


def start(
    experiment_id: Id,
    reason: Reason = None,
    force: Annotated[bool, typer.Option(help="Do not wait for the cool-down after a rollback; needs --reason.")] = False,
    as_json: Json = False,
) -> None:
    """Start a draft: its plan is frozen and hashed."""
    with said_plainly(as_json), connect() as client:
        _show(client.start_experiment(experiment_id, reason=reason, force=force), as_json)


def pause(experiment_id: Id, reason: Reason = None, as_json: Json = False) -> None:
    """Let base answer everybody for a while; events go on being taken."""
    _act("pause", experiment_id, reason, as_json)


def resume(experiment_id: Id, reason: Reason = None, as_json: Json = False) -> None:
    """Go on after a pause: everybody has the arm again that they had."""
    _act("resume", experiment_id, reason, as_json)


def approve(experiment_id: Id, reason: Reason = None, as_json: Json = False) -> None:
    """Let the present step of the ramp go on to the next, once its other rules hold."""
    _act("approve", experiment_id, reason, as_json)


def end(experiment_id: Id, reason: Reason = None, as_json: Json = False) -> None:
    """Complete an experiment: base answers everybody."""
    _act("end", experiment_id, reason, as_json)


def _act(what: str, experiment_id: str, reason: str | None, as_json: bool) -> None:
    with said_plainly(as_json), connect() as client:
        act = getattr(client, f"{what}_experiment")
        _show(act(experiment_id, reason=reason), as_json)


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    plan = found["plan"]
    rows = [
        ("id", found["id"]),
        ("experiment", f"{found['name']}, version {found['version']}"),
        ("supersedes", found["supersedes"]),
        ("status", found["status"]),
        ("held", found["held_reason"]),
        ("configs", ", ".join(plan["configs"] or ["all"])),
        ("eligible", _eligible(plan["eligibility"])),
        ("unit", plan["unit"]),
        ("group", _group(found)),
        ("step", _step(found)),
        ("primary metric", plan["primary_metric"]),
        ("plan's SHA-256", found["plan_sha256"] or "at the start"),
        ("cool-down until", found["cooldown_until"]),
        ("overridden by", (forced := found.get("forced")) and escape(f"{forced['actor']}: {forced['reason']}")),
        ("made by", found["created_by"]),
        ("started", found["started_at"]),
        ("ended", found["ended_at"]),
    ]
    print_table(("", ""), [row for row in rows if row[1] is not None])
    arms = [
        (
            arm["name"],
            f"{arm['weight']:.2%}",
            _adapter(arm),
            arm["model"] or "",
            arm["gated"] or (f"not known: {arm['model_trouble']}" if arm["model_trouble"] else ""),
        )
        for arm in found["arms"]
    ]
    print_table(("arm", "share now", "adapter", "model", "gated"), arms)


def _step(found: dict[str, Any]) -> str:
    return f"{found['step'] + 1} of {max(1, len(found['plan']['ramp']))}"


def _eligible(rules: Mapping[str, Any]) -> str | None:
    """Beside the configs; context hashes are counted, as nobody reads them."""
    said = [
        f"{name.replace('_', ' ')} {', '.join(rules[name])}" for name in ("input_languages", "context_languages") if rules[name]
    ]
    if rules["context_sha256"]:
        said.append(f"{len(rules['context_sha256'])} contexts")
    return "; ".join([*said, "model present"] if rules["model_present"] else said) or None


def _adapter(arm: Mapping[str, Any]) -> str:
    return (arm["adapter"] or "") + (f" ({arm['alias']})" if arm["alias"] else "")


def _share(arm: dict[str, Any]) -> str:
    return f"{arm['name']} {arm['weight']:.2%}"


def _group(found: dict[str, Any]) -> str | None:
    if found["plan"]["group"] is None:
        return None
    taken = found["group_range"]
    return f"{found['plan']['group']}" + (f", buckets {taken[0]} to {taken[1] - 1}" if taken else "")
