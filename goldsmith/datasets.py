"""Dataset versions: frozen rows for training, content-hashed, in Postgres and as JSONL files that TRL reads."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from psycopg.types.json import Jsonb
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    computed_field,
    model_serializer,
    model_validator,
)

from goldsmith import jobs, late
from goldsmith.devserver.drift import Pins, pinned, pins_of
from goldsmith.errors import InvalidInput, NotFound
from goldsmith.kinds.base import NAME_PATTERN
from goldsmith.storage import Storage, Stored

if TYPE_CHECKING:
    import psycopg

    from goldsmith.devserver.checkout import Checkout

Split = Literal["train", "heldout"]
SPLITS: tuple[Split, ...] = ("train", "heldout")
Origin = Literal["recorded", "upload", "synthetic"]
ORIGINS: tuple[Origin, ...] = ("recorded", "upload", "synthetic")

LICENCE = (
    "The inputs belong to those who typed them. Task, template and contexts in the prompts are the devserver's, under its licence:"
    " not to be redistributed or modified. The answers are a teacher's, under its provider's terms. For use inside your own"
    " installation."
)

_REF = re.compile(rf"dataset:({NAME_PATTERN})@([1-9][0-9]{{0,8}}|latest)")
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "user", "assistant"]
    content: str


class Example(BaseModel):
    """One row for training, in TRL's conversational form, with all that is needed to render it anew.

    `messages` are rendered from the other fields when a row is read; what is stored is `output` and what the prompt is made of.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")  # not null: saving refuses NaN

    split: Split
    messages: list[Message] = Field(min_length=1, description="A corpus row ends with the user, a gold row with the assistant.")
    config_id: str
    context_lang: str = Field(description="The language of the context in the prompt.")
    context_sha256: str
    template_version: str
    wiki: bool = Field(False, description="Whether the wiki block of that template stands below the prompt.")
    input: str = Field(description="The text that the prompt was rendered from.")
    language: str = Field(description="The language of the input.")
    original: str = Field("", description="What was typed, where the input is a translation of it.")
    group: str = Field(description="Rows of one group are never split.")
    source: str = Field(description="The run, the upload and line, or the preset that the input comes from.")
    origin: Origin = Field(
        "recorded",
        description="`recorded`: people typed it in a workshop; `upload`: it was uploaded; `synthetic`: a model made it.",
    )
    preset: str = Field("", description="The preset of a synthetic input.")
    traditions: list[str] = Field(default_factory=list, description="The cultural traditions that the input names.")
    rehearsal: bool = False
    gates: dict[str, Any] = Field(default_factory=dict, description="What checks said about the answer.")
    rejected: str | None = Field(
        None, description="Of a pair: another answer to the same prompt, which the last message beats."
    )
    expect: dict[str, Any] | None = Field(
        None, description="Of a golden set: what is expected of an answer, one of `expected`, `pattern`, `schema`, `rules`."
    )

    @model_validator(mode="before")
    @classmethod
    def _with_its_own_output(cls, data: Any) -> Any:
        """`output` is told, never set: it is the last message."""
        return {name: value for name, value in data.items() if name != "output"} if isinstance(data, dict) else data

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Rows that are no pairs and of no golden set keep the line, and so the hash, that they had before there were such."""
        row: dict[str, Any] = handler(self)
        for name in ("rejected", "expect"):
            if getattr(self, name) is None:
                row.pop(name, None)
        return row

    @computed_field(description="The answer; null for a row of a corpus.")  # type: ignore[prop-decorator]
    @property
    def output(self) -> str | None:
        return self.messages[-1].content if self.messages[-1].role == "assistant" else None

    @property
    def asked(self) -> tuple[tuple[str, str], ...]:
        """The prompt as prompts are told apart: case and spaces do not make another one."""
        return tuple((message.role, " ".join(message.content.casefold().split())) for message in self.messages[:-1])

    @property
    def private(self) -> bool:
        """Whether a person may have typed the input: only what a model made is surely nobody's."""
        return self.origin != "synthetic"


