"""Frames of names: words behind which, or before which, somebody's name stands."""

from __future__ import annotations

import re
from collections.abc import Iterable

from goldsmith.privacy.finding import Text, hints

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
SELF = re.compile(
    r"\b(?:ich (?:hei(?:ß|ss|s|sz)e?|hies|heise)(?: mit (?:vor|nach|familien)?namen)?|ich werde (?:immer |auch |meist )?(?=\w+ (?:genannt|gerufen))|heiße ich|heisse ich|"
    r"(?:mein|meine|unser) (?:(?:voller|ganzer|richtiger|echter|zweiter|name und) )?(?:vor|nach|spitz|familien|ruf|zweit|künstler|doppel|zu)?n[aä]h?m[em]?n? (?:ist|is|lautet|war|wär|wäre|währe)|"
    r"my (?:(?:full|real|first|last|middle|nick|given|family|christian|second) ?)?(?:nick|sur)?na(?:me|em|m|mes)(?:'s| is| iz|s|)|me name is|name'?s|"
    r"i(?:'m|m| am| was) (?:called|named|known as)|(?:they|people|everyone|everybody|friends|you can|u can|pls|please|just|mom|mum) calls? me|call me|"
    r"(?:man|alle|sie|die|freunde|andere|viele|mama|papa|oma|leute) (?:nennt|nennen|rufen|ruft|sagen zu|sagt zu) mich|mich (?:nennt|nennen|ruft|rufen) (?:man|alle|jeder|mama|papa|oma|opa|freunde|viele|die leute|die anderen|meine \w+)|nennt mich|nenn mich|genannt werde ich|(?:nennen|rufen|nenne|rufe) (?:ihn|sie)|wir sagen|"
    r"(?:(?:vor|nach|familien|zu)name|surname|first name|last name|full name|name)(?=\s*[:=]))"
    r"\s*[:=,-]*\s+(?:(?:auch|eigentlich|nämlich|übrigens|der|die|actually|just|aber|also|einfach|halt|immer|is|ist|always|by)\s+){0,2}"
    + _AT
)
I_AM = re.compile(
    r"\b(?:ich bin|ich bins|ich wär|ich bin's|hier ist|hier spricht|hier schreibt|das bin ich|das ist|dies ist|i'm|im|i am|this is|it's|its me|it is me|me is|that's|here is|here's|bin)"
    r"\s*[,:]?\s+(?:(?:der|die|the|me|ich|auch|eigentlich|hier)\s+)?" + _AT
)
# A person first, then perhaps a word for naming, then the name.
KIN = re.compile(rf"\b(?:{_OWN}\s{_QUALITY})(?:{_PERSON_DE}|{_PERSON_EN}){_NAME_OF}{_AT}")
KIN_BARE = re.compile(
    r"\b(?:oma|opa|omi|opi|tante|onkel|uroma|uropa|grandma|grandpa|granny|grandad|granddad|nana|gran|uncle|aunt|auntie|aunty|cousin|cousine|nachbarin|coach|trainer|schwester|bruder|"
    r"freundin|freund|klassenlehrerin|klassenlehrer|lehrerin|lehrer|erzieherin|teacher|classmate|mitschüler|mitschülerin|kumpel|bestie|schüler|schülerin|sister|brother|friend|friends|bff)\s+"
    + _AT
)
RELATIVE = re.compile(r"(?:oma|opa|omi|opi|tante|onkel|uroma|uropa|grandma|grandpa|granny|nana|uncle|aunt|auntie|aunty)\s+$")
"""After these even a month or a flower is a name."""
NAMED = re.compile(
    rf"\b(?:{_PERSON_DE}|{_PERSON_EN}|junge|jungen|mädchen|mann|frau|leute|kinder|boy|girl|man|woman|lady|guy|kids|person|wir|er|sie|they|she|he|who|die|der)\b[^.!?\n]{{0,24}}?"
    rf"\b(?:namens|heißt|heisst|heist|heißen|heissen|hieß|genannt|mit (?:dem |vor)?namen?|called|named|name is|name's|named)\s+(?:(?:auch|eigentlich|nämlich|übrigens|also|actually|both)\s+)?{_AT}"
)
TITLE = re.compile(
    r"\b(?:herrn?|hr\.?|frau|fr\.|fräulein|mr\.?|mrs\.?|ms\.?|miss|mister|missis|misses|sir|madam|madame|monsieur|señora|señor|hodscha|hoca|schwester|pater|pfarrer(?:in)?|pastor(?:in)?|rabbi(?:ner)?|imam|"
    r"dr\.?|doktor|doctor|prof\.?|professor(?:in)?|mme|familie|fam\.)\s+(?:(?:dr|prof|doktor|professor(?:in)?|med|dipl|ing|von|van|de|zu|der)\b\.?\s*)*"
    + _AT
)
FULL_TITLE = re.compile(r"m(?:r|rs|s)\b|prof|herr|dr")  # after these a lower-case word may be of no list
ARTICLE_BEFORE = re.compile(
    r"(?:\b(?:ein|eine|einen|einem|einer|die|der|den|dem|diese|dieser|jede|jeder|keine|alte|alten|junge|jungen|schöne|schönen|kleine|kleinen|große|großen|nackte|schwarze|meine|deine|seine|ihre|zur|zu|"
    r"weiße|blonde|traurige|lachende|alter|junger|nette|netter|liebe|of|the|a|an|to|i|you|we|they|will|would|really|und|oder|\w+ende|\w+ige|\w+ige[nr])\s+)$"
)
# A name first, then what makes it one.
AFTER = re.compile(
    rf"\s*(?:,?\s(?:ist|is|war|was|heißt|sind|are)\s(?:{_OWN}|ein|eine|a|an|the|der|die|meine)\s{_QUALITY}(?:{_PERSON_DE}|{_PERSON_EN})\b"
    rf"|\s*,\s{_OWN}\s{_QUALITY}(?:{_PERSON_DE}|{_PERSON_EN})\b"
    r"|\s*[(,]\s*(?:\d{1,2}|sechs|sieben|acht|neun|zehn|elf|zwölf|six|seven|eight|nine|ten|eleven|twelve)\s*(?:\)|jahre?|j\.|years?|yrs?|y/?o|klasse|[.,]?\s*$)"
    r"|,?\s(?:ist|is|bin|wird|turns|was)\s(?:erst |schon |just |only )?(?:\d{1,2}|fünf|sechs|sieben|acht|neun|zehn|elf|zwölf|five|six|seven|eight|nine|ten|eleven|twelve)\s(?:jahre?|years?|yrs)"
    r"|,?\s(?:aus (?:der|meiner|unserer|unsrer) (?:klasse|\d|schule|parallelklasse|straße|gruppe|kita|nachbarschaft|ag)|aus klasse|aus (?:dem|meinem|unserem|unserm|meiner|unserer) (?:chor|verein|team|kurs|haus|hort|heim|stock|kindergarten|band|nachbarhaus|dorf|tanzkurs|camp)\b|von nebenan|in meiner klasse|in unserer klasse|klasse \d|from (?:my|our|the) (?:class|school|street|team|group)|from next door|from class|from year|in my class|in our class|"
    r"who sits|sits next to|sitzt neben|geht in (?:meine|unsere|die) |goes to (?:my|our) |hat (?:mich|mir|zu mir|heute geburtstag|geburtstag)|is in my|war (?:gestern|heute|auch) |told me|gave me|said to me|has a birthday|wohnt (?:in|bei|neben|nebenan|gegenüber)|lives (?:in|next|near|at|on)|und ich\b|and i\b|and me\b|& ich\b|& i\b|und (?:ihre?|seine?)n?\b|and (?:her|his)\b|(?:sagt|meint|fragt|findet|says|said|thinks|asks|asked)\b))"
)
SIGNED = re.compile(
    r"(?:\b(?:lg|vlg|glg|hdl|gruß|grüße|gruss|gruesse|grüßen|dein|deine|eure|euer|your|yours|love|regards|cheers|xoxo|unterschrift|signed|gez\.?|gemalt von|gezeichnet von|gemacht von|made by|drawn by|painted by|written by|geschrieben von|"
    r"bild von|picture by|drawing by|art by|copyright|©|@ von|autor|autorin|author|künstler|künstlerin|artist|von|by)[,:!\s]+(?:von |from |der |die )?)"
    + _AT
)
GREETED = re.compile(
    r"(?:\b(?:hallo|hi|hey|heyy|hej|moin|servus|liebe|lieber|liebste|liebster|dear|dearest|hello|welcome|welcome back|willkommen|willkommen zurück|goodbye|tschüss|tschüß|danke|dankeschön|thanks|thank you|bye|happy birthday|alles gute|alles liebe|glückwunsch|congratulations|congrats|gute besserung|get well|"
    r"good luck|viel glück|geburtstag|birthday(?: card| cake| party)?|geburtstagskarte|karte|card|überraschung|abschied|für|for|to|an)[,:!\s]+(?:dir |dich |to you |for |für |von |to |an |zum geburtstag |meine liebe |my dear )?)"
    + _AT
)
# Somebody is called, or told to do something: "Ebru wach auf".
CALLED = re.compile(r"(?:^|[.!?\n]\s*|\b(?:ey|eyy|hey|he|hallo|hi|bitte|please|oh|na|ach|mensch|come on|los|komm)[, ]+)" + _AT)
CALLED_OUT = re.compile(r"(?:ey|eyy|hey|he)[, ]+$")
"""After this even a word of grammar is a name: "ey Can kannst du"."""
CALLED_TO = re.compile(
    r"\s*,?\s(?:wach|komm|schau|guck|mach|hör|geh|lauf|warte|hilf|pass|spring|sag|bleib|nimm|gib|hol|lass|sei|kannst|willst|hast|bist|du|deine?|"
    r"wake|come|look|watch|listen|go|run|wait|help|stop|jump|say|stay|give|let|can you|will you|are you|do you|did you|you|your)\b"
)
WITH_I = re.compile(
    r"\b(?:ich und|i und|me and|ich &|me &|ich mit|me with|wir sind|we are|wir heißen|mit mir und|with me and|you and)\s+" + _AT
)
GOES_ON = re.compile(
    r"\s*(?:$|[,.!;:)]|(?:und ich|und du|und mein|and i|and my|and you|from|aus|again|here|speaking|wieder|nochmal|hier)\b|\d)"
)


