"""Ask the trained model, write the files, ask what the files make, keep them when both agree."""

from __future__ import annotations

import json
import shutil
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from goldsmith.adapters import AdapterVersion
from goldsmith.context import JobContext
from goldsmith.export import card, gguf_file, parity, template, weights
from goldsmith.export import student as trained
from goldsmith.export.report import NOT_CHECKED, ExportedFile, Parity, tolerance_of
from goldsmith.export.served import LlamaCppServed, TransformersServed
from goldsmith.kinds.export.schema import ExportConfig, ExportResult
from goldsmith.storage import sha256_file
from goldsmith.student import Student, llama_cpp

TORCH = {"f32": torch.float32, "f16": torch.float16}


@dataclass
class Made:
    """What this run has written and compared so far."""

    folder: Path
    files: dict[str, str] = field(default_factory=dict)
    """Format by file name, in the order in which they are listed."""
    parities: list[Parity] = field(default_factory=list)

    def path(self, name: str, format_: str) -> Path:
        self.files[name] = format_
        return self.folder / name


def run(config: ExportConfig, ctx: JobContext) -> ExportResult:
    started = time.monotonic()
    adapter = ctx.adapter(config.adapter)
    _check_tools(config)
    ctx.progress(1, f"loading {adapter.base_model} with {adapter.ref}")
    student = trained.load(adapter, ctx)
    if any(one.startswith("gguf") for one in config.formats):
        gguf_file.check_architecture(student.model.config)
    if "peft" in config.formats:
        weights.check_adapter(student.model)
    if "gguf-lora" in config.formats:
        weights.check_lora(student.model)
    probes = trained.probes(student, adapter, config.parity_prompts, config.parity_tokens, ctx) if config.parity else []

    made = Made(ctx.scratch / "export")
    made.folder.mkdir()
    for number, step in enumerate(_steps(config, student, adapter, probes, made)):
        ctx.progress(35 + 12 * number, step)
    if any(one.startswith("gguf") for one in config.formats):
        _modelfile(config, student, adapter, made)
    if config.parity:
        told = parity.as_json(probes, made.parities)
        ctx.save_artifact("parity.json", json.dumps(told, indent=2, ensure_ascii=False).encode(), "application/json")
        parity.require(made.parities)
    made.path("passport.json", "passport").write_bytes(ctx.passport(adapter.ref))
    names = [*made.files, "README.md"]
    made.path("README.md", "card").write_text(card.write(adapter, names, made.parities, ctx), encoding="utf-8")
    return ExportResult(
        adapter=adapter.ref,
        base_model=adapter.base_model,
        rehearsal=adapter.rehearsal,
        label="; ".join(filter(None, ("REHEARSAL" if adapter.rehearsal else "", "" if config.parity else NOT_CHECKED))),
        files=[_kept(made.folder / name, format_, ctx) for name, format_ in made.files.items()],
        parity_checked=config.parity,
        parity=made.parities,
        prompts=sum(not one.given for one in probes),
        seconds=time.monotonic() - started,
    )


def _check_tools(config: ExportConfig) -> None:
    """Before hours of work: raise `InvalidInput` that says what to install."""
    if config.parity and any(one.startswith("gguf") for one in config.formats):
        llama_cpp.check_installed()
    if config.quantization is not None and config.quantization not in gguf_file.BY_GGUF:
        gguf_file.llama_quantize(config.quantization)


def _steps(
    config: ExportConfig, student: Student, adapter: AdapterVersion, probes: list[parity.Probe], made: Made
) -> Iterator[str]:
    """Does the work between what it says; merging comes last, for it uses the student's model up."""
    if "peft" in config.formats:
        yield "writing the adapter's folder"
        _peft(student, adapter, probes, made)
    if "gguf-lora" in config.formats:
        yield "writing the adapter as GGUF"
        _gguf_lora(config, student, adapter, probes, made)
    merges = {"safetensors", "gguf-merged"} & set(config.formats)
    model = weights.merge(student.model) if merges else None
    if "gguf-merged" in config.formats:
        yield "writing the merged model as GGUF"
        _gguf_merged(config, model, student, adapter, probes, made)
    if "safetensors" in config.formats:
        yield "writing the merged model as safetensors"
        _safetensors(config, model, student, probes, made)


