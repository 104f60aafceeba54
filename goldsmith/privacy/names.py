"""Names of people: lists of names, and frames that say that a name comes next.

A word of the lists counts alone where it is nothing but a name. A name that is also a word ("Rose", "Max", "Stern") counts in a
frame only ("ich heiße …", "my friend …", "Frau …", beside a family name), and a word of no list counts where the frame leaves
no other reading. Painters, figures of tales and whoever else is known to everybody are nobody's secret: they are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from itertools import pairwise
from typing import NamedTuple

from goldsmith.privacy.finding import Text
from goldsmith.privacy.lists import fold, lines, words
from goldsmith.privacy.lists.vocabulary import is_word

Span = tuple[int, int]

_TOKEN = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*")
_PERSON_DE = (
    "freund|freundin|freunde|freundinnen|bruder|schwester|brüder|schwestern|geschwister|cousin|cousine|kusine|oma|opa|omi|opi|mama|papa|mami|papi|"
    "mutter|vater|mutti|vati|onkel|tante|lehrer|lehrerin|klassenlehrer|klassenlehrerin|kunstlehrer|kunstlehrerin|mathelehrer|mathelehrerin|sportlehrer|"
    "sportlehrerin|musiklehrer|musiklehrerin|deutschlehrer|deutschlehrerin|englischlehrer|englischlehrerin|erzieher|erzieherin|klassenkamerad|"
    "klassenkameradin|nachbar|nachbarin|nachbarn|trainer|trainerin|mitschüler|mitschülerin|kumpel|sohn|tochter|zwilling|zwillingsbruder|"
    "zwillingsschwester|stiefbruder|stiefschwester|stiefvater|stiefmutter|halbbruder|halbschwester|neffe|nichte|enkel|enkelin|patenonkel|patentante|"
    "schulleiter|schulleiterin|direktor|direktorin|rektor|rektorin|betreuer|betreuerin|hausmeister|hausmeisterin|sitznachbar|sitznachbarin|banknachbar|"
    "banknachbarin|tischnachbar|tischnachbarin|babysitter|babysitterin|bff|abf|bester|beste|bro|sis|partnerin|partner|schatz|verlobter|verlobte|ehemann|"
    "uroma|uropa|omas|opas|schwager|schwägerin|kindergärtnerin|sozialarbeiter|sozialarbeiterin|arzt|ärztin|zahnarzt|zahnärztin|schwarm|brieffreund|"
    "brieffreundin|mitbewohner|mitbewohnerin|kollege|kollegin|chef|chefin|vermieter|schüler|schülerin|kind|baby|besti|kleiner|kleine|großer|große"
)
_PERSON_EN = (
    "friend|friends|bestie|bff|brother|brothers|sister|sisters|sibling|siblings|cousin|cousins|mum|mom|mama|mommy|mummy|dad|daddy|papa|mother|father|"
    "grandma|grandpa|granny|grandad|granddad|grandmother|grandfather|nan|nana|gran|uncle|aunt|auntie|aunty|teacher|classmate|neighbour|neighbor|neighbours|coach|"
    "buddy|mate|pal|son|daughter|twin|twins|stepbrother|stepsister|stepdad|stepmum|stepmom|nephew|niece|babysitter|nanny|boyfriend|girlfriend|"
    "crush|partner|roommate|roomie|tutor|headteacher|headmaster|principal|dentist|doctor|penpal|godmother|godfather|bro|sis|kid|baby|boss|wife|husband|fiancé|student|pupil|"
    "bf|gf|homie|deskmate"
)
_OWN = r"(?:mein|meine|meinen|meinem|meiner|meines|unser|unsere|unseren|unserem|unserer|dein|deine|deinem|deiner|sein|seine|seinem|seiner|seinen|ihr|ihre|ihrem|ihrer|ihren|my|our|your|his|her|their|ne|nem|nen)"
_QUALITY = r"(?:(?!und |and |oder |or )[^\W\d_]+\s){0,2}"
_NAME_OF = r"(?:\s*,\s*(?:die|der|das|the)?\s*|\s*:\s*|\s+(?:namens|heißt|heisst|heist|heißen|heissen|hieß|genannt|mit (?:dem |vor)?namen?|called|named|is called|is named|are called|'s name is|s name is|name is|names are|ist|is|sind|are|war|was)(?:\s+(?:auch|eigentlich|der|die|nämlich|übrigens|also|actually|either|halt))?\s+|\s+)"
_AT = r"(?=[^\W\d_])"

# After these a name comes, and nothing else makes sense.
_SELF = re.compile(
    r"\b(?:ich (?:hei(?:ß|ss|s|sz)e?|hies|heise)(?: mit (?:vor|nach|familien)?namen)?|ich werde (?:immer |auch |meist )?(?=\w+ (?:genannt|gerufen))|heiße ich|heisse ich|"
    r"(?:mein|meine|unser) (?:(?:voller|ganzer|richtiger|echter|zweiter|name und) )?(?:vor|nach|spitz|familien|ruf|zweit|künstler|doppel|zu)?n[aä]h?m[em]?n? (?:ist|is|lautet|war|wär|wäre|währe)|"
    r"my (?:(?:full|real|first|last|middle|nick|given|family|christian|second) ?)?(?:nick|sur)?na(?:me|em|m|mes)(?:'s| is| iz|s|)|me name is|name'?s|"
    r"i(?:'m|m| am| was) (?:called|named|known as)|(?:they|people|everyone|everybody|friends|you can|u can|pls|please|just|mom|mum) calls? me|call me|"
    r"(?:man|alle|sie|die|freunde|andere|viele|mama|papa|oma|leute) (?:nennt|nennen|rufen|ruft|sagen zu|sagt zu) mich|nennt mich|nenn mich|genannt werde ich|"
    r"(?:(?:vor|nach|familien|zu)name|surname|first name|last name|full name|name)(?=\s*[:=]))"
    r"\s*[:=,-]*\s+(?:(?:auch|eigentlich|nämlich|übrigens|der|die|actually|just|aber|also|einfach|halt|immer|is|ist|always|by)\s+){0,2}"
    + _AT
)
_I_AM = re.compile(
    r"\b(?:ich bin(?:s)?|ich wär|ich bin'?s|hier ist|hier spricht|hier schreibt|das bin ich|das ist|dies ist|i'?m|i am|this is|it's|its me|it is me|me is|that's|here is|here's|bin)"
    r"\s*[,:]?\s+(?:(?:der|die|the|me|ich|auch|eigentlich|hier)\s+)?" + _AT
)
# A person first, then perhaps a word for naming, then the name.
_KIN = re.compile(rf"\b(?:{_OWN}\s{_QUALITY})(?:{_PERSON_DE}|{_PERSON_EN}){_NAME_OF}{_AT}")
_KIN_BARE = re.compile(
    r"\b(?:oma|opa|omi|opi|tante|onkel|uroma|uropa|grandma|grandpa|granny|grandad|granddad|nana|gran|uncle|aunt|auntie|aunty|cousin|cousine|nachbarin|coach|trainer|schwester|bruder|"
    r"freundin|freund|klassenlehrerin|klassenlehrer|lehrerin|lehrer|erzieherin|teacher|classmate|mitschüler|mitschülerin|kumpel|bestie|schüler|schülerin|sister|brother|friend|friends|bff)\s+"
    + _AT
)
_NAMED = re.compile(
    rf"\b(?:{_PERSON_DE}|{_PERSON_EN}|junge|jungen|mädchen|mann|frau|leute|kinder|boy|girl|man|woman|lady|guy|kids|person|wir|er|sie|they|she|he|who|die|der)\b[^.!?\n]{{0,24}}?"
    rf"\b(?:namens|heißt|heisst|heist|heißen|heissen|hieß|genannt|mit (?:dem |vor)?namen?|called|named|name is|name's|named)\s+(?:(?:auch|eigentlich|nämlich|übrigens|also|actually|both)\s+)?{_AT}"
)
_TITLE = re.compile(
    r"\b(?:herrn?|hr\.?|frau|fr\.|fräulein|mr\.?|mrs\.?|ms\.?|miss|mister|missis|misses|sir|madam|madame|monsieur|señora|señor|hodscha|hoca|schwester|pater|pfarrer(?:in)?|pastor(?:in)?|rabbi(?:ner)?|imam|"
    r"dr\.?|doktor|doctor|prof\.?|professor(?:in)?|mme|familie|fam\.)\s+(?:(?:dr|prof|doktor|professor(?:in)?|med|dipl|ing|von|van|de|zu|der)\b\.?\s*)*"
    + _AT
)
_FULL_TITLE = re.compile(r"m(?:r|rs|s)\b|prof|herr|dr")  # after these a lower-case word may be of no list
_ARTICLE_BEFORE = re.compile(
    r"(?:\b(?:ein|eine|einen|einem|einer|die|der|den|dem|diese|dieser|jede|jeder|keine|alte|alten|junge|jungen|schöne|schönen|kleine|kleinen|große|großen|nackte|schwarze|meine|deine|seine|ihre|zur|zu|"
    r"weiße|blonde|traurige|lachende|alter|junger|nette|netter|liebe|of|the|a|an|to|i|you|we|they|will|would|really|und|oder|\w+ende|\w+ige|\w+ige[nr])\s+)$"
)
# A name first, then what makes it one.
_AFTER = re.compile(
    rf"\s*(?:,?\s(?:ist|is|war|was|heißt|sind|are)\s(?:{_OWN}|ein|eine|a|an|the|der|die|meine)\s{_QUALITY}(?:{_PERSON_DE}|{_PERSON_EN})\b"
    rf"|\s*,\s{_OWN}\s{_QUALITY}(?:{_PERSON_DE}|{_PERSON_EN})\b"
    r"|\s*[(,]\s*(?:\d{1,2}|sechs|sieben|acht|neun|zehn|elf|zwölf|six|seven|eight|nine|ten|eleven|twelve)\s*(?:\)|jahre?|j\.|years?|yrs?|y/?o|klasse|[.,]?\s*$)"
    r"|,?\s(?:ist|is|bin|wird|turns|was)\s(?:erst |schon |just |only )?(?:\d{1,2}|fünf|sechs|sieben|acht|neun|zehn|elf|zwölf|five|six|seven|eight|nine|ten|eleven|twelve)\s(?:jahre?|years?|yrs)"
    r"|,?\s(?:aus (?:der|meiner|unserer|unsrer) (?:klasse|\d|schule|parallelklasse|straße|gruppe|kita|nachbarschaft|ag)|aus klasse|von nebenan|in meiner klasse|in unserer klasse|klasse \d|from (?:my|our|the) (?:class|school|street|team|group)|from next door|from class|from year|in my class|in our class|"
    r"who sits|sits next to|sitzt neben|geht in (?:meine|unsere|die) |goes to (?:my|our) |hat (?:mich|mir|zu mir|heute geburtstag|geburtstag)|is in my|war (?:gestern|heute|auch) |told me|gave me|said to me|has a birthday|wohnt (?:in|bei|neben|nebenan|gegenüber)|lives (?:in|next|near|at|on)|und ich\b|and i\b|and me\b|& ich\b|& i\b))"
)
_SIGNED = re.compile(
    r"(?:\b(?:lg|vlg|glg|hdl|gruß|grüße|gruss|gruesse|grüßen|dein|deine|eure|euer|your|yours|love|regards|cheers|xoxo|unterschrift|signed|gez\.?|gemalt von|gezeichnet von|gemacht von|made by|drawn by|painted by|written by|geschrieben von|"
    r"bild von|picture by|drawing by|art by|copyright|©|@ von|autor|autorin|author|künstler|künstlerin|artist|von|by)[,:!\s]+(?:von |from |der |die )?)"
    + _AT
)
_GREETED = re.compile(
    r"(?:\b(?:hallo|hi|hey|heyy|hej|moin|servus|liebe|lieber|liebste|liebster|dear|dearest|hello|tschüss|tschüß|danke|dankeschön|thanks|thank you|bye|happy birthday|alles gute|alles liebe|glückwunsch|congratulations|congrats|gute besserung|get well|"
    r"good luck|viel glück|geburtstag|birthday(?: card| cake| party)?|geburtstagskarte|karte|card|überraschung|abschied|für|for|to|an)[,:!\s]+(?:dir |dich |to you |for |für |von |to |an |zum geburtstag |meine liebe |my dear )?)"
    + _AT
)
_JOINED = re.compile(r"\s*(?:,|und|and|&|\+|oder|or|,\s*und|,\s*and)\s*$")
_WITH_I = re.compile(
    r"\b(?:ich und|i und|me and|ich &|me &|ich mit|me with|wir sind|we are|wir heißen|mit mir und|with me and|you and)\s+" + _AT
)
# A family name behind a first name that is a word as well, where no list has it.
_FAMILY_END = re.compile(
    r"(?:mann|stedt|städt|hoff|müller|mueller|meyer|meier|maier|mayer|schmidt|schmitt|dt|tz|ke|inger|brandt|huber|bauer|sen|son|oğlu|oglu|ic|ić)$"
)
_STOP_CAPITAL = frozenset("kann mag sal an so da do die der das hat ist".split())
_GOES_ON = re.compile(r"\s*(?:$|[,.!]|und ich\b|und du\b|and i\b|and my\b|and you\b|from\b|aus\b|\d)")
_SURNAME_END = re.compile(
    r"(?:czyk|wski|wska|cki|cka|dzki|dzka|ński|nski|nska|owicz|ewicz|iewicz|enko|chuk|tschuk|szuk|yuk|iuk|oglu|oğlu|ovic|evic|ovich|evich|owitsch|ewitsch|escu|opoulos|opoulou|akis|idis|shvili|dze|yan|ian|ov|ova|ev|eva|"
    r"owa|ow|ewa|sson|sen|mann|ström|berg|quist|inen|nyi|ssy|fi|poor|zadeh|zade|nejad|yar|zai|zai|singh|ullah|uddin|rahman|bhai|wala|puri|swamy|lingam|nathan|rajah|moorthy|murthy|wale|tola|dele|kunle|wole|emeka|nkwo|"
    r"chukwu|gbu|baatar|sinh|manyan|aite|aitis|auskas|iene|iute|cova|kova|iuc|eanu|anu|elli|etti|ini|otti|ucci|illo|eira|inho)$"
)
_PARTICLES = frozenset(
    "van von de del della di da dos das do al el bin bint ibn abu zu zum den der ter ten la le ben mc mac st o y e".split()
)
_NOT_TITLE = frozenset(
    "holle holla mond sonne tod frühling fruehling natur maus igel hase bär baer katze schnecke biene ente frosch spinne schmetterling malzahn nilsson bean claus right wrong universe president world".split()
)


# One of these words is in every match: it spares a text the search.
_MARKS = {
    _SELF: frozenset(
        """heiße heisse heise heiss heiß heissze hies name nahme namen nahmen nam nme näme nickname surname called known call calls nennt nennen
        nenn genannt gerufen rufen ruft sagen sagt werde vorname nachname familienname zuname spitzname rufname zweitname künstlername
        doppelname namm nem name's""".split()
    ),
    _NAMED: frozenset("namens heißt heisst heist heißen heissen hieß genannt namen name named called".split()),
    _KIN: frozenset([*_PERSON_DE.split("|"), *_PERSON_EN.split("|")]),
    _TITLE: frozenset(
        """herr herrn hr frau fr fräulein mr mrs ms miss mister missis misses sir madam madame monsieur señora señor hodscha hoca schwester
        pater pfarrer pfarrerin pastor pastorin rabbi rabbiner imam dr doktor doctor prof professor professorin mme familie fam""".split()
    ),
}


