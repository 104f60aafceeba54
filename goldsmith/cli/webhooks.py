"""`goldsmith webhooks …`: who is told when jobs end, and of what happens to experiments."""

from __future__ import annotations

from typing import Annotated

import typer

from goldsmith.cli.output import Json, console, print_json, print_table, said_plainly
from goldsmith.cli.stack import connect

app = typer.Typer(no_args_is_help=True, help="List, add and remove webhooks.")


@app.command(name="list")
def list_webhooks(as_json: Json = False) -> None:
    """List webhooks, newest first."""
    with said_plainly(as_json), connect() as client:
        found = client.webhooks()
        if as_json:
            print_json(found)
        else:
            rows = [
                (
                    hook["id"],
                    hook["url"],
                    ", ".join(hook["events"]) or "all",
                    ", ".join(hook["kinds"]) or "all",
                    hook["disabled_reason"]
                    or (f"failing since {hook['failing_since']}" if hook["failing_since"] else "active"),
                )
                for hook in found
            ]
            print_table(("id", "url", "events", "kinds", "state"), rows)


@app.command()
def add(
    url: Annotated[str, typer.Argument(help="https:// or http://; private networks need GOLDSMITH_WEBHOOK_PRIVATE.")],
    event: Annotated[
        list[str] | None, typer.Option("--event", "-e", help="Such as job.failed or experiment.rolled_back; none given: all.")
    ] = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", "-k", help="Only jobs of this kind; none given: all.")] = None,
    as_json: Json = False,
) -> None:
    """Tell a URL when jobs end, and of what happens to experiments. The secret is shown now and never again."""
    with said_plainly(as_json), connect() as client:
        made = client.add_webhook(url, events=event or [], kinds=kind or [])
        if as_json:
            print_json(made)
        else:
            print_table(("", ""), [("webhook", made["id"]), ("secret", made["secret"])])
            console.print("Keep the secret: it is not shown again.")


@app.command()
def remove(webhook_id: Annotated[str, typer.Argument(help="The webhook's id.")], as_json: Json = False) -> None:
    """Remove a webhook with its deliveries."""
    with said_plainly(as_json), connect() as client:
        client.remove_webhook(webhook_id)
        print_json({"removed": webhook_id}) if as_json else console.print("removed")
