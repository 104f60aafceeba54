"""Ask the trained model, make a candidate in Ollama, ask that, and only then let the names mean it."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goldsmith.adapters import AdapterVersion
from goldsmith.context import JobContext
from goldsmith.errors import GoldsmithError, InvalidInput, NotFound, storable
from goldsmith.export import gguf_file, parity, template, weights
from goldsmith.export import student as trained
from goldsmith.export.parity import Probe
from goldsmith.export.report import Parity, tolerance_of
from goldsmith.export.served import OllamaServed
from goldsmith.kinds.deploy.schema import Canary, DeployConfig, DeployResult
from goldsmith.storage import sha256_file
from goldsmith.student import Student
from goldsmith.student.ollama import Ollama


@dataclass(frozen=True)
class Former:
    """What the names meant before this job; kept in a checkpoint, for a second attempt would see the first one's."""

    digest: str | None
    alias_version: int | None


def run(config: DeployConfig, ctx: JobContext) -> DeployResult:
    started = time.monotonic()
    adapter = ctx.adapter(config.adapter)
    if adapter.status == "retired":
        raise InvalidInput(f"adapter: {adapter.ref} is retired; deploy another version")
    if adapter.warning:
        ctx.log(adapter.warning)
    ctx.save_artifact("passport.json", ctx.passport(adapter.ref), "application/json")
    model = config.model or adapter.name
    if config.quantization is not None and config.quantization not in gguf_file.BY_GGUF:
        gguf_file.llama_quantize(config.quantization)
    ollama = ctx.ollama()
    former = _former(model, config, adapter, ollama, ctx)

    ctx.progress(1, f"loading {adapter.base_model} with {adapter.ref}")
    student = trained.load(adapter, ctx)
    gguf_file.check_architecture(student.model.config)
    probes = trained.probes(student, adapter, config.parity_prompts, config.parity_tokens, ctx)
    ctx.progress(36, "writing GGUF")
    how = {
        "template": template.chat_form(student.tokenizer).go(),
        "parameters": template.options(student, adapter),
    }
    files, adapters = _write(config, student, adapter, ctx)

    candidate = f"{model}:v{adapter.version}-candidate"
    uploaded = [sha256 for path in [*files, *adapters] if (sha256 := _push(path, ollama, ctx))]
    _create(candidate, config, files, adapters, how, ollama, ctx)
    try:
        compared = _gate(candidate, config, probes, student, ollama, ctx)
        _name(candidate, model, adapter, former, ollama)
        canary = _canary(f"{model}:latest", config, probes, student, ollama)
    except BaseException:
        with suppress(GoldsmithError):  # what matters is why, not that tidying up failed, too
            _put_back(candidate, model, former, ollama)
        raise
    ollama.delete(candidate)
    digest = ollama.tags()[f"{model}:latest"]
    if config.alias is not None:
        ctx.move_alias(adapter.name, config.alias, adapter.version)
    result = DeployResult(
        adapter=adapter.ref,
        base_model=adapter.base_model,
        rehearsal=adapter.rehearsal,
        label="REHEARSAL" if adapter.rehearsal else "",
        model=model,
        tag=f"{model}:v{adapter.version}",
        digest=digest,
        former_digest=former.digest,
        alias=config.alias,
        former_alias_version=former.alias_version,
        uploaded=uploaded,
        parity=compared,
        canary=canary,
        seconds=time.monotonic() - started,
    )
    ctx.save_artifact("deploy.json", result.model_dump_json(indent=2).encode(), "application/json")
    return result


def _former(model: str, config: DeployConfig, adapter: AdapterVersion, ollama: Ollama, ctx: JobContext) -> Former:
    kept = ctx.restore()
    if kept is not None:
        return Former(**json.loads((kept / "former.json").read_text()))
    try:
        version = ctx.adapter(f"adapter:{adapter.name}@{config.alias}").version if config.alias else None
    except (InvalidInput, NotFound):  # the alias is new
        version = None
    former = Former(ollama.tags().get(f"{model}:latest"), version)
    folder = ctx.scratch / "former"
    folder.mkdir()
    (folder / "former.json").write_text(json.dumps(former.__dict__))
    ctx.checkpoint(folder)
    return former


