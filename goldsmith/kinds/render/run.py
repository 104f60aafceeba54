"""Read the rows and both checkouts, fill the new template, save."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from goldsmith.context import JobContext
from goldsmith.datasets import DatasetVersion, Example, Message
from goldsmith.devserver.checkout import Checkout
from goldsmith.devserver.drift import changes, pins_of
from goldsmith.devserver.prompts import fill
from goldsmith.errors import InvalidInput, NotFound
from goldsmith.kinds.render.schema import RenderConfig, RenderResult


def run(config: RenderConfig, ctx: JobContext) -> RenderResult:
    ctx.progress(0, "reading templates and contexts")
    before = ctx.dataset(config.dataset)
    new = _checkout("template", config.template, ctx)
    pinned = _pinned(before, ctx)
    checkout = Checkout(template=new.template, task=new.task, wiki=new.wiki, configs=pinned.configs)

    rows = list(ctx.examples(before.ref))
    ctx.progress(10, f"rendering {len(rows)} rows")
    rendered = _render(rows, checkout, before.ref)
    pins = pins_of(rows)
    # a copy of its own, as a corpus has one: who is trained on these rows is answered with this template
    kept = ctx.save_artifact("pinned-contexts.json", checkout.model_dump_json(indent=2).encode(), "application/json")
    ctx.progress(50, f"saving {len(rows)} rows")
    version = ctx.save_dataset(
        config.name or before.name,
        rendered,
        manifest={
            # where rows and answers come from stays as it was: teacher, prices, filters, and the limits that they were checked by
            **{name: value for name, value in before.manifest.items() if name not in ("files", "pins", "licence")},
            "contexts": kept,
            "template_version": checkout.template_version,
            "rendered": {**config.model_dump(mode="json"), "before": pins.template_versions},
        },
        parents=[before.ref, config.template],
        rehearsal=before.rehearsal,
        checkout=checkout,
    )
    return RenderResult(
        dataset=version.ref,
        rows=len(rows),
        changed=sum(one.messages != other.messages for one, other in zip(rows, rendered, strict=True)),
        template_versions=pins.template_versions,
        template_version=checkout.template_version,
        drift=changes(pins.model_copy(update={"template_versions": [new.template_version]}), new),
        rehearsal=version.rehearsal,
        label="REHEARSAL" if version.rehearsal else "",
    )


def _pinned(version: DatasetVersion, ctx: JobContext) -> Checkout:
    """What its rows were rendered with: named by its manifest, or by that of the dataset that it was made from."""
    start = version.ref
    while not isinstance(contexts := version.manifest.get("contexts"), str):
        parent = next((parent for parent in version.parents if parent.startswith("dataset:")), None)
        if parent is None:
            raise InvalidInput(
                f"dataset: {start} does not say which contexts it was rendered with, nor does what it was made from",
                errors=[{"field": "dataset", "value": start, "allowed": "a corpus, or gold that was bought for one"}],
            )
        version = ctx.dataset(parent)
    return _checkout("dataset", contexts, ctx)


def _checkout(field: str, ref: str, ctx: JobContext) -> Checkout:
    try:
        path = ctx.upload(ref)[1] if ref.startswith("upload:") else ctx.artifact(ref)
        return Checkout.model_validate_json(path.read_bytes())
    except (NotFound, ValidationError) as error:
        why = "does not exist" if isinstance(error, NotFound) else "is something else"
        allowed = "the contexts.json of an import, the pinned-contexts.json of a corpus, or an upload of contexts"
        raise InvalidInput(
            f"{field}: {ref} {why}; allowed is {allowed}", errors=[{"field": field, "value": ref, "allowed": allowed}]
        ) from error


def _render(rows: Sequence[Example], checkout: Checkout, ref: str) -> list[Example]:
    texts = {config.context_sha256(lang): text for config in checkout.configs for lang, text in config.context.items()}
    rendered = []
    for number, row in enumerate(rows):
        if row.context_sha256 not in texts or [message.role for message in row.messages[1:]] not in ([], ["assistant"]):
            raise InvalidInput(
                f"dataset: row {number} of {ref} ({row.source}, {row.config_id}) cannot be rendered: its context"
                f" {row.context_sha256[:12]} is not kept, or it is no single turn",
                errors=[{"field": "dataset", "value": ref, "allowed": "rows that were rendered from contexts"}],
            )
        wiki = checkout.wiki if row.wiki else ""
        prompt = fill(checkout.template, task=checkout.task, context=texts[row.context_sha256], text=row.input, wiki=wiki)
        rendered.append(
            row.model_copy(
                update={
                    "messages": [Message(role="user", content=prompt), *row.messages[1:]],
                    "template_version": checkout.template_version,
                    "wiki": bool(wiki),
                }
            )
        )
    return rendered