class DatasetVersion(BaseModel):
    """Immutable: what was saved under this number stays so, but for the rows of somebody whose data was erased."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: int
    job_id: UUID | None
    content_sha256: str
    counts: dict[str, int]
    manifest: dict[str, Any]
    parents: list[str]
    rehearsal: bool
    created_at: datetime
    erased_rows: int = Field(0, description="Rows that were erased since; `counts` and `content_sha256` still tell of them.")
    erased_at: datetime | None = Field(None, description="When rows were erased in it, or in what it was made from.")

    @property
    def ref(self) -> str:
        return f"dataset:{self.name}@{self.version}"

    @property
    def warning(self) -> str | None:
        """What whoever loads it must know."""
        if self.erased_at is None:
            return None
        return f"{self.ref}: {self.erased_rows} of its rows were erased on {self.erased_at:%Y-%m-%d}; it holds what was left"


def parse_ref(ref: str) -> tuple[str, int | Literal["latest"]]:
    """`dataset:<name>@<version>` in parts; the version is a number or `latest`."""
    match = _REF.fullmatch(ref)
    if match is None:
        raise InvalidInput(f"{ref!r} is no dataset reference: dataset:<name>@<version> or dataset:<name>@latest")
    name, version = match.groups()
    return name, "latest" if version == "latest" else int(version)


def canonical(example: Example) -> str:
    """The example as one line of JSON: keys sorted, no spaces, characters as they are (no Unicode normalisation)."""
    try:
        line = json.dumps(
            example.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        line.encode()
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"the example from {example.source} for {example.config_id} is not JSON: {error}") from error
    if _NUL.search(line):
        raise InvalidInput(
            f"the example from {example.source} for {example.config_id} has a NUL character, which Postgres refuses"
        )
    return line


def content_sha256(examples: Iterable[Example]) -> str:
    """SHA-256 over the canonical lines, in order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(canonical(example).encode() + b"\n")
    return digest.hexdigest()


def count(examples: Iterable[Example]) -> dict[str, int]:
    """Rows by split; both splits are always there."""
    counts: dict[str, int] = dict.fromkeys(SPLITS, 0)
    for example in examples:
        counts[example.split] += 1
    return counts


def check_new(name: str, examples: Sequence[Example], manifest: Mapping[str, Any]) -> None:
    """Raise `InvalidInput` for what cannot become a version."""
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise InvalidInput(f"name {name!r}: a dataset is named {NAME_PATTERN}")
    if taken := sorted({"files", "pins", "licence"} & set(manifest)):
        raise InvalidInput(f"manifest: {', '.join(taken)}: taken; written for every version")
    if not examples:
        raise InvalidInput(f"the dataset {name} would be empty: give at least one example")


def save_version(
    conn: psycopg.Connection[dict[str, Any]],
    storage: Storage,
    job_id: UUID,
    attempt: int,
    name: str,
    examples: Iterable[Example],
    *,
    manifest: Mapping[str, Any],
    parents: Sequence[str],
    rehearsal: bool,
    checkout: Checkout | None = None,
) -> DatasetVersion:
    """Freeze rows into the next version of `name`: first the files, then every row in one transaction.

    `checkout`: what the rows were rendered with; kept, so that they can be rendered again when they are read.

    The files are `train.jsonl`, `heldout.jsonl` (those that have rows), `manifest.json` and `README.md`, by which a folder of
    them is loaded as it is; the version's manifest names them under `files`. The same content saved again by the same job is the
    same version. The version is a rehearsal when
    one of its rows is. Raises `FencedOut` when the attempt was given up for dead, and then no row is written.
    """
    rows = list(examples)
    check_new(name, rows, manifest)
    sha256 = content_sha256(rows)
    rehearsal = rehearsal or any(row.rehearsal for row in rows)

    with conn.transaction():
        jobs.fence(conn, job_id, attempt)
        saved = _saved_before(conn, job_id, name, sha256)
    if saved is not None:
        return saved

    manifest = {**manifest, "pins": pins_of(rows).model_dump(), "licence": LICENCE}
    about = {
        **manifest,
        "name": name,
        "job": f"job:{job_id}",
        "content_sha256": sha256,
        "counts": count(rows),
        "parents": list(parents),
        "rehearsal": rehearsal,
        "label": "REHEARSAL" if rehearsal else None,
    }
    files = _write_files(storage, f"datasets/{name}/{job_id}-{attempt}/{sha256[:12]}", rows, about)

    with conn.transaction():
        # DO UPDATE, not DO NOTHING: it locks the row, so that two savers count one after the other
        dataset = conn.execute(
            "INSERT INTO datasets (name) VALUES (%s) ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id",
            (name,),
        ).fetchone()
        assert dataset is not None
        row = conn.execute(
            """
            INSERT INTO dataset_versions (dataset_id, version, job_id, content_sha256, counts, manifest, parents, rehearsal)
            SELECT %(dataset)s, coalesce(max(version), 0) + 1, %(job)s, %(sha256)s, %(counts)s, %(manifest)s, %(parents)s,
                %(rehearsal)s
            FROM dataset_versions WHERE dataset_id = %(dataset)s
            RETURNING id, version, created_at
            """,
            {
                "dataset": dataset["id"],
                "job": job_id,
                "sha256": sha256,
                "counts": Jsonb(count(rows)),
                "manifest": Jsonb({**manifest, "files": {file: asdict(stored) for file, stored in files.items()}}),
                "parents": list(parents),
                "rehearsal": rehearsal,
            },
        ).fetchone()
        assert row is not None
        if checkout is not None:
            late.keep(conn, checkout)
        dumped = [example.model_dump(mode="json", exclude={"split"}) for example in rows]
        parts = late.Parts(conn, dumped)
        with conn.cursor().copy("COPY examples (dataset_version_id, ordinal, split, data) FROM STDIN") as copy:
            copy.set_types(["uuid", "int4", "text", "jsonb"])
            for ordinal, (example, data) in enumerate(zip(rows, dumped, strict=True)):
                copy.write_row((row["id"], ordinal, example.split, Jsonb(parts.stored(data))))
        jobs.fence(conn, job_id, attempt)
    return get(conn, name, row["version"])


