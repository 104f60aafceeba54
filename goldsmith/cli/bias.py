"""`goldsmith bias JOB`: what a bias audit or a fidelity job found."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from goldsmith.cli.output import Json, console, print_json, print_table, said_plainly
from goldsmith.cli.stack import connect
from goldsmith.client import Client
from goldsmith.errors import InvalidInput
from goldsmith.kinds.bias_audit import report


def bias(
    job: Annotated[str, typer.Argument(help="The id of a completed bias_audit or fidelity job.")],
    lang: Annotated[
        Literal["de", "en"] | None, typer.Option(help="Of an audit: show the report for people who teach, in this language.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write that report into this .html or .md file; in English without --lang.", dir_okay=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show each measure of base model and adapter with its interval, the verdict and why."""
    if out is not None and out.suffix not in (".html", ".md"):
        raise typer.BadParameter(f"{str(out)!r} ends neither in .html nor in .md", param_hint="--out")
    with said_plainly(as_json), connect() as client:
        found = client.get(job.removeprefix("job:"))
        if found.kind not in ("bias_audit", "fidelity") or found.result is None:
            raise InvalidInput(
                f"job {found.id} is a {found.kind} job, {found.status}; a bias_audit or fidelity job that is completed is wanted"
            )
        if (lang or out) and found.kind != "bias_audit":
            raise InvalidInput(f"job {found.id} is a {found.kind} job; only a bias_audit job has a report for --lang and --out")
        if lang or out:
            _report(client, found.result["numbers"], lang or "en", out)
        elif as_json:
            print_json(found.result)
        elif found.kind == "bias_audit":
            _audit(found.result)
        else:
            _fidelity(found.result)


def _report(client: Client, numbers: str, language: Literal["de", "en"], out: Path | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        told = json.loads(client.download(numbers, Path(folder) / "bias.json").read_text(encoding="utf-8"))
    page = report.of(told, language)
    if out is None:
        typer.echo(page.markdown())
        return
    out.write_text(page.html() if out.suffix == ".html" else page.markdown(), encoding="utf-8")
    console.print(f"{out} has the report", markup=False)


def _audit(result: Mapping[str, Any]) -> None:
    for one in result["audited"]:
        rows = [
            [it["name"], it["better"], *(_interval(it[of]) for of in ("base", "adapter", "difference")), it["verdict"]]
            for it in one["measures"]
        ]
        title = f"{one['adapter']}: {'passed' if one['passed'] else 'not passed'} {result['label']}".strip()
        print_table(
            ["measure", "better", "base model", "adapter", "difference", "verdict"], rows, title=title, whole=("measure",)
        )
        console.print(f"{one['why']}\n", markup=False)
    if result.get("filled_up"):  # results of before know nothing of it
        missing = "; ".join(f"{name}: {reason}" for name, reason in result["left_out"].items())
        console.print(
            f"The job's own contexts speak of too few traditions, so contexts of ours were asked as well. Left out: {missing}\n",
            markup=False,
        )
    console.print(
        f"report: {result['report']}; to read it: goldsmith bias <job> --lang de|en [--out report.html]", markup=False
    )


def _fidelity(result: Mapping[str, Any]) -> None:
    exam = result["exam"]
    rows = [
        ["examination", f"{exam['right']} of {exam['pairs']} planted pairs right, {exam['needed']:.0%} asked for"],
        ["runs", f"{result['judged']} judged of {result['drawn']} drawn, {result['devices']} devices"],
        ["win rate", f"{_interval(result['win_rate'])}: {result['wins']} won, {result['ties']} ties, {result['losses']} lost"],
        ["follows the position", _interval(result["follows_position"])],
        ["spent", f"{result['spent_usd']:.4f} USD"],
        ["left out", ", ".join(f"{count}: {reason}" for reason, count in result["left_out"].items()) or "nothing"],
    ]
    print_table(
        ["", ""], rows, title=f"{result['adapter']} against {result['against']}: {result['verdict']} {result['label']}".strip()
    )
    console.print(result["why"], markup=False)


def _interval(found: Mapping[str, float] | None) -> str:
    return "–" if found is None else f"{found['value']:.3g} [{found['low']:.3g}, {found['high']:.3g}]"
