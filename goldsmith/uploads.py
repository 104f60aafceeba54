"""Uploads: prompts as JSONL or CSV, logs of sessions and golden sets as JSONL, and folders of context configs as ZIP.

Kept as they came and named `upload:<id>`.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from goldsmith import audit
from goldsmith.datasets import Origin
from goldsmith.devserver.checkout import CONFIGS, Checkout, read_checkout
from goldsmith.errors import Conflict, Forbidden, InvalidInput, NotFound, ReferenceNotUsable
from goldsmith.golden import KEYS, GoldenRow, read_row
from goldsmith.storage import Storage
from goldsmith.uno import logs

if TYPE_CHECKING:
    import psycopg

    from goldsmith.keys import Caller

UploadKind = Literal["prompts", "contexts", "sessions", "golden"]
JSONL, CSV, ZIP = "application/x-ndjson", "text/csv", "application/zip"
MEDIA_TYPES = {JSONL: "jsonl", "application/jsonl": "jsonl", "application/json-lines": "jsonl", CSV: "csv", ZIP: "zip"}

FORMS: dict[UploadKind, tuple[str, ...]] = {
    "prompts": ("jsonl", "csv"),
    "contexts": ("zip",),
    "sessions": ("jsonl",),
    "golden": ("jsonl",),
}

MAX_ROWS = 200_000
MAX_TEXT = 20_000  # characters of one prompt
SHOWN_ERRORS = 50
MAX_FILES, MAX_UNPACKED = 2_000, 64_000_000  # of a ZIP: a devserver has some 40 configs of a few kB


class Upload(BaseModel):
    """Immutable; the same bytes uploaded again as the same kind and origin are the same upload."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: UUID
    kind: UploadKind
    name: str
    origin: Origin = Field(description="Where its prompts come from; only `synthetic` ones may go to any teacher.")
    sha256: str = Field(description="Of the bytes that were sent.")
    bytes: int
    about: dict[str, Any] = Field(description="What was found in it: rows, or configs and what was left out.")
    uri: str = Field(exclude=True)
    created_by: str | None
    created_at: datetime

    @property
    def ref(self) -> str:
        return f"upload:{self.id}"


