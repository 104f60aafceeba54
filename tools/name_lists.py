"""Write the generated lists: names from Faker's, the vocabulary from simplemma's dictionaries: `python tools/name_lists.py`.

The versions of both are pinned in constraints.txt.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import unicodedata
from pathlib import Path

import faker.providers.person as persons
from simplemma.strategies.dictionaries.dictionary_factory import DefaultDictionaryFactory

from goldsmith.privacy.lists import fold, vocabulary

LISTS = Path(__file__).parents[1] / "goldsmith" / "privacy" / "lists"
WORD = re.compile(r"[^\W\d_]{2,}(?:'[^\W\d_]+)*")
# How Ukrainian, Russian and Bulgarian names are written in passports, in English and in German.
CYRILLIC = dict(
    zip(
        "абвгґдеєзиіїйклмнопрстуфцчьыэъ",
        [
            "a",
            "b",
            "v",
            "h",
            "g",
            "d",
            "e",
            "ye",
            "z",
            "y",
            "i",
            "yi",
            "y",
            "k",
            "l",
            "m",
            "n",
            "o",
            "p",
            "r",
            "s",
            "t",
            "u",
            "f",
            "ts",
            "ch",
            "",
            "y",
            "e",
            "",
        ],
        strict=True,
    )
)
CYRILLIC |= {"ж": "zh", "х": "kh", "ш": "sh", "щ": "shch", "ю": "yu", "я": "ya", "ё": "yo"}
PASSPORT = CYRILLIC | {"є": "ie", "ї": "i", "й": "i", "ю": "iu", "я": "ia"}
RUSSIAN = CYRILLIC | {"г": "g", "и": "i"}
GERMAN = RUSSIAN | {
    "в": "w",
    "є": "je",
    "ж": "sch",
    "ї": "ji",
    "й": "j",
    "х": "ch",
    "ц": "z",
    "ч": "tsch",
    "ш": "sch",
    "ю": "ju",
    "я": "ja",
    "з": "s",
}


def main() -> None:
    for part in ("first", "last"):
        names = sorted(collect(part))
        (LISTS / f"{part}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        print(f"{part}: {len(names)} names")

    dictionaries = [DefaultDictionaryFactory().get_dictionary(language) for language in ("de", "en")]
    known = {word for each in dictionaries for pair in each.items() for word in pair if re.fullmatch(r"[^\W\d_]{3,}", word)}
    vocabulary.FILE.write_bytes(vocabulary.build(known))
    print(f"vocabulary: {len(known)} words, {vocabulary.FILE.stat().st_size} bytes")


def collect(part: str) -> set[str]:
    """Every first (`first`) or family (`last`) name of all of Faker's locales in Latin letters, folded."""
    names: set[str] = set()
    for module in pkgutil.iter_modules(persons.__path__):
        provider = importlib.import_module(f"{persons.__name__}.{module.name}").Provider
        for attribute in dir(provider):
            values = getattr(provider, attribute)
            if f"{part}_name" in attribute and "format" not in attribute and isinstance(values, (tuple, list, dict, set)):
                for value in values:
                    names |= (
                        {form for word in WORD.findall(value) for form in forms(word.lower())}
                        if isinstance(value, str)
                        else set()
                    )
    return names


def forms(word: str) -> set[str]:
    if any("CYRILLIC" in unicodedata.name(char, "") for char in word):
        return {"".join(table.get(char, "") for char in word) for table in (CYRILLIC, PASSPORT, RUSSIAN, GERMAN)}
    folded = fold(word)
    german = fold(word.replace("ä", "ae").replace("ö", "oe").replace("ü", "ue"))
    return {form for form in (folded, german) if re.fullmatch(r"[a-z']{2,}", form)}


if __name__ == "__main__":
    main()