def _matches(pattern: re.Pattern[str], text: Text) -> Iterable[re.Match[str]]:
    marks = _MARKS.get(pattern)
    return () if marks is not None and marks.isdisjoint(text.words) else pattern.finditer(text.lower)


class _Token(NamedTuple):
    start: int
    end: int
    raw: str
    key: str
    """Folded, without a genitive."""
    capital: bool


@cache
def _lists() -> tuple[frozenset[str], frozenset[str], frozenset[str], frozenset[str], frozenset[str]]:
    """First names, family names, names that are words as well, words that are no names in a frame, and names that count alone."""
    first = words("first") | words("extra")
    last = words("last") | words("surnames")
    ambiguous = words("ambiguous")
    common = words("stop") | words("nouns")
    alone = frozenset(word for word in first - ambiguous - common if len(word) > 2)
    return first, last, ambiguous, common, alone


@cache
def _public() -> tuple[frozenset[str], re.Pattern[str]]:
    """First words of well-known names, and a pattern for all of them."""
    phrases = sorted(lines("public"), key=len, reverse=True)
    return frozenset(re.split(r"[ .'-]", phrase)[0] for phrase in phrases), re.compile(
        r"\b(?:" + "|".join(re.escape(phrase) for phrase in phrases) + r")(?:'?s)?\b"
    )


