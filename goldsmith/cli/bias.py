"""`goldsmith bias JOB`: what a bias audit or a fidelity job found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from goldsmith.cli.output import Json, console, print_json, print_table, said_plainly
from goldsmith.cli.stack import connect
from goldsmith.errors import InvalidInput


def bias(
    job: Annotated[str, typer.Argument(help="The id of a completed bias_audit or fidelity job.")], as_json: Json = False
) -> None:
    """Show each measure of base model and adapter with its interval, the verdict and why."""
    with said_plainly(as_json), connect() as client:
        found = client.get(job.removeprefix("job:"))
        if found.kind not in ("bias_audit", "fidelity") or found.result is None:
            raise InvalidInput(
                f"job {found.id} is a {found.kind} job, {found.status}; a bias_audit or fidelity job that is completed is wanted"
            )
        if as_json:
            print_json(found.result)
        elif found.kind == "bias_audit":
            _audit(found.result)
        else:
            _fidelity(found.result)


def _audit(result: Mapping[str, Any]) -> None:
    for one in result["audited"]:
        rows = [
            [it["name"], it["better"], *(_interval(it[of]) for of in ("base", "adapter", "difference")), it["verdict"]]
            for it in one["measures"]
        ]
        title = f"{one['adapter']}: {'passed' if one['passed'] else 'not passed'} {result['label']}".strip()
        print_table(["measure", "better", "base model", "adapter", "difference", "verdict"], rows, title=title)
        console.print(f"{one['why']}\n", markup=False)
    console.print(f"report: {result['report']}", markup=False)


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
