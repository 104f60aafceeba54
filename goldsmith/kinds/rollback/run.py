"""Read what the deployment replaced, put it back, ask it."""

from __future__ import annotations

import json
from typing import Any

from goldsmith.context import JobContext
from goldsmith.errors import Conflict
from goldsmith.kinds.rollback.schema import RollbackConfig, RollbackResult


def run(config: RollbackConfig, ctx: JobContext) -> RollbackResult:
    deployed: dict[str, Any] = json.loads(ctx.artifact(f"{config.deploy}/deploy.json").read_text())
    alias, version = deployed["alias"], deployed["former_alias_version"]
    name = deployed["adapter"].removeprefix("adapter:").partition("@")[0]
    if alias is not None and version is not None and ctx.adapter(f"adapter:{name}@{version}").status == "retired":
        raise Conflict(f"deploy: adapter:{name}@{version}, which {config.deploy} replaced, is retired; deploy another version")
    model, latest, former = deployed["model"], f"{deployed['model']}:latest", f"{deployed['model']}:former"
    ollama = ctx.ollama()
    ctx.progress(5, f"putting {latest} back")
    tags = ollama.tags()
    wanted = deployed["former_digest"]
    if tags.get(latest) not in (deployed["digest"], wanted):
        raise Conflict(
            f"deploy: {latest} is {tags.get(latest)}, not {deployed['digest']} as {config.deploy} left it;"
            " roll back the newest deployment of that model"
        )
    if wanted is None:
        ollama.delete(latest)
    elif tags.get(latest) != wanted:
        if tags.get(former) != wanted:
            raise Conflict(f"deploy: {former} should be {wanted}, which {config.deploy} replaced, and is {tags.get(former)}")
        ollama.copy(former, latest)

    answer = None
    if wanted is not None:
        answer = ollama.chat(latest, [{"role": "user", "content": "Say one word."}], limit=8)["message"]["content"]
    if alias is not None:
        ctx.move_alias(name, alias, version)
    return RollbackResult(model=model, latest=wanted, undone=deployed["digest"], alias=alias, version=version, answer=answer)