def names(text: Text, language: str | None) -> Iterator[Span]:
    first, last, ambiguous, common, alone = _lists()
    if not _worth_a_look(text):
        return
    cased = text.plain != text.lower and not (text.plain.isupper() and len(text.plain) > 3)
    tokens = _tokens(text.plain, cased)
    if not tokens:
        return
    starts = {token.start: place for place, token in enumerate(tokens)}
    public = _public_places(text, tokens)
    found: set[int] = set()

    def known(token: _Token) -> bool:
        return any(part in first or part in last for part in [token.key, *token.key.split("-")])

    def common_word(token: _Token) -> bool:
        return token.key in common or fold(token.raw) in common

    def sure(place: int) -> bool:
        """Behind a frame that leaves no other reading."""
        token = tokens[place]
        if place in public or token.key in _STOP or len(token.raw) < 2:
            return False
        return not common_word(token) or (token.capital and cased and token.key in alone)

    def likely(place: int) -> bool:
        """Behind a frame that a name usually follows, but other words may."""
        token = tokens[place]
        if place in public or common_word(token) or len(token.raw) < 2:
            return False
        if known(token):
            return token.capital or token.key not in ambiguous
        return (token.capital or len(token.raw) > 3) and not is_word(token.raw)

    def kin(place: int) -> bool:
        """Behind somebody's sister or friend a capitalised first name is one even when it is a word as well."""
        return likely(place) or (place not in public and tokens[place].capital and tokens[place].key in first - _STOP_CAPITAL)

    def certain_name(place: int) -> bool:
        token = tokens[place]
        return place not in public and not common_word(token) and known(token) and (token.capital or token.key not in ambiguous)

    for pattern, accept in ((_SELF, sure), (_KIN, kin), (_NAMED, likely), (_WITH_I, likely)):
        for match in _matches(pattern, text):
            place = starts.get(match.end())
            if place is not None and accept(place):
                found.add(place)
    for pattern in (_I_AM, _KIN_BARE, _SIGNED, _GREETED):
        for match in _matches(pattern, text):
            place = starts.get(match.end())
            if place is None:
                continue
            token = tokens[place]
            given = token.key in first and token.key not in words("stop") - words("first") and place not in public
            if (
                (certain_name(place) and (token.key not in ambiguous or pattern is _KIN_BARE or _ends(text, token)))
                or (pattern is _KIN_BARE and cased and language != "de" and likely(place))
                or (
                    pattern is _I_AM
                    and not known(token)
                    and len(token.raw) > 3
                    and len(text.plain) < TYPED
                    and not is_word(token.raw)
                )
                or (pattern is _GREETED and given and token.capital and text.plain[token.end : token.end + 1] == ",")
                or (
                    pattern is _I_AM
                    and given
                    and (token.key not in common or (token.capital and not match[0].startswith("im ")))
                    and _GOES_ON.match(text.lower, token.end)
                )
            ):
                found.add(place)
    for match in _matches(_TITLE, text):
        place = starts.get(match.end())
        if place is None or place in public or tokens[place].key in _NOT_TITLE:
            continue
        token = tokens[place]
        if token.key in _STOP and not (token.capital and cased and token.key in last):
            continue
        before = text.lower[max(0, match.start() - 14) : match.start()]
        if token.capital and cased and (text.plain[match.start()].isupper() or not _ARTICLE_BEFORE.search(before)):
            if not (token.key in common and token.key not in last):
                found.add(place)
        elif (
            not (cased and token.capital)
            and not _ARTICLE_BEFORE.search(before)
            and not common_word(token)
            and (known(token) or not is_word(token.raw) or _SURNAME_END.search(token.key) or _FULL_TITLE.match(match[0]))
        ):
            found.add(place)
    typed = len(text.plain) < TYPED
    for place, token in enumerate(tokens):
        key = token.key
        if key not in alone and "-" not in key and not (typed and (token.capital or known(token))):
            continue
        if place in found or place in public:
            continue
        parts = key.split("-")
        if key in alone or (len(parts) > 1 and all(part in first for part in parts)):
            if (token.capital and cased) or len(key) > 3 or key in words("extra"):
                found.add(place)
        elif typed and not common_word(token) and _AFTER.match(text.lower, token.end):
            before = text.lower[max(0, token.start - 8) : token.start]
            if (
                known(token)
                and (token.capital or key not in ambiguous)
                and not re.search(r"\b(?:der|die|das|ein|eine|the|a|an)\s$", before)
            ):
                found.add(place)
    if cased and typed:
        _unknown_words(text, tokens, found, public)
    _full_names(tokens, found, public, cased)
    _spread(text, tokens, found, likely)
    yield from _spans(text, tokens, found, public, cased)