class UploadedPrompt(BaseModel):
    """One line of a JSONL file, or one row of a CSV file with a header."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, str_strip_whitespace=True)

    input: str = Field(min_length=1, max_length=MAX_TEXT, description="The prompt; the key may also be `prompt` or `text`.")
    language: str | None = Field(None, pattern="^[a-z]{2,3}$", description="ISO 639, such as de; empty: it is detected.")
    config_id: str | None = Field(None, min_length=1, max_length=200, description="The config that it was used with.")

    @model_validator(mode="before")
    @classmethod
    def _one_text(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            raise ValueError(f'a JSON object is wanted, such as {{"input": "a kite"}}, not {type(data).__name__}')
        names = [name for name in ("input", "prompt", "text") if name in data]
        if len(names) > 1:
            raise ValueError(f"it has {' and '.join(names)}; one of them is the prompt")
        renamed = {("input" if name in names else name): value for name, value in data.items()}
        text = renamed.get("input")
        if isinstance(text, str) and re.search(r"[\0\ud800-\udfff]", text):
            raise ValueError("input: must not contain NUL or half characters")
        return renamed


@dataclass(frozen=True)
class Line:
    number: int
    prompt: UploadedPrompt


def read_prompts(path: Path, form: str) -> Iterator[Line]:
    """The prompts of a stored upload, which was checked when it came."""
    for number, data in _rows(path, form):
        yield Line(number, UploadedPrompt.model_validate(data))


def read_sessions(path: Path) -> Iterator[Any]:
    """The lines of a stored upload of sessions, as JSON."""
    return (data for _, data in _rows(path, "jsonl"))


def read_golden(path: Path) -> Iterator[tuple[int, GoldenRow]]:
    """Line number and row of a stored golden set, which was checked when it came."""
    return ((number, read_row(data)) for number, data in _rows(path, "jsonl"))


def check_golden(path: Path) -> dict[str, Any]:
    """What is in a golden set, and how many rows expect what; raises as `check_prompts` does."""
    expected: Counter[str] = Counter()

    def one(data: Any) -> None:
        expected[read_row(data).expectation.kind] += 1

    rows = _check(_rows(path, "jsonl"), one, "row", ", ".join(KEYS))
    return {"format": "jsonl", "rows": rows, "expected": dict(expected)}


def check_prompts(path: Path, form: str) -> dict[str, Any]:
    """What is in a file of prompts; raises `InvalidInput` that names the wrong lines by their numbers."""
    rows = _check(_rows(path, form), UploadedPrompt.model_validate, "prompt", ", ".join(UploadedPrompt.model_fields))
    return {"format": form, "rows": rows}


def check_sessions(path: Path) -> dict[str, Any]:
    """What is in a log of sessions, and which keys nobody reads; raises as `check_prompts` does."""
    formats: Counter[str] = Counter()
    ignored: Counter[str] = Counter()

    def one(data: Any) -> None:
        logs.parse(data)
        formats[logs.format_of(data)] += 1
        ignored.update(logs.ignored(data))

    rows = _check(_rows(path, "jsonl"), one, "session", "")
    return {"format": "jsonl", "rows": rows, "formats": dict(formats), "ignored": dict(ignored.most_common(SHOWN_ERRORS))}


def _check(lines: Iterable[tuple[int, Any]], check: Callable[[Any], object], what: str, known: str) -> int:
    """How many lines there are; raises when `check` does for any of them."""
    errors: list[dict[str, Any]] = []
    wrong = rows = 0
    for number, data in lines:
        rows += 1
        if rows > MAX_ROWS:
            raise InvalidInput(f"line {number}: more than {MAX_ROWS:,} {what}s; upload them in parts")
        try:
            if isinstance(data, Exception):
                raise data
            check(data)
        except (ValidationError, ValueError) as error:
            wrong += 1
            if len(errors) < SHOWN_ERRORS:
                errors += _errors_of(number, error, known)
    if wrong:
        first = "; ".join(f"{one['field']}: {one['message']}" for one in errors[:3])
        raise InvalidInput(f"{wrong} of {rows} lines cannot be used: {first}", errors=errors[:SHOWN_ERRORS])
    if not rows:
        raise InvalidInput(f"the file has no {what}", errors=[{"field": "body", "message": f"at least one {what} is needed"}])
    return rows


_ALTERNATIVE = re.compile(r"^constrained-|\[")
"""What pydantic puts into a place to say which of several types it tried; it is no key of the line."""


def _errors_of(number: int, error: ValidationError | ValueError, known: str) -> list[dict[str, Any]]:
    if not isinstance(error, ValidationError):
        return [{"field": f"line {number}", "line": number, "message": str(error)}]
    found = []
    for each in error.errors(include_url=False, include_context=False):
        unknown = each["type"] == "extra_forbidden"
        message = f"unknown key; the known ones are: {known}" if unknown else each["msg"].removeprefix("Value error, ")
        where = ".".join(str(step)[:64] for step in each["loc"] if not _ALTERNATIVE.search(str(step)))
        found.append({"field": f"line {number}{': ' if where else ''}{where}", "line": number, "message": message})
    return found


def _rows(path: Path, form: str) -> Iterator[tuple[int, Any]]:
    """Line number and data; an exception in place of the data where a line cannot be read. Empty lines do not count."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InvalidInput(
            f"line {line}: not UTF-8", errors=[{"field": f"line {line}", "line": line, "message": "not UTF-8"}]
        ) from None
    yield from _csv(text) if form == "csv" else _jsonl(text)


