"""A devserver checkout: its prompt template, its task instruction and its interception configs, read and never imported."""

from __future__ import annotations

import ast
import hashlib
import tomllib
import unicodedata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from goldsmith.devserver.files import Skipped, Unreadable, checked, read_json, read_text, relative
from goldsmith.errors import InvalidInput

CONFIGS = Path("schemas/configs/interception")
TEMPLATE = Path("schemas/chunks/manipulate.json")
TASK = Path("schemas/engine/instruction_selector.py")
WIKI = Path("schemas/engine/wikipedia_prompt_helper.py")
BUILT_IN = Path(__file__).with_name("built_in.toml")
PLACEHOLDERS = ("{{TASK_INSTRUCTION}}", "{{CONTEXT}}", "{{INPUT_TEXT}}")


def config_key(config_id: str) -> str:
    """How a config id is compared: macOS hands out file names in NFD, JSON and URLs mostly carry NFC."""
    return unicodedata.normalize("NFC", config_id)


class InterceptionConfig(BaseModel):
    """One way of transforming a prompt."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config_id: str
    name: dict[str, str]
    context: dict[str, str]
    """Language to text, never empty; exactly as the devserver would insert it."""
    parameters: dict[str, Any]
    meta: dict[str, Any]

    @property
    def wikipedia(self) -> bool:
        """Whether the devserver puts its wiki block below the prompts of this config."""
        return self.meta.get("wikipedia") is True

    def context_sha256(self, lang: str) -> str:
        """Pins the text that was trained on; raises `KeyError` when the config has no context in `lang`."""
        return hashlib.sha256(self.context[lang].encode()).hexdigest()


class Checkout(BaseModel):
    """All that rendering a prompt needs. Saved as `contexts.json` by an import job and read back from there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    template: str
    task: str
    configs: list[InterceptionConfig]
    wiki: str = ""
    """What the devserver puts below a prompt whose config asks for Wikipedia; empty where the checkout has none."""

    @property
    def template_version(self) -> str:
        """First 12 hex digits of the SHA-256 of template, task and, where there is one, wiki block, NUL between them."""
        parts = [self.template, self.task, self.wiki] if self.wiki else [self.template, self.task]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    def has(self, config_id: str) -> bool:
        key = config_key(config_id)
        return any(config.config_id == key for config in self.configs)

    def config(self, config_id: str) -> InterceptionConfig:
        """The config of that id, in NFC or NFD; raises `InvalidInput` that lists the known ids."""
        key = config_key(config_id)
        for config in self.configs:
            if config.config_id == key:
                return config
        known = [config.config_id for config in self.configs]
        raise InvalidInput(
            f"config_id {config_id!r} is not known; known are {', '.join(known)}",
            errors=[{"field": "config_id", "value": config_id, "message": f"known ids: {', '.join(known)}"}],
        )


def read_checkout(root: Path) -> tuple[Checkout, list[Skipped]]:
    """Read a checkout (the repository, or the `devserver` folder in it); the configs come sorted by id.

    A folder that holds config files and nothing of a checkout is read too: template and task are then the built-in ones.
    Left out, with a reason: configs that cannot be read, and those that the student is not for (hidden, `skip_stage2`,
    a pipeline other than `text_transformation`, no context). Raises `InvalidInput` when the template, the task or all configs
    are missing.
    """
    base = next((folder for folder in (root, root / "devserver") if (folder / CONFIGS).is_dir()), None)
    if base is None and any(path.suffix == ".json" for path in root.iterdir()):
        own = tomllib.loads(BUILT_IN.read_text(encoding="utf-8"))
        return _with_configs(own["template"], own["task"], "", sorted(root.iterdir()), root)
    if base is None:
        raise InvalidInput(
            f"{root} is no devserver checkout: neither {CONFIGS} nor devserver/{CONFIGS} is in it",
            errors=[
                {"field": "checkout", "value": str(root), "message": f"must be a folder that contains devserver/{CONFIGS}"}
            ],
        )
    try:
        paths = sorted(checked(base / CONFIGS, root).iterdir())
        template = _template(base / TEMPLATE, root)
        task = _task(base / TASK, root)
        wiki = _wiki(base / WIKI, root) if (base / WIKI).exists() else ""
    except (Unreadable, OSError) as error:
        raise InvalidInput(
            f"the checkout {root} cannot be used: {error}",
            errors=[{"field": "checkout", "value": str(root), "message": str(error)}],
        ) from None
    return _with_configs(template, task, wiki, paths, root)