_STOP = words("stop")
# Ends of German nouns and of adjectives as nouns: an unknown capitalised word with one is no name.
_GERMAN_NOUN = re.compile(
    r"(?:ung|heit|keit|schaft|tum|nis|chen|lein|ling|ismus|tät|tion|haus|baum|blume|tier|fisch|vogel|wald|berg|stadt|schiff|wagen|auto|ball|buch|bild|kuchen|himmel|wasser|stein|land|meer|see|turm|schloss|welt|kind|"
    r"mann|frau|hund|katze|pferd|drache|monster|garten|zimmer|straße|brücke|boot|zeug|werk|licht|farbe|stern|mond|sonne|wolke|regen|bogen|held|heldin|prinz|prinzessin|ritter|könig|königin|lehrer|lehrerin|erin|ler|innen|linge|"
    r"spieler|maler|läufer|fahrer|sänger|tänzer|bauer|kopf|arm|bein|fuß|hand|auge|ohr|haar|kleid|hose|hemd|jacke|mütze|hut|schuh|tasche|korb|topf|tisch|stuhl|bett|lampe|tür|fenster|dach|keller|küche|bad|feld|wiese|blatt|gras|"
    r"pflanze|pilz|frucht|beere|apfel|eis|torte|brot|suppe|spiel|puppe|bär|burg|insel|strand|fluss|bach|höhle|kiste|truhe|schatz|karte|zug|bahn|bus|flieger|rakete|roboter)(?:e|en|n|s|es|er)?$",
    re.IGNORECASE,
)