def _jsonl(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, ValueError(f"not JSON ({str(error)[:100]})")


def _csv(text: str) -> Iterator[tuple[int, Any]]:
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if head.count(";") > head.count(",") else ",", strict=True)
    header: list[str] | None = None
    while True:
        start = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield start, ValueError(f"not CSV ({error})")
            return
        if not any(cell.strip() for cell in row):
            continue
        if header is None:
            header = [name.strip() for name in row]
            if len({"input", "prompt", "text"} & set(header)) != 1 or len(set(header)) < len(header):
                message = (
                    f"the header must name the columns, one of them input, prompt or text; it is {', '.join(header)[:200]}"
                )
                raise InvalidInput(
                    f"line {start}: {message}", errors=[{"field": f"line {start}", "line": start, "message": message}]
                )
        elif len(row) != len(header):
            yield start, ValueError(f"it has {len(row)} cells, the header {len(header)}")
        else:
            text_columns = ("input", "prompt", "text")
            cells = zip(header, row, strict=True)
            yield start, {name: cell for name, cell in cells if cell.strip() or name in text_columns}


def unpack_contexts(path: Path) -> tuple[Checkout, dict[str, Any]]:
    """The configs in a ZIP of a devserver checkout, of its `devserver` folder, or of a folder of config files.

    Raises `InvalidInput` for what is no ZIP, leads out of the folder, or is too large unpacked.
    """
    with TemporaryDirectory() as folder:
        _unpack(path, Path(folder))
        checkout, skipped = read_checkout(_top(Path(folder)))
    about = {
        "configs": [config.config_id for config in checkout.configs],
        "template_version": checkout.template_version,
        "skipped": [each.model_dump() for each in skipped[:SHOWN_ERRORS]],
    }
    return checkout, about


