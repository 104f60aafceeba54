"""The pages for people: `/experiments` and `/experiments/{id}`, plain files from `api/web` without a build step.

They hold no data: their scripts ask `/v1/experiments` as any other caller does, with the reader's own key. What a page may
do stands in `POLICY`: scripts, styles and requests of this server only, nothing written into the page's own text.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from string import Template
from typing import Annotated

from fastapi import APIRouter, Header, Response

from api.stream import matches
from goldsmith.errors import NotFound
from goldsmith.kinds.registry import shown

router = APIRouter(include_in_schema=False)

WEB = Path(__file__).parent / "web"
MEDIA = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FILES = frozenset(path.name for path in WEB.iterdir() if path.suffix in MEDIA)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # a reader has the new page after an upgrade, and a 304 until then
}

IfNoneMatch = Annotated[str | None, Header()]


@router.get("/experiments")
async def experiments(if_none_match: IfNoneMatch = None) -> Response:
    page = _page("experiments", title="Experiments", root="", current=' aria-current="page"')
    return _answer(page, "text/html", if_none_match)


@router.get("/experiments/{experiment_id}")
async def experiment(experiment_id: str, if_none_match: IfNoneMatch = None) -> Response:
    """The same file for every id; whether there is such an experiment is known to `/v1/experiments`."""
    page = _page("experiment", title="Experiment", root="../", current="")
    return _answer(page, "text/html", if_none_match)


@router.get("/web/{name}")
async def file(name: str, if_none_match: IfNoneMatch = None) -> Response:
    if name not in FILES:
        raise NotFound(f"there is nothing at /web/{shown(name)}")
    return _answer(_read(name), MEDIA[Path(name).suffix], if_none_match)


def _answer(content: bytes, media_type: str, if_none_match: str | None) -> Response:
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = HEADERS | {"ETag": tag}
    if if_none_match is not None and matches(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=media_type)


@cache
def _page(name: str, *, title: str, root: str, current: str) -> bytes:
    """`name.html` in the shell of all pages. `root`: the way from the page's address to the server's, which may lie below a path."""
    shell, content = Template(_read("shell.html").decode()), _read(f"{name}.html").decode().rstrip()
    return shell.substitute(title=title, root=root, current=current, script=f"{name}.js", content=content).encode()


@cache
def _read(name: str) -> bytes:
    return (WEB / name).read_bytes()