@cache
def _alerts() -> frozenset[str]:
    """Words without one of which no name is found: names that are nothing else, and those that frames are made of."""
    _, last, ambiguous, common, alone = _lists()
    framing = """heiße heisse heise heiss heiß heissze heißen heissen heisst heißt hieß hies name nahme namen nam surname vorname nachname
        spitzname nickname named called call calls nennt nennen nenn genannt rufen gerufen namens
        mein meine meinen meinem meiner my our unser unsere unserem unserer unseren wir herr herrn frau fräulein mr mrs ms miss mister
        dr doktor doctor prof professor professorin hallo hi hey lieber dear dearest love lg vlg glg gruß grüße grüßen signed danke thanks
        familie thank birthday geburtstag"""
    plain = frozenset(
        "kind baby beste bester kleiner kleine große großer mate kid pupil student schüler doctor partner boss arzt pal".split()
    )
    return (
        frozenset(word for word in alone | (last - ambiguous - common) if len(word) > 2)
        | frozenset([*framing.split(), *_PERSON_DE.split("|"), *_PERSON_EN.split("|")]) - plain
    )


def _worth_a_look(text: Text) -> bool:
    alerts = _alerts()
    if not alerts.isdisjoint(text.words) or len(text.plain) < 120:
        return True
    # words with diacritics stand folded in the lists
    return not text.plain.isascii() and any(fold(word) in alerts for word in text.words if not word.isascii())


