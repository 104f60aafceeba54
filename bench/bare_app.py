"""The peer that does nothing: what FastAPI and uvicorn alone cost."""

from __future__ import annotations

from fastapi import FastAPI

app = FastAPI()


@app.post("/constant", status_code=202)
async def post_constant() -> dict[str, str]:
    return {"status": "queued"}


@app.get("/constant")
async def get_constant() -> dict[str, str]:
    return {"status": "queued"}