def _saved_before(conn: psycopg.Connection[dict[str, Any]], job_id: UUID, name: str, sha256: str) -> DatasetVersion | None:
    row = conn.execute(
        f"{_SELECT} WHERE d.name = %s AND v.job_id = %s AND v.content_sha256 = %s ORDER BY v.version LIMIT 1",
        (name, job_id, sha256),
    ).fetchone()
    return DatasetVersion.model_validate(row) if row else None


def _write_files(storage: Storage, folder: str, rows: Sequence[Example], about: Mapping[str, Any]) -> dict[str, Stored]:
    files: dict[str, Stored] = {}
    for split in SPLITS:
        lines = [_training_row(row) for row in rows if row.split == split]
        if lines:  # `load_dataset("json")` refuses an empty file
            files[f"{split}.jsonl"] = storage.put(f"{folder}/{split}.jsonl", "".join(lines).encode())
    sums = {name: stored.sha256 for name, stored in files.items()}
    text = json.dumps({**about, "files": sums}, indent=2, ensure_ascii=False, sort_keys=True)
    files["manifest.json"] = storage.put(f"{folder}/manifest.json", f"{text}\n".encode())
    files["README.md"] = storage.put(f"{folder}/README.md", _card(list(files), about).encode())
    return files


def rewrite_files(conn: psycopg.Connection[dict[str, Any]], storage: Storage, ref: str) -> tuple[list[str], str]:
    """Write a version's files anew from the rows that are left, in a new folder; returns the former files, to be removed once the
    caller's transaction is committed, and the folder, to be removed if it is not. `content_sha256` and `counts` still tell of what
    was frozen."""
    version = get(conn, *parse_ref(ref))
    former = files(conn, ref)
    about = json.loads(storage.existing(former["manifest.json"].uri).read_text(encoding="utf-8"))
    about["erased"] = {"rows": version.erased_rows, "at": version.erased_at and version.erased_at.isoformat()}
    folder = f"{former['manifest.json'].uri.rpartition('/')[0].partition('/erased-')[0]}/erased-{uuid.uuid4().hex[:12]}"
    written = _write_files(storage, folder, examples_of(conn, ref), about)
    manifest = {**version.manifest, "files": {file: asdict(stored) for file, stored in written.items()}}
    conn.execute(
        "UPDATE dataset_versions v SET manifest = %s FROM datasets d WHERE d.id = v.dataset_id AND d.name = %s AND v.version = %s",
        (Jsonb(manifest), version.name, version.version),
    )
    return [stored.uri for stored in former.values()], folder


def _card(files: Sequence[str], about: Mapping[str, Any]) -> str:
    """What `datasets.load_dataset` reads first: without it, it would take manifest.json for rows."""
    splits = [file.removesuffix(".jsonl") for file in files if file.endswith(".jsonl")]
    lines = ["---", "configs:", "- config_name: default", "  data_files:"]
    lines += [line for split in splits for line in (f"  - split: {split}", f"    path: {split}.jsonl")]
    label = f"\n{about['label']}: written rules made this, not a model.\n" if about.get("label") else ""
    return "\n".join(
        [
            *lines,
            "---",
            "",
            f"# {about['name']}",
            label,
            about["licence"],
            "",
            f"SHA-256 of the content: {about['content_sha256']}",
            "",
        ]
    )


def _training_row(example: Example) -> str:
    row = example.model_dump(mode="json", exclude={"split"})
    row["traditions"] = ", ".join(row["traditions"])  # Arrow would take a split in which every list is empty for another type
    for name in ("gates", "expect"):  # free-form: as a struct, Arrow would refuse it
        if name in row:
            row[name] = json.dumps(row[name], sort_keys=True, ensure_ascii=False)
    return json.dumps(row, ensure_ascii=False) + "\n"