def _tokens(plain: str, cased: bool) -> list[_Token]:
    return [
        _Token(match.start(), match.end(), match[0], _token_key(match[0]), cased and match[0][0].isupper())
        for match in _TOKEN.finditer(plain)
    ]


@lru_cache(maxsize=50_000)
def _token_key(raw: str) -> str:
    key = fold(raw)
    if key.endswith(("'s", "'")):
        return key.rpartition("'")[0] or key
    if key.endswith("s") and raw[0].isupper() and key[:-1] in words("extra") and len(key) > 4 and key not in words("first"):
        return key[:-1]
    return key


def _public_places(text: Text, tokens: list[_Token]) -> set[int]:
    beginnings, pattern = _public()
    if beginnings.isdisjoint(text.words):
        return set()
    spans = [match.span() for match in pattern.finditer(text.lower)]
    return {
        place
        for place, token in enumerate(tokens)
        if any(start <= token.start and token.end <= end + 1 for start, end in spans)
    }


def _ends(text: Text, token: _Token) -> bool:
    return not text.plain[token.end : token.end + 2].strip() or text.plain[token.end] in ",!.:("


TYPED = 300
"""Characters up to which a text is taken for typed by a child. Longer ones are models' answers, which name nobody of themselves;
there a rare word is rather one of a craft."""
_NO_NAME_AFTER = frozenset(
    """der die das den dem des ein eine einen einem einer eines kein keine a an the this that these those in im nach aus over near at ins am
    zwei drei vier fünf sechs viele einige alle two three four five many some no every each style stil called genannt city stadt insel island
    mount lake river planet land""".split()
)


