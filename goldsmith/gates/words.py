"""Words, and which of them carry a text. For German and English."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import takewhile
from pathlib import Path

_DE = """
der das dem den des ein eine einen einem einer eines und oder aber denn ist sind wird werden wurde nicht kein keine mit auf im
ins zu zum zur von vom für sich auch wie es er sie ich wir ihr mein meine dein sein seine unser aus bei nach über unter vor
hinter neben zwischen durch gegen um bis als ob weil wenn dass noch schon nur sehr hier dort da jede jeder jedes alle alles
viel mehr man haben habe hatte kann hätte wäre würde würden gibt statt ohne seit dann zuletzt zuerst gern die gegen
meiner meinem meinen meines deiner deinem deinen seiner seinem seinen seines ihre ihren ihrem ihrer unsere unserer unserem dich
dir mich ihn ihm ihnen euch etwas nichts jemand niemand nie niemals immer ganz ganzen andere anderen dieser diese dieses diesem
solche welche soll sollte muss will gerade heute bisschen wieder weil beim dabei darauf darin davon damit
"""
_EN = """
the a and or but is are were be been be of to on with at from it its that this these those for by as into onto through over under
behind beside between out up down off he she they we you i my your his their our there not no every each all both some any
when while because if what who where which how has have had does do did can could would should than then only just very too
more most one two about being without within against around across near inside outside along toward towards during under never
always ever first person something someone nobody everybody else other another such same like them him itself himself herself there's having
done even still much many few lot lots bit today
"""
_BOTH = "in an am was so also hat war will her bin man"  # a word in one language and a word or a form in the other

# Words that children ask with and contexts order with; they are not what the text is about.
_REQUESTS = """
bitte male mal malen zeichne zeichnen zeig zeige mach mache mir uns lieber liebe computer bild foto kannst könntest möchte
wünsche wünschte stell please draw make show paint me picture image could wish want like dear let us imagine say sage sag tell
erzähle name nenne benenne describe beschreibe betrachte treat behandle think denke look build baue reduce verringere lay lege
song songs lied lieder music musik stück piece track tune melodie melody video film text gedicht poem story geschichte talk talks speak speaks sprechen sagen sagt
leave lass turn repeat wiederhole scene szene thing things ding dinge prompt use using terms fit craft verwende benutze nutze begriffe passen handwerk everything welche welcher welches wo single
"""
_STOP = frozenset(f"{_DE} {_EN} {_BOTH} {_REQUESTS}".split())


def words(text: str) -> list[str]:
    """Letters only, case folded, composed (NFC)."""
    return re.findall(r"[^\W\d_]+", unicodedata.normalize("NFC", text).casefold())


def content_words(text: str) -> list[str]:
    """Words of three letters or more that carry the text, in order, each once."""
    return list(dict.fromkeys(word for word in words(text) if len(word) > 2 and word not in _STOP))


@lru_cache(maxsize=20_000)
def folded(text: str) -> str:
    """Without umlauts and accents: `Apfel` and `Äpfel` begin alike."""
    return "".join(letter for letter in unicodedata.normalize("NFD", text) if not unicodedata.combining(letter))


def among(word: str, others: Sequence[str]) -> bool:
    """Some form of the word is there."""
    stem = folded(word)
    return any(same(stem, folded(other)) for other in others)


def same(one: str, other: str) -> bool:
    """One stem, as far as the beginnings of words tell: `fliegt` and `fliegen`, `child` and `children`."""
    if one == other:
        return True
    if one[:3] != other[:3]:
        return False
    short, long = sorted((len(one), len(other)))
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    return (short == shared == 3 and long <= 5) or (shared >= 4 and shared >= 0.7 * short and shared >= 0.5 * long)


def named(word: str, others: Sequence[str]) -> bool:
    """Some form of the word is there, a compound of it (`hat` in `Strohhut`), a part of it, or a word for nearly the same."""
    stem = folded(word)
    for other in map(folded, others):
        if same(stem, other) or _compound(stem, other) or _compound(other, stem):
            return True
    alike = [each for known in _alike() if same(known, stem) for each in _alike()[known]]
    return any(same(each, folded(other)) for other in others for each in alike)


def _compound(part: str, whole: str) -> bool:
    ends = whole.endswith(part) and len(whole) >= len(part) + 3
    return (ends and len(part) >= 3) or (len(part) >= 4 and len(whole) >= len(part) + 3 and whole.startswith(part))


@lru_cache
def _alike() -> dict[str, set[str]]:
    """Of each word of `alike.toml` those that stand in its lines."""
    lines = tomllib.loads(Path(__file__).with_name("alike.toml").read_text(encoding="utf-8"))["lines"]
    found: defaultdict[str, set[str]] = defaultdict(set)
    for line in filter(None, lines.split("\n")):
        each = [folded(word) for word in line.split()]
        for word in each:
            found[word].update(each)
    return dict(found)


_UNNAMED = """
party celebration birthday fest feier geburtstag morning dawn sunrise morgen sonnenaufgang evening dusk sunset abend dämmerung sonnenuntergang
night moon dark midnight nacht mond mitternacht sun sunny sunlight sonne sonnig rain rainy regen storm thunder sturm gewitter winter
sky heaven himmel sea ocean meer ozean city town stadt village dorf street straße forest wood woods wald beach strand
room zimmer nightclub club disco picnic picknick feast festmahl landing landung weaving circus zirkus zoo farm bauernhof kitchen küche home factory fabrik workshop werkstatt office büro festival detective detektiv school schule market markt space weltraum weltall island insel desert wüste
people persons crowd menschen leute man woman men women mann frau child kind boy girl junge mädchen animal animals tier tiere
happy sad angry scary big small fast old glücklich traurig wütend gruselig groß klein schnell alt travel trip reise picture photo bild foto
game play spiel duel battle duell kampf race rennen wedding hochzeit concert konzert market fair jahrmarkt eat food essen fight kampf dance tanz run walk fly swim fliegen laufen schwimmen
"""
_SHOWN_UNNAMED = frozenset(map(folded, _UNNAMED.split()))


def shown_unnamed(word: str) -> bool:
    """An occasion, a time, a place, a mood: shown by what is there, without being called so."""
    return folded(word) in _SHOWN_UNNAMED or any(folded(word).endswith(each) for each in _SHOWN_UNNAMED if len(each) > 4)


def sentences(text: str) -> list[str]:
    """Cut after a full stop, question or exclamation mark that a space follows, and at line breaks."""
    return [part for part in re.split(r"(?<=[.!?…])[\"”“»«’)]*\s+|\n+", text) if part.strip()]