_SELECT = """
    SELECT d.name, v.version, v.job_id, v.content_sha256, v.counts, v.manifest, v.parents, v.rehearsal, v.created_at,
        v.erased_rows, v.erased_at
    FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id
"""


def get(conn: psycopg.Connection[dict[str, Any]], name: str, version: int | Literal["latest"]) -> DatasetVersion:
    """One version; raises `NotFound`, which lists what there is instead."""
    number = None if version == "latest" else version
    row = conn.execute(
        f"{_SELECT} WHERE d.name = %s AND (%s::int IS NULL OR v.version = %s) ORDER BY v.version DESC LIMIT 1",
        (name, number, number),
    ).fetchone()
    if row is None:
        raise NotFound(f"dataset:{name}@{version} does not exist; {_what_exists(conn, name)}")
    return DatasetVersion.model_validate(row)


def _what_exists(conn: psycopg.Connection[dict[str, Any]], name: str) -> str:
    versions = conn.execute(f"{_SELECT} WHERE d.name = %s ORDER BY v.version DESC LIMIT 20", (name,)).fetchall()
    if versions:
        return f"newest versions of {name}: {', '.join(str(row['version']) for row in versions)}"
    names = conn.execute("SELECT name FROM datasets ORDER BY name LIMIT 20").fetchall()
    return f"datasets: {', '.join(row['name'] for row in names)}" if names else "there is no dataset yet"


def list_datasets(conn: psycopg.Connection[dict[str, Any]]) -> list[DatasetVersion]:
    """The newest version of every dataset, by name."""
    rows = conn.execute(f"SELECT DISTINCT ON (name) * FROM ({_SELECT}) every ORDER BY name, version DESC").fetchall()
    return [DatasetVersion.model_validate(row) for row in rows]


def list_versions(conn: psycopg.Connection[dict[str, Any]], name: str) -> list[DatasetVersion]:
    """All versions of a dataset, newest first; raises `NotFound`."""
    rows = conn.execute(f"{_SELECT} WHERE d.name = %s ORDER BY v.version DESC", (name,)).fetchall()
    if not rows:
        raise NotFound(f"the dataset {name} does not exist; {_what_exists(conn, name)}")
    return [DatasetVersion.model_validate(row) for row in rows]


def examples_of(
    conn: psycopg.Connection[dict[str, Any]], ref: str, split: str | None = None, offset: int = 0, limit: int | None = None
) -> list[Example]:
    """The rows of a version in the order they were saved, or of one split of it; raises `NotFound`."""
    if split is not None and split not in SPLITS:
        raise InvalidInput(f"split {split!r}: one of {', '.join(SPLITS)}")
    version = get(conn, *parse_ref(ref))
    rows = conn.execute(
        """
        SELECT e.split, e.data
        FROM examples e JOIN dataset_versions v ON v.id = e.dataset_version_id JOIN datasets d ON d.id = v.dataset_id
        WHERE d.name = %s AND v.version = %s AND (%s::text IS NULL OR e.split = %s)
        ORDER BY e.ordinal OFFSET %s LIMIT %s
        """,
        (version.name, version.version, split, split, offset, limit),
    ).fetchall()
    parts = late.Parts(conn, [row["data"] for row in rows])
    return [Example(split=row["split"], **parts.rendered(row["data"])) for row in rows]


def pins(conn: psycopg.Connection[dict[str, Any]], ref: str) -> Pins:
    """The hashes of templates and contexts that a version's rows were rendered with; raises `NotFound`."""
    version = get(conn, *parse_ref(ref))
    rows = conn.execute(
        """
        SELECT DISTINCT e.data->>'template_version' AS template_version, e.data->>'config_id' AS config_id,
            e.data->>'context_lang' AS context_lang, e.data->>'context_sha256' AS context_sha256
        FROM examples e JOIN dataset_versions v ON v.id = e.dataset_version_id JOIN datasets d ON d.id = v.dataset_id
        WHERE d.name = %s AND v.version = %s
        """,
        (version.name, version.version),
    ).fetchall()
    return pinned(tuple(row.values()) for row in rows)


def files(conn: psycopg.Connection[dict[str, Any]], ref: str) -> dict[str, Stored]:
    """Where the version's files lie in the storage, by name; raises `NotFound`."""
    version = get(conn, *parse_ref(ref))
    if not version.manifest.get("files"):
        raise NotFound(f"the manifest of {version.ref} names no files")
    return {name: Stored(**stored) for name, stored in version.manifest["files"].items()}