def _unknown_words(text: Text, tokens: list[_Token], found: set[int], public: set[int]) -> None:
    """Capitalised words of no dictionary, nor made of two that are in one: in a typed text these are names."""
    for place, token in enumerate(tokens):
        if place in found or place in public or not token.capital or len(token.raw) < 4 or token.raw.isupper():
            continue
        if place and tokens[place - 1].key in _NO_NAME_AFTER and text.plain[token.start - 1] == " ":
            continue
        if (
            text.plain[token.end : token.end + 1] == "-"
            or "-" in token.raw
            or ("." in text.plain[token.end : token.end + 1] + " " and text.plain[token.end + 1 : token.end + 2].isalnum())
        ):
            continue
        if (
            not (is_word(token.raw) or is_word(token.key))
            and token.key not in words("ambiguous")
            and token.key not in words("places")
        ):
            found.add(place)


def _full_names(tokens: list[_Token], found: set[int], public: set[int], cased: bool) -> None:
    """A first name, however many meanings it has, before a family name; and two capitalised words of which the second can be
    nothing but a family name."""
    first, last, ambiguous, common, _ = _lists()
    if not cased:
        return
    for place, (one, two) in enumerate(pairwise(tokens)):
        if place in public or place + 1 in public or two.start - one.end != 1 or not (one.capital and two.capital):
            continue
        family = (two.key in last and two.key not in ambiguous and two.key not in common) or bool(
            _SURNAME_END.search(two.key) and not _GERMAN_NOUN.search(two.raw)
        )
        given = one.key in first and one.key not in common
        if (
            given
            and (
                family
                or two.key in last
                or (_FAMILY_END.search(two.key) and not _GERMAN_NOUN.search(two.raw) and two.key not in common)
            )
        ) or (family and two.key in last and one.key not in common and one.key not in ambiguous):
            found.update((place, place + 1))


def _spread(text: Text, tokens: list[_Token], found: set[int], likely: Callable[[int], bool]) -> None:
    """Along lists, forward and back: "Lena, Bo und Tariq"."""
    if not found:
        return
    for place in range(len(tokens) - 3, -1, -1):
        if (
            place + 2 in found
            and tokens[place + 1].key in ("und", "and")
            and place not in found
            and tokens[place].capital
            and likely(place)
        ):
            found.add(place)
    for place in range(1, len(tokens)):
        joined = tokens[place].start - tokens[place - 1].end < 8 and text.lower[
            tokens[place - 1].end : tokens[place].start
        ].strip() in (",", "&", "+", "und", "and")
        if joined and place - 1 in found and place not in found and likely(place):
            found.add(place)
        word = tokens[place - 1].key
        if (
            word in ("und", "and", "oder", "or")
            and place - 2 >= 0
            and place - 2 in found
            and place not in found
            and likely(place)
        ):
            found.add(place)


def _spans(text: Text, tokens: list[_Token], found: set[int], public: set[int], cased: bool) -> Iterator[Span]:
    """Neighbours that are one name as one finding, family names behind first names included."""
    first, last, ambiguous, common, _ = _lists()
    place = 0
    while place < len(tokens):
        if place not in found:
            place += 1
            continue
        start, end = tokens[place].start, place
        while end + 1 < len(tokens) and end + 1 not in public:
            token = tokens[end + 1]
            gap = text.plain[tokens[end].end : token.start]
            if gap.strip(" .") or len(gap) > 2:
                break
            if (
                end + 1 in found
                or (token.key in _PARTICLES and end + 2 < len(tokens) and tokens[end + 2].key in last)
                or (
                    token.capital
                    and token.key not in common
                    and (token.key in last or token.key in first or _SURNAME_END.search(token.key))
                )
                or (not cased and token.key in last and token.key not in ambiguous and token.key not in common)
            ):
                end += 1
            else:
                break
        yield start, tokens[end].end
        place = end + 1
