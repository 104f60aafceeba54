"""`goldsmith rules …`: what clusters of sessions taught, and what came of each cluster."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from goldsmith.cli.ablation import show_ablation
from goldsmith.cli.output import NARROW, Json, console, print_json, print_table, said_plainly
from goldsmith.cli.stack import connect
from goldsmith.client import Client
from goldsmith.errors import InvalidInput

app = typer.Typer(no_args_is_help=True, help="Show, search, retire and export the rules that clusters of sessions taught.")

Of = Annotated[
    str | None, typer.Option("--job", help="A cluster or a uno job, job:<id>; else the newest clustering that completed.")
]
RuleId = Annotated[str, typer.Argument(help="As `goldsmith rules search` prints it.")]


@app.command()
def show(
    what: Annotated[str | None, typer.Argument(help="A rule's id, or a cluster's; else all clusters.")] = None,
    job: Of = None,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Print the newest ablation table of these clusters instead.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the clusters of a job with size, gap, path, top rules and what each one's adapter won; or one of them; or a rule."""
    with said_plainly(as_json), connect() as client:
        if what is not None and what.count("-") == 4:
            _show_rule(client.rule(what), as_json)
            return
        found = client.clusters(job)
        if ablation:
            _show_ablation(client, found, as_json)
            return
        if what is not None:
            found["clusters"] = [one for one in found["clusters"] if what in (one["cluster_id"], str(one["label"]))]
            if not found["clusters"]:
                raise InvalidInput(f"job:{found['job_id']} has no cluster {what}; `goldsmith rules show` lists them")
        if as_json:
            print_json(found)
            return
        marks = f", {found['label']}" if found["label"] else ""
        console.print(f"job:{found['job_id']}: {found['encoder']}, {found['space']} space{marks}", markup=False)
        if told := found["ablation"]:
            console.print(f"worth it? {told['worth_it']} (goldsmith rules show --ablation)", markup=False)
        for cluster in found["clusters"]:
            _show_cluster(cluster)


def _show_ablation(client: Client, found: dict[str, Any], as_json: bool) -> None:
    told = found["ablation"]
    if told is None:
        raise InvalidInput(f"no ablation has examined a router of job:{found['job_id']}; `ablation=all` in a uno job makes one")
    job = client.get(told["job_id"])
    assert job.result is not None
    print_json(job.result) if as_json else show_ablation(client, job.result)


def _show_cluster(cluster: dict[str, Any]) -> None:
    about = [("sessions", f"{cluster['size']}{', too small for an adapter' if cluster['status'] == 'fallback' else ''}")]
    about += [("inputs with", cluster["input_pattern"])] if cluster["input_pattern"] else []
    if gap := cluster["gap"]:
        mu = "" if gap["mu"] is None else f"{gap['mu']:.3f}, "
        about.append(("gap", f"{mu}{gap['decision']} ({gap['method']})"))
    if route := cluster["route"]:
        about.append(("path", f"{route['path']}: {route['why']}"))
    if won := cluster["won"]:
        about.append(("won", _won(won)))
    about += [(f"{rule['support']} of {cluster['size']}", escape(rule["rule"])) for rule in cluster["top_rules"]]
    if cluster["rules"] > len(cluster["top_rules"]):
        about.append(
            (
                "",
                f"and {cluster['rules'] - len(cluster['top_rules'])} more: goldsmith rules search --cluster {cluster['cluster_id']}",
            )
        )
    about.append(("such as", ", ".join(cluster["sessions"])))
    console.print()
    print_table((f"cluster {cluster['cluster_id'] or cluster['label']}", ""), about)


def _won(won: dict[str, Any]) -> str:
    if won["win_rate"] is None or won["adapter"] is None:
        return f"nothing: {won['why']}"
    between = "" if won["interval"] is None else f" ({won['interval'][0]:.0%} to {won['interval'][1]:.0%})"
    passed = "passed" if won["passed"] else "not passed"
    return f"{won['win_rate']:.0%} of {won['n']}{between} over the base model by {won['adapter']}, {passed}"


def _show_rule(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    rule = found["rule"]
    about = [
        ("rule", escape(rule["rule"])),
        ("status", rule["status"]),
        ("cluster", f"{rule['cluster_id']} of job:{rule['job_id']}"),
    ]
    about += [
        (
            "support",
            f"{rule['support']} sessions, {rule['coverage']:.0%} of the cluster; {rule['evidence']['favorites']} favourites",
        )
    ]
    about += [("configs", ", ".join(rule["configs"])), ("inputs with", rule["input_pattern"] or "")]
    about += [
        (one["session_id"], escape(f"{one['rule']}{' — ' + one['quote'] if one['quote'] else ''} ({one['signal']})"))
        for one in found["examples"]
    ]
    print_table(("", ""), about)


@app.command()
def search(
    words: Annotated[list[str] | None, typer.Argument(help="Words that all stand in the rule.")] = None,
    job: Annotated[str | None, typer.Option("--job", help="Only this cluster job's; else of all.")] = None,
    cluster: Annotated[str | None, typer.Option(help="A cluster's id.")] = None,
    config: Annotated[str | None, typer.Option(help="Learned in sessions of this config.")] = None,
    status: Annotated[str | None, typer.Option(help="active or retired.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50,
    as_json: Json = False,
) -> None:
    """Find rules, those of the newest clustering first."""
    with said_plainly(as_json), connect() as client:
        filters = {"search": " ".join(words or []), "job": job, "cluster": cluster, "config": config, "status": status}
        found = list(islice(client.rules(limit=min(limit, 1000), **{name: one for name, one in filters.items() if one}), limit))
        if as_json:
            print_json(found)
            return
        if console.width < NARROW:
            marks = {"active": "", "retired": "(retired) "}
            short = [(one["id"], one["cluster_id"], marks[one["status"]] + escape(one["rule"])) for one in found]
            print_table(("id", "cluster", "rule"), short, whole=("id", "cluster"))
            return
        rows = [
            (one["id"], one["cluster_id"], one["support"], f"{one['coverage']:.0%}", one["status"], escape(one["rule"]))
            for one in found
        ]
        print_table(("id", "cluster", "support", "share", "status", "rule"), rows, whole=("id", "cluster"))


@app.command()
def retire(rule: RuleId, as_json: Json = False) -> None:
    """Use a rule no more, nor any that it stands for."""
    with said_plainly(as_json), connect() as client:
        _said(client.retire_rule(rule), as_json)


@app.command()
def restore(rule: RuleId, as_json: Json = False) -> None:
    """Take a retired rule back into use."""
    with said_plainly(as_json), connect() as client:
        _said(client.restore_rule(rule), as_json)


def _said(found: dict[str, Any], as_json: bool) -> None:
    print_json(found) if as_json else console.print(f"{found['status']}: {found['rule']}", markup=False)


@app.command()
def export(
    to: Annotated[Path | None, typer.Option("--to", help="A file; .md gives Markdown. Else JSON is printed.")] = None,
    job: Of = None,
    markdown: Annotated[bool, typer.Option(help="Markdown whatever the file is called.")] = False,
) -> None:
    """Write the active rules of a clustering as JSON (rule, evidence, configs, input_pattern) or as Markdown."""
    with said_plainly(), connect() as client:
        as_markdown = markdown or (to is not None and to.suffix == ".md")
        found = client.export_rules(job, markdown=as_markdown)
        if to is None:
            typer.echo(found) if isinstance(found, str) else print_json(found)
            return
        to.write_text(found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, indent=2), encoding="utf-8")
        console.print(f"{to}", markup=False)
