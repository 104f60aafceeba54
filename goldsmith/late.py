"""Rows are stored as what their prompt is made of, and rendered when they are read: template, task and each context once, by
their hashes. So a row says what it was trained on, and the same answer can be rendered into another template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from goldsmith.devserver.prompts import fill
from goldsmith.errors import InvalidInput

if TYPE_CHECKING:
    import psycopg

    from goldsmith.devserver.checkout import Checkout


def keep(conn: psycopg.Connection[dict[str, Any]], checkout: Checkout) -> None:
    """Remember all that rendering with this checkout needs; what is known already stays as it is."""
    conn.execute(
        "INSERT INTO prompt_templates (version, template, task, wiki) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (checkout.template_version, checkout.template, checkout.task, checkout.wiki),
    )
    contexts = {config.context_sha256(lang): text for config in checkout.configs for lang, text in config.context.items()}
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO prompt_contexts (sha256, text) VALUES (%s, %s) ON CONFLICT DO NOTHING", sorted(contexts.items())
        )


class Parts:
    """The templates and contexts of some rows, and both ways between a row and its messages."""

    def __init__(self, conn: psycopg.Connection[dict[str, Any]], rows: Sequence[Mapping[str, Any]]) -> None:
        versions = list({row["template_version"] for row in rows})
        hashes = list({row["context_sha256"] for row in rows})
        found = conn.execute("SELECT version, template, task, wiki FROM prompt_templates WHERE version = ANY(%s)", (versions,))
        self._templates = {row["version"]: row for row in found.fetchall()}
        contexts = conn.execute("SELECT sha256, text FROM prompt_contexts WHERE sha256 = ANY(%s)", (hashes,)).fetchall()
        self._contexts = {row["sha256"]: row["text"] for row in contexts}

    def prompt(self, row: Mapping[str, Any]) -> str | None:
        """The one user turn of a row; None where its template or context was never kept here."""
        template, context = self._templates.get(row["template_version"]), self._contexts.get(row["context_sha256"])
        if template is None or context is None:
            return None
        wiki = template["wiki"] if row.get("wiki") else ""
        return fill(template["template"], task=template["task"], context=context, text=row["input"], wiki=wiki)

    def stored(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row without its messages; one that was made elsewhere, from parts that are not known here, keeps them.

        Raises `InvalidInput` when the parts are known and give another prompt: the row would lie about what it was made from.
        """
        prompt = self.prompt(row)
        if prompt is None or [message["role"] for message in row["messages"]] not in (["user"], ["user", "assistant"]):
            return row
        if row["messages"][0]["content"] != prompt:
            raise InvalidInput(
                f"the prompt of the example from {row['source']} for {row['config_id']} is not what its template"
                f" {row['template_version']}, context and input give"
            )
        return {name: value for name, value in row.items() if name != "messages"}

    def rendered(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with its messages."""
        if "messages" in row:
            return row
        messages = [{"role": "user", "content": self.prompt(row)}]
        if row["output"] is not None:
            messages.append({"role": "assistant", "content": row["output"]})
        return {**row, "messages": messages}