def _write(config: DeployConfig, student: Student, adapter: AdapterVersion, ctx: JobContext) -> tuple[list[Path], list[Path]]:
    """The files of the model and those of adapters."""
    if config.format == "gguf-merged":
        merged = weights.merge(student.model)
        target = ctx.scratch / "model.gguf"
        gguf_file.write_model(merged.state_dict(), merged.config, student.tokenizer, target, config.outtype, adapter.ref)
        if config.quantization is not None:
            smaller = ctx.scratch / f"model-{config.quantization}.gguf"
            gguf_file.write_quantised(target, merged, student.tokenizer, smaller, config.quantization, adapter.ref)
            target = smaller
        return [target], []
    model = student.model
    weights.check_lora(model)
    alone = ctx.scratch / "adapter.gguf"
    pairs, alpha = weights.lora_pairs(model)
    gguf_file.write_adapter(pairs, model.config, alone, config.outtype, alpha, adapter.ref)
    if config.from_model is not None:
        return [], [alone]
    base = ctx.scratch / "base.gguf"
    gguf_file.write_model(
        weights.base_weights(model), model.config, student.tokenizer, base, config.outtype, adapter.base_model
    )
    return [base], [alone]


def _push(path: Path, ollama: Ollama, ctx: JobContext) -> str | None:
    sha256 = sha256_file(path)
    sent = ollama.push(path, sha256, lambda share: ctx.progress(45 + 15 * share, f"uploading {path.name}"))
    return sha256 if sent else None


def _create(
    candidate: str,
    config: DeployConfig,
    files: list[Path],
    adapters: list[Path],
    how: dict[str, Any],
    ollama: Ollama,
    ctx: JobContext,
) -> None:
    blobs = {
        key: {path.name: f"sha256:{sha256_file(path)}" for path in paths}
        for key, paths in (("files", files), ("adapters", adapters))
        if paths
    }
    if config.from_model is not None:
        how = {**how, "from": config.from_model}
    ollama.create(candidate, {**how, **blobs}, lambda step: ctx.progress(62, f"ollama: {step}"))


def _gate(
    candidate: str, config: DeployConfig, probes: list[Probe], student: Student, ollama: Ollama, ctx: JobContext
) -> Parity:
    ctx.progress(65, f"asking {candidate} the same prompts")
    served = OllamaServed(candidate, ollama, student.tokenizer)
    compared = parity.compare(served, probes, _tolerance(config), student.tokenizer)
    told = parity.as_json(probes, [compared])
    ctx.save_artifact("parity.json", json.dumps(told, indent=2, ensure_ascii=False).encode(), "application/json")
    parity.require([compared])
    return compared


def _tolerance(config: DeployConfig) -> Any:
    # Ollama keeps keys and values in float16 whatever the weights are
    return tolerance_of(config.quantization or "f16")


def _name(candidate: str, model: str, adapter: AdapterVersion, former: Former, ollama: Ollama) -> None:
    """The names mean the candidate from now on; what `latest` was is kept as `former`."""
    if former.digest is not None and ollama.tags().get(f"{model}:latest") == former.digest:
        ollama.copy(f"{model}:latest", f"{model}:former")
    ollama.copy(candidate, f"{model}:v{adapter.version}")
    ollama.copy(candidate, f"{model}:latest")


def _put_back(candidate: str, model: str, former: Former, ollama: Ollama) -> None:
    tags = ollama.tags()
    if tags.get(f"{model}:latest") == tags.get(candidate):
        if former.digest is None:
            ollama.delete(f"{model}:latest")
        elif former.digest != tags.get(candidate):
            ollama.copy(f"{model}:former", f"{model}:latest")
    ollama.delete(candidate)


def _canary(tag: str, config: DeployConfig, probes: list[Probe], student: Student, ollama: Ollama) -> Canary:
    """The prompt at whose answer the adapter differs most from its base model; the tag must say it as the adapter does."""

    def own_words(probe: Probe) -> int:
        return sum(said != base for said, base in zip(probe.said, probe.base_says, strict=True))

    chosen = max((probe for probe in probes if not probe.given), key=own_words)
    served = OllamaServed(tag, ollama, student.tokenizer)
    parity.require([parity.compare(served, [chosen], _tolerance(config), student.tokenizer)])
    answer = ollama.chat(tag, chosen.messages, limit=len(chosen.said))["message"]["content"]
    return Canary(prompt=storable(chosen.messages[-1]["content"]), answer=storable(answer))