# One of these words is in every match: it spares a text the search.
MARKS = {
    WITH_I: hints("ich i me wir we mir you".split()),
    SELF: hints(
        """heiße heisse heise heiss heiß heissze hies name nahme namen nahmen nam nme näme nickname surname called known call calls nennt nennen
        nenn genannt gerufen rufen ruft sagen sagt werde vorname nachname familienname zuname spitzname rufname zweitname künstlername
        doppelname namm nem""".split()
    ),
    NAMED: hints("namens heißt heisst heist heißen heissen hieß genannt namen name named called".split()),
    KIN_BARE: hints(re.findall(r"[^\W\d_]{2,}", KIN_BARE.pattern)),
    KIN: hints([*_PERSON_DE.split("|"), *_PERSON_EN.split("|")]),
    TITLE: hints(
        """herr herrn hr frau fr fräulein mr mrs ms miss mister missis misses sir madam madame monsieur señora señor hodscha hoca schwester
        pater pfarrer pfarrerin pastor pastorin rabbi rabbiner imam dr doktor doctor prof professor professorin mme familie fam""".split()
    ),
}


def matches(pattern: re.Pattern[str], text: Text) -> Iterable[re.Match[str]]:
    marks = MARKS.get(pattern)
    return () if marks is not None and marks.isdisjoint(text.cues) else pattern.finditer(text.lower)