def _unpack(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            files = [one for one in archive.infolist() if not one.is_dir()]
            size = sum(one.file_size for one in files)
            if len(files) > MAX_FILES or size > MAX_UNPACKED:
                raise InvalidInput(
                    f"the ZIP holds {len(files):,} files with {size:,} bytes; at most {MAX_FILES:,} and {MAX_UNPACKED:,} are taken"
                )
            for one in files:
                name = PurePosixPath(one.filename)
                if name.is_absolute() or ".." in name.parts or "\\" in one.filename or "\0" in one.filename:
                    raise InvalidInput(f"the ZIP has a file outside of its folder: {one.filename[:200]!r}")
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(one) as source:  # reads no more than the size that was counted, or fails its checksum
                    target.write_bytes(source.read(one.file_size + 1)[: one.file_size])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise InvalidInput(f"the body is no ZIP that can be read: {str(error)[:200]}") from None


def _top(folder: Path) -> Path:
    """Below folders that hold nothing but one folder, as archives of a repository do."""
    while not (folder / CONFIGS).is_dir() and not (folder / "devserver" / CONFIGS).is_dir():
        inside = [path for path in folder.iterdir() if path.name != "__MACOSX"]
        if len(inside) != 1 or not inside[0].is_dir():
            break
        folder = inside[0]
    return folder


# One file for all uploads of the same bytes: none is written while another of them is removed.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('upload ' || %s, 0))"
_USED_BY = """
SELECT 'job:' || id AS used_by FROM jobs WHERE completed_at IS NULL AND strpos(config::text, %(ref)s) > 0
UNION ALL SELECT 'schedule ' || name FROM schedules WHERE strpos(config::text, %(ref)s) > 0
ORDER BY 1 LIMIT 10
"""
_COLUMNS = "id, kind, name, origin, sha256, bytes, about, uri, created_by, created_at"


def save(
    conn: psycopg.Connection[dict[str, Any]],
    storage: Storage,
    path: Path,
    *,
    form: str,
    name: str,
    origin: Origin,
    sha256: str,
    created_by: str | None,
    kind: UploadKind | None = None,
) -> tuple[Upload, bool]:
    """Check a file that has come, keep it, and say whether it is new. Raises `InvalidInput`, and then nothing is kept.

    Without a `kind` a ZIP holds contexts, and every other file prompts.
    """
    kind = kind or ("contexts" if form == "zip" else "prompts")
    if form not in FORMS[kind]:
        message = f"{kind} are uploaded as {' or '.join(FORMS[kind])}, not as {form}"
        raise InvalidInput(message, errors=[{"field": "kind", "value": kind, "message": message}])
    found = conn.execute(
        f"SELECT {_COLUMNS} FROM uploads WHERE kind = %s AND origin = %s AND sha256 = %s", (kind, origin, sha256)
    ).fetchone()
    if found is not None:
        return Upload.model_validate(found), False
    content: bytes | Path = path
    if kind == "contexts":
        checkout, about = unpack_contexts(path)
        content = checkout.model_dump_json().encode()
    else:
        checks = {"sessions": check_sessions, "golden": check_golden}
        about = checks[kind](path) if kind in checks else check_prompts(path, form)
    with conn.transaction():
        conn.execute(_LOCK, (sha256,))
        stored = storage.put(f"uploads/{sha256}/{'contexts.json' if kind == 'contexts' else f'{kind}.{form}'}", content)
        row = conn.execute(
            f"""
            INSERT INTO uploads (kind, name, origin, sha256, uri, bytes, about, created_by) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (kind, origin, sha256) DO UPDATE SET sha256 = excluded.sha256
            RETURNING {_COLUMNS}, xmax = 0 AS new
            """,
            (kind, name, origin, sha256, stored.uri, path.stat().st_size, Jsonb(about), created_by),
        ).fetchone()
    assert row is not None
    new = row.pop("new")
    return Upload.model_validate(row), new


def get(conn: psycopg.Connection[dict[str, Any]], ref: str, kind: str | None = None) -> Upload:
    """By `upload:<id>`; raises `NotFound`, and `ReferenceNotUsable` for one of another kind."""
    row = conn.execute(f"SELECT {_COLUMNS} FROM uploads WHERE id = %s", (UUID(ref.removeprefix("upload:")),)).fetchone()
    if row is None:
        raise NotFound(f"there is no {ref}")
    if kind is not None and row["kind"] != kind:
        raise ReferenceNotUsable(f"{ref} holds {row['kind']}, not {kind}")
    return Upload.model_validate(row)


def remove(conn: psycopg.Connection[dict[str, Any]], storage: Storage, upload_id: UUID, caller: Caller) -> None:
    """Delete an upload and its file. Datasets that were made of it stay: they hold their own copies.

    Raises `NotFound`, `Forbidden` for who neither sent it nor is an admin, and `Conflict` while a job that has not ended, or a
    schedule, names it.
    """
    with conn.transaction():
        upload = get(conn, f"upload:{upload_id}")
        conn.execute(_LOCK, (upload.sha256,))
        if upload.created_by != caller.name and not caller.may("admin"):
            raise Forbidden(f"{upload.ref} was sent by another key; only that one or an admin may delete it")
        if users := [row["used_by"] for row in conn.execute(_USED_BY, {"ref": upload.ref})]:
            raise Conflict(f"{upload.ref} is named by {', '.join(users)}; wait for their end, or cancel or remove them first")
        conn.execute("DELETE FROM uploads WHERE id = %s", (upload_id,))
        audit.record(conn, caller.name, "upload.delete", upload.ref, {"name": upload.name, "sha256": upload.sha256})
        if conn.execute("SELECT 1 FROM uploads WHERE uri = %s", (upload.uri,)).fetchone() is None:
            storage.remove(upload.uri)


def newest(conn: psycopg.Connection[dict[str, Any]], limit: int) -> list[Upload]:
    rows = conn.execute(f"SELECT {_COLUMNS} FROM uploads ORDER BY id DESC LIMIT %s", (limit,)).fetchall()
    return [Upload.model_validate(row) for row in rows]
