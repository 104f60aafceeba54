"""What the search finds of a labelled file, kind by kind: `python -m tests.privacy.measure tests/data/privacy.txt`."""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from goldsmith.privacy import find

_LABEL = re.compile(r"\{(\w+)\|([^}]*)\}")


@dataclass
class Measured:
    labelled: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    clean: int = 0
    wrong: list[str] = field(default_factory=list)

    def recall(self, *kinds: str) -> float:
        return sum(self.found[kind] for kind in kinds) / sum(self.labelled[kind] for kind in kinds)

    @property
    def structured(self) -> tuple[str, ...]:
        return tuple(kind for kind in self.labelled if kind != "name")


def unlabelled(line: str) -> tuple[str, list[tuple[str, int, int]]]:
    """The text as somebody typed it, and the kind and place of each label."""
    text, labels, end = "", [], 0
    for match in _LABEL.finditer(line):
        text += line[end : match.start()]
        labels.append((match[1], len(text), len(text) + len(match[2])))
        text, end = text + match[2], match.end()
    return text + line[end:], labels


def measure(path: Path) -> Measured:
    """A label is found when a finding of its kind overlaps it; a clean line is wrong when anything is found in it."""
    result = Measured()
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        text, labels = unlabelled(line)
        findings = find(text)
        for kind, start, end in labels:
            result.labelled[kind] += 1
            if any(each.kind == kind and each.span[0] < end and start < each.span[1] for each in findings):
                result.found[kind] += 1
            else:
                result.missed.append(f"{kind}: {text}  {[(each.kind, text[slice(*each.span)]) for each in findings]}")
        if not labels:
            result.clean += 1
            if findings:
                result.wrong.append(f"{text}  {[(each.kind, text[slice(*each.span)]) for each in findings]}")
    return result


def main() -> None:
    result = measure(Path(sys.argv[1]))
    for kind, count in sorted(result.labelled.items()):
        print(f"{kind:12} {result.found[kind]:4} of {count:4}  {result.recall(kind):.3f}")
    print(f"{'structured':12} {result.recall(*result.structured):.3f}")
    print(f"{'clean':12} {len(result.wrong)} of {result.clean} wrong, {len(result.wrong) / result.clean:.3f}")
    if "--lines" in sys.argv:
        print("\n".join(["MISSED", *result.missed, "WRONG", *result.wrong]))


if __name__ == "__main__":
    main()