def _peft(student: Student, adapter: AdapterVersion, probes: list[parity.Probe], made: Made) -> None:
    folder = made.folder / "peft"
    student.tokenizer.save_pretrained(folder)
    for name in adapter.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(adapter.folder / name, folder / name)
    if probes:
        model, used = student.model, student.model.active_adapter
        model.load_adapter(folder, adapter_name="exported")
        model.set_adapter("exported", inference_mode=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        served = TransformersServed("peft.tar", model, tokenizer)
        made.parities.append(parity.compare(served, probes, tolerance_of("f32"), student.tokenizer))
        model.set_adapter(used, inference_mode=True)
        model.delete_adapter("exported")
    _tar(folder, made.path("peft.tar", "peft"))


def _gguf_lora(config: ExportConfig, student: Student, adapter: AdapterVersion, probes: list[parity.Probe], made: Made) -> None:
    model = student.model
    base = made.path(f"base-{config.outtype}.gguf", "gguf-lora")
    gguf_file.write_model(
        weights.base_weights(model), model.config, student.tokenizer, base, config.outtype, adapter.base_model
    )
    target = made.path(f"adapter-{config.outtype}.gguf", "gguf-lora")
    pairs, alpha = weights.lora_pairs(model)
    gguf_file.write_adapter(pairs, model.config, target, config.outtype, alpha, adapter.ref)
    _in_llama_cpp(base, target, config.outtype, student, probes, made)


def _gguf_merged(
    config: ExportConfig, model: Any, student: Student, adapter: AdapterVersion, probes: list[parity.Probe], made: Made
) -> None:
    target = made.path(f"model-{config.outtype}.gguf", "gguf-merged")
    gguf_file.write_model(model.state_dict(), model.config, student.tokenizer, target, config.outtype, adapter.ref)
    _in_llama_cpp(target, None, config.outtype, student, probes, made)
    if config.quantization is None:
        return
    smaller = made.path(f"model-{config.quantization}.gguf", "gguf-merged")
    gguf_file.write_quantised(target, model, student.tokenizer, smaller, config.quantization, adapter.ref)
    _in_llama_cpp(smaller, None, config.quantization, student, probes, made)


def _in_llama_cpp(
    model: Path, adapter: Path | None, written: str, student: Student, probes: list[parity.Probe], made: Made
) -> None:
    if not probes:
        return
    name = f"{model.name} with {adapter.name}" if adapter else model.name
    context = trained.context_size(probes, int(student.model.config.max_position_embeddings))
    with llama_cpp.serve(model, adapter, context=context, exact=written == "f32") as server:
        made.parities.append(
            parity.compare(LlamaCppServed(name, server, student.tokenizer), probes, tolerance_of(written), student.tokenizer)
        )


def _safetensors(config: ExportConfig, model: Any, student: Student, probes: list[parity.Probe], made: Made) -> None:
    folder = made.folder / "merged"
    model.to(TORCH[config.outtype]).save_pretrained(folder)
    student.tokenizer.save_pretrained(folder)
    if probes:
        again: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        served = TransformersServed("merged.tar", again.eval(), tokenizer)
        made.parities.append(parity.compare(served, probes, tolerance_of(config.outtype), student.tokenizer))
    _tar(folder, made.path("merged.tar", "safetensors"))


def _modelfile(config: ExportConfig, student: Student, adapter: AdapterVersion, made: Made) -> None:
    """For the smallest merged file, else for base and adapter."""
    remarks = [f"{adapter.ref} on {adapter.base_model}; ollama create {adapter.name} -f Modelfile"]
    if adapter.warning:
        remarks.append(adapter.warning)
    if adapter.rehearsal:
        remarks.append("REHEARSAL: trained on answers that were written by rules; do not deploy it")
    if not config.parity:
        remarks.append(NOT_CHECKED)
    if (base := adapter.base_model.partition("@")[0]) in template.OLLAMA_NAMES:
        remarks.append(
            f"the base model in Ollama is {template.OLLAMA_NAMES[base]}; qwen3:4b there is another one, which thinks"
        )
    merged = "gguf-merged" in config.formats
    text = template.modelfile(
        f"model-{config.quantization or config.outtype}.gguf" if merged else f"base-{config.outtype}.gguf",
        None if merged else f"adapter-{config.outtype}.gguf",
        template.chat_form(student.tokenizer).go(),
        template.options(student, adapter),
        remarks,
    )
    made.path("Modelfile", "modelfile").write_text(text, encoding="utf-8")


def _tar(folder: Path, target: Path) -> None:
    """Uncompressed: weights do not shrink."""
    with tarfile.open(target, "w") as tar:
        tar.add(folder, arcname=folder.name)


def _kept(path: Path, format_: str, ctx: JobContext) -> ExportedFile:
    media_type = "text/plain" if path.name == "Modelfile" else None
    return ExportedFile(
        artifact=ctx.save_artifact(path.name, path, media_type),
        name=path.name,
        format=format_,
        bytes=path.stat().st_size,
        sha256=sha256_file(path),
    )
