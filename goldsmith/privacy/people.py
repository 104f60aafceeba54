"""Which words are names: the lists, and how names end."""

from __future__ import annotations

import re
from functools import cache, lru_cache

from goldsmith.privacy.lists import fold, lines, words

TOKEN = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*")
STOP = words("stop")
# Words that are a first name and an s by chance: those of the dictionaries of German and English that children write.
_NO_GENITIVE = frozenset(
    """alias jemals verlas olles bonus jeans nachos margaritas mimosas tutus newtons mines fines merits florins marlins maxims mines tines
    toons wadis alfas alphas hales mantes manos galenas trinis lianas linos alines napoleons solomons amors palmas ninos""".split()
)
PARTICLES = frozenset(
    "van von de del della di da dos das do al el bin bint ibn abu zu zum den der ter ten la le ben mc mac st o y e".split()
)
# A family name behind a first name that is a word as well, where no list has it.
FAMILY_END = re.compile(
    r"(?:mann|stedt|städt|hoff|müller|mueller|meyer|meier|maier|mayer|schmidt|schmitt|dt|tz|ke|inger|brandt|huber|bauer|worth|lock|weather|ington|bury|shaw|wick|combe|thorpe|croft|blum|sen|son|oğlu|oglu|ic|ić)$"
)
SURNAME_END = re.compile(
    r"(?:czyk|wski|wska|cki|cka|dzki|dzka|ński|nski|nska|owicz|ewicz|iewicz|enko|chuk|tschuk|szuk|yuk|iuk|oglu|oğlu|ovic|evic|ovich|evich|owitsch|ewitsch|escu|opoulos|opoulou|akis|idis|shvili|dze|yan|ian|ov|ova|ev|eva|"
    r"owa|ow|ewa|sson|sen|mann|ström|berg|quist|inen|nyi|ssy|fi|poor|zadeh|zade|nejad|yar|zai|zai|singh|ullah|uddin|rahman|bhai|wala|puri|swamy|lingam|nathan|rajah|moorthy|murthy|wale|tola|dele|kunle|wole|emeka|nkwo|"
    r"chukwu|gbu|baatar|sinh|manyan|aite|aitis|auskas|iene|iute|cova|kova|iuc|eanu|anu|elli|etti|ini|otti|ucci|illo|eira|inho)$"
)
# Ends of German nouns and of adjectives as nouns: an unknown capitalised word with one is no name.
GERMAN_NOUN = re.compile(
    r"(?:ung|heit|keit|schaft|tum|nis|chen|lein|ling|ismus|tät|tion|haus|baum|blume|tier|fisch|vogel|wald|berg|stadt|schiff|wagen|auto|ball|buch|bild|kuchen|himmel|wasser|stein|land|meer|see|turm|schloss|welt|kind|"
    r"mann|frau|hund|katze|pferd|drache|monster|garten|zimmer|straße|brücke|boot|zeug|werk|licht|farbe|stern|mond|sonne|wolke|regen|bogen|held|heldin|prinz|prinzessin|ritter|könig|königin|lehrer|lehrerin|erin|ler|innen|linge|"
    r"spieler|maler|läufer|fahrer|sänger|tänzer|bauer|kopf|arm|bein|fuß|hand|auge|ohr|haar|kleid|hose|hemd|jacke|mütze|hut|schuh|tasche|korb|topf|tisch|stuhl|bett|lampe|tür|fenster|dach|keller|küche|bad|feld|wiese|blatt|gras|"
    r"pflanze|pilz|frucht|beere|apfel|eis|torte|brot|suppe|spiel|puppe|bär|burg|insel|strand|fluss|bach|höhle|kiste|truhe|schatz|karte|zug|bahn|bus|flieger|rakete|roboter)(?:e|en|n|s|es|er)?$",
    re.IGNORECASE,
)


@cache
def lists() -> tuple[frozenset[str], frozenset[str], frozenset[str], frozenset[str], frozenset[str]]:
    """First names, family names, names that are words as well, words that are no names in a frame, and names that count alone."""
    first = words("first") | words("extra")
    last = words("last") | words("surnames")
    ambiguous = words("ambiguous") | words("places")
    common = common_words()
    alone = frozenset(word for word in first - ambiguous - common if len(word) > 2)
    return first, last, ambiguous, common, alone


@cache
def common_words() -> frozenset[str]:
    return STOP | words("nouns")


@cache
def given() -> frozenset[str]:
    """First names, those that are words as well included, but no words of grammar."""
    return words("first") | (words("extra") - STOP)


@cache
def public_names() -> tuple[frozenset[str], re.Pattern[str]]:
    """First words of well-known names, and a pattern for all of them."""
    phrases = sorted(lines("public"), key=len, reverse=True)
    return frozenset(re.split(r"[ .'-]", phrase)[0] for phrase in phrases), re.compile(
        r"\b(?:" + "|".join(re.escape(phrase) for phrase in phrases) + r")(?:'?s)?\b"
    )


@cache
def company() -> dict[str, frozenset[str]]:
    """Of names of places, brands and figures the words beside which they are these."""
    pairs = (line.split(":") for line in lines("company"))
    return {fold(name.strip()): frozenset(map(fold, beside.split())) for name, beside in pairs}


@lru_cache(maxsize=50_000)
def token_key(raw: str) -> str:
    key = fold(raw)
    if key.endswith(("'s", "'")):
        return key.rpartition("'")[0] or key
    return key[:-1] if _is_genitive(key) else key


def _is_genitive(key: str) -> bool:
    """Annas, Mehmets: not Alexis, which is a name itself, and not roses."""
    if len(key) < 5 or not key.endswith("s") or key.endswith(("ss", "ies")) or key in _NO_GENITIVE:
        return False
    if key in words("first") or key in words("extra"):
        return False
    owner = key[:-1]
    if owner in words("extra") and owner not in words("ambiguous"):
        return True
    return (
        owner in words("first") and owner not in words("ambiguous") and owner not in common_words() and key not in words("last")
    )