def _with_configs(template: str, task: str, wiki: str, paths: list[Path], root: Path) -> tuple[Checkout, list[Skipped]]:
    configs: dict[str, InterceptionConfig] = {}
    skipped: list[Skipped] = []
    for path in paths:
        if path.suffix != ".json":
            continue
        try:
            config = _config(path, root)
            if config.config_id in configs:
                raise Unreadable(f"the id {config.config_id} is there twice, in two Unicode spellings")
            configs[config.config_id] = config
        except Unreadable as error:
            skipped.append(Skipped(path=relative(path, root), reason=str(error)))
    if not configs:
        raise InvalidInput(
            f"no usable interception config in {paths[0].parent if paths else root}"
            + "".join(f"; {each.path}: {each.reason}" for each in skipped[:5]),
            errors=[
                {"field": "checkout", "value": str(root), "message": "needs at least one visible text_transformation config"}
            ],
        )
    return Checkout(template=template, task=task, configs=[configs[key] for key in sorted(configs)], wiki=wiki), skipped


def _template(path: Path, root: Path) -> str:
    template = read_json(path, root).get("template")
    if not isinstance(template, str):
        raise Unreadable(f"{path.name} has no text under the key template")
    missing = [placeholder for placeholder in PLACEHOLDERS if placeholder not in template]
    if missing:
        raise Unreadable(f"the template in {path.name} lacks {', '.join(missing)}")
    return template


def _parsed(path: Path, root: Path) -> list[ast.stmt]:
    try:
        return ast.parse(read_text(path, root)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Unreadable(f"{path.name} is not Python: {error}") from None


def _wiki(path: Path, root: Path) -> str:
    """The literal text that `get_wikipedia_instructions` returns; the module is never run."""
    for statement in _parsed(path, root):
        if isinstance(statement, ast.FunctionDef) and statement.name == "get_wikipedia_instructions":
            for node in statement.body:
                text = node.value if isinstance(node, ast.Return) else None
                if isinstance(text, ast.Constant) and isinstance(text.value, str) and "\x00" not in text.value:
                    return text.value
    raise Unreadable(f"{path.name} has no function get_wikipedia_instructions that returns a literal text")


def _task(path: Path, root: Path) -> str:
    """`INSTRUCTION_TYPES["transformation"]["default"]`, taken from the source; the module is never run."""
    for statement in _parsed(path, root):
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "INSTRUCTION_TYPES" for target in targets):
            node = _entry(_entry(getattr(statement, "value", None), "transformation"), "default")
            try:
                task = ast.literal_eval(node) if node is not None else None
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                task = None
            if isinstance(task, str) and task.strip() and "\x00" not in task:
                return task
    raise Unreadable(f'{path.name} has no literal text INSTRUCTION_TYPES["transformation"]["default"]')


def _entry(node: ast.expr | None, key: str) -> ast.expr | None:
    if not isinstance(node, ast.Dict):
        return None
    return next(
        (
            value
            for name, value in zip(node.keys, node.values, strict=True)
            if isinstance(name, ast.Constant) and name.value == key
        ),
        None,
    )


def _config(path: Path, root: Path) -> InterceptionConfig:
    data = read_json(path, root)
    try:
        path.stem.encode()
    except UnicodeEncodeError:
        raise Unreadable("the file name is not UTF-8") from None
    meta, parameters = (data[key] if isinstance(data.get(key), dict) else {} for key in ("meta", "parameters"))
    if data.get("pipeline") != "text_transformation":
        raise Unreadable(f"not for the student: pipeline is {str(data.get('pipeline'))[:40]!r}, not 'text_transformation'")
    if meta.get("hidden"):
        raise Unreadable("not for the student: hidden")
    if meta.get("skip_stage2"):
        raise Unreadable("not for the student: it skips stage 2")
    context = _by_language(data.get("context"))
    if not context:
        raise Unreadable("not for the student: no context")
    config_id = config_key(path.stem)
    name = _by_language(data.get("name")) or {"en": config_id}
    return InterceptionConfig(config_id=config_id, name=name, context=context, parameters=parameters, meta=meta)


def _by_language(value: object) -> dict[str, str]:
    """Language to text without the empty ones; a bare string does not say its language and counts as English."""
    texts = {"en": value} if isinstance(value, str) else value if isinstance(value, dict) else {}
    return {lang: text for lang, text in texts.items() if isinstance(text, str) and text.strip()}
