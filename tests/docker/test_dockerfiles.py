from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
CONSTRAINTS = (ROOT / "constraints.txt").read_text()


def instructions(file: Path) -> list[tuple[str, str]]:
    """(word, rest) of each instruction, continued lines joined, comments gone."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.strip().partition(" ") for line in joined.splitlines() if line.strip())]


def stages(file: Path) -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage, those of the stages it builds on first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for word, rest in instructions(file):
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            current = found[name or "only"] = list(found.get(image, []))
        current.append((word, rest))
    return found


FINAL = [(file, name) for file in FILES for name in stages(file) if name != "base"]


def test_there_is_an_image_for_the_api_and_two_for_workers():
    assert [(file.name, name) for file, name in FINAL] == [
        ("api.Dockerfile", "only"), ("worker.Dockerfile", "cpu"), ("worker.Dockerfile", "gpu"),
    ]  # fmt: skip


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_base_image_is_pinned(file: Path):
    images = [rest.split()[0] for word, rest in instructions(file) if word == "FROM"]
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+|base", image) for image in images)


@pytest.mark.parametrize(("file", "name"), FINAL, ids=str)
def test_an_image_runs_as_an_ordinary_user_with_a_health_check(file: Path, name: str):
    words = stages(file)[name]
    users = [rest for word, rest in words if word == "USER"]
    assert users[-1:] == ["1000"]
    after = [word for word, _ in words[[word for word, _ in words].index("USER") :]]
    assert "RUN" not in after
    assert "HEALTHCHECK" in [word for word, _ in words]
    assert [rest for word, rest in words if word == "CMD"][-1].startswith('["goldsmith", "run", ')


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_only_what_the_ignore_file_lets_through_is_copied(file: Path):
    allowed = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = [source for word, rest in instructions(file) if word == "COPY" for source in rest.split()[:-1]]
    assert set(copied) == set(allowed)
    assert all((ROOT / source).exists() for source in copied)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_package_is_pinned_or_constrained(file: Path):
    for word, rest in instructions(file):
        if word == "RUN" and "pip install" in rest:
            for package, version in re.findall(r"\s([\w-]+)==([\w.]+)", rest):
                assert package == "torch" or f"{package}=={version}\n" in CONSTRAINTS
            assert "==" in rest or "--constraint constraints.txt" in rest


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_secret_is_baked_in(file: Path):
    assert not [
        rest for word, rest in instructions(file) if word in ("ARG", "ENV") and re.search("KEY|PASSWORD|TOKEN|SECRET", rest)
    ]


def test_the_folder_is_no_package():
    """Or `import docker` would find it before the SDK."""
    assert not (ROOT / "docker" / "__init__.py").exists()
