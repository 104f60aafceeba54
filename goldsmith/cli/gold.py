"""`goldsmith gold JOB`: a gold job's report, from the first recorded run to the last row that passed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from goldsmith.cli.output import Json, print_json, said_plainly
from goldsmith.cli.stack import connect
from goldsmith.client import Client
from goldsmith.errors import InvalidInput

WIDTH = 40  # of the longest bar
SHADES = " ░▒▓█"


def gold(job: Annotated[str, typer.Argument(help="The id of a completed gold job.")], as_json: Json = False) -> None:
    """Show what became of the rows (imported, allowed, deduplicated, bought, passed), what they cost, and what they cover."""
    with said_plainly(as_json), connect() as client:
        found = _report(client, job.removeprefix("job:"))
        print_json(found) if as_json else typer.echo(_text(found))


def _report(client: Client, job_id: str) -> dict[str, Any]:
    job = client.get(job_id)
    if job.kind != "gold" or job.result is None:
        raise InvalidInput(f"job {job_id} is a {job.kind} job, {job.status}; a gold job that is completed is wanted")
    corpus_job = client.get(client.dataset(job.config["dataset"])["dataset"]["job_id"])
    corpus = corpus_job.result or {}
    funnel: dict[str, int] = {}
    if runs := corpus_job.config.get("runs"):
        imported = client.get(runs.removeprefix("job:")).result or {}
        funnel = {"imported": imported["runs"], "allowed": imported["may_train"]}
    if "prompts" in corpus:
        funnel["deduplicated"] = corpus["prompts"]
    result = job.result
    funnel |= {"rows (prompt × config)": result["rows"], "bought": result["asked"], "passed": result["passed"]}
    cost = {name: result[name] for name in ("spent_usd", "saved_by_reuse_usd")}
    cost |= {name: result.get(name) for name in ("cache", "cache_read_tokens", "cache_write_tokens", "reserved_by", "warnings")}
    return {
        "label": result["label"],
        "teacher": f"{result['teacher']} {result['model']}",
        "funnel": funnel,
        "dropped": result["dropped"],
        "repaired": result["repaired"],
        "cost": cost
        | {"usd_per_row": round(result["spent_usd"] / max(1, result["passed"]), 6), "stopped_by": result["stopped_by"]},
        "coverage": _coverage(client, corpus.get("coverage")),
    }


def _coverage(client: Client, ref: str | None) -> dict[str, dict[str, int]]:
    """Tradition to config to rows, of the traditions that a prompt names."""
    if ref is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = json.loads(client.download(ref, Path(folder) / "coverage.json").read_text())
    return {each["name"]: each["by_config"] for each in found["traditions"].values() if each["prompts"]}


def _text(found: Mapping[str, Any]) -> str:
    most = max(found["funnel"].values(), default=1)
    cost = found["cost"]
    lines = [f"{found['teacher']} {found['label']}".strip(), ""]
    for stage, count in found["funnel"].items():
        lines.append(f"{stage:>22}  {'█' * max(1, round(WIDTH * count / most)) if count else '':<{WIDTH}}  {count}")
    lines += ["", f"repaired {found['repaired']}; dropped {sum(found['dropped'].values())}"]
    lines += [f"  {count:>5}  {rule}" for rule, count in found["dropped"].items()]
    lines += ["", f"spent {cost['spent_usd']:.4f} USD, {cost['usd_per_row']:.6f} for each row that passed"]
    lines.append(f"saved by reuse: {cost['saved_by_reuse_usd']:.4f} USD")
    if cost.get("cache"):
        lines.append(f"cache: {cost['cache']}")
        lines.append(
            f"  {cost['cache_read_tokens']} input tokens were read from it, {cost['cache_write_tokens']} written to it"
        )
        lines.append(f"worst cases: {cost['reserved_by']}")
    lines += [f"warning: {warning}" for warning in cost.get("warnings") or ()]
    if cost["stopped_by"]:
        lines.append(f"stopped by: {cost['stopped_by']}")
    if table := found["coverage"]:
        lines += ["", "rows by tradition and config", *_heat_map(table)]
    return "\n".join(lines)


def _heat_map(table: Mapping[str, Mapping[str, int]]) -> list[str]:
    configs = list(dict.fromkeys(config for row in table.values() for config in row))
    most = max((count for row in table.values() for count in row.values()), default=0) or 1
    width = max((len(name) for name in table), default=0)
    lines = [f"{'':<{width}}  {'  '.join(f'{config[:10]:<10}' for config in configs)}"]
    for name, row in table.items():
        cells = (f"{SHADES[-(-4 * row.get(config, 0) // most)] * 4} {row.get(config, 0):<5}" for config in configs)
        lines.append(f"{name:<{width}}  {'  '.join(cells)}".rstrip())
    return lines
