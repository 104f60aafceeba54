"""Where somebody lives: street and number, postcode and town."""

from __future__ import annotations

import re
from collections.abc import Iterator

from goldsmith.privacy.finding import Text, hints

Span = tuple[int, int]

_WORDS = (
    r"eins|zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|elf|zwölf|\w{3,}zehn|\w{3,}zig|(?:hundert|zwei|drei)\w*hundert\w*"
)
_NUMBER_WORDS = hints(
    """eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn achtzehn neunzehn zwanzig
    einundzwanzig zweiundzwanzig dreiundzwanzig vierundzwanzig fünfundzwanzig sechsundzwanzig siebenundzwanzig achtundzwanzig neunundzwanzig
    dreißig vierzig fünfzig sechzig siebzig achtzig neunzig one two three four five six seven eight nine ten eleven twelve thirteen fourteen
    fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety""".split()
)
_WORDS_EN = (
    r"(?:(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:[- ](?:one|two|three|four|five|six|seven|eight|nine))?|ten|eleven|twelve|"
    r"thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|one|two|three|four|five|six|seven|eight|nine)"
)
_NUMBER = rf"(?:nr\.?\s?|nummer\s|no\.?\s|hausnummer\s|haus\s)?(?:\d{{1,4}}(?:\s?[-/]\s?\d{{1,4}})?\s?[a-h]?|(?:{_WORDS})(?= ?(?:$|[,.!?)])| (?:ist|wohn|steht|in|im|da|und|hat)\b)|(?<=nummer )(?:{_WORDS})|(?<=nr )(?:{_WORDS}))\b"
# Ends that make a street of any word, and ends that also make places and things (Bauernhof, Zauberberg).
_ENDS = r"straße|strasse|straẞe|str|gasse|allee|chaussee|promenade|twiete|stieg|pfad"
_WEAK = r"weg|platz|ring|damm|ufer|steig|markt|hof|graben|berg|wall|kamp|redder|garten|gärten|park|tor|brücke|siedlung|feld|wiese|anger|zeile|grund|bogen|höhe|hang|winkel|eck|kai"
_NO_STREET = (
    r"(?:um|aus|hin|her|weit|park|spiel|sport|sitz|lieblings|arbeits|stell|camping|zelt|bolz|fußball|reit|tennis|raste|lande|start|tanz|steh|"
    r"flug|bauern|bahn|fried|schul|pausen|innen|hinter|reiter|pony|eis|gold|planeten|saturn|jahr|weihnachts|floh|super|bau|"
    r"fahrrad|rad|milch|lebens|heim|rück|schloss|zauber|vulkan|schnee|see|boxen|boxe|finger|ehe|ohr|nasen|schlüssel|kinder|tier|blumen|"
    r"auto|renn|land|wasser|dorfs|haupt)?"
)
_STREET = re.compile(
    rf"(?<![\w-])(?!(?:auto|haupt|wasser|land|renn|spiel|pass|daten|milch)stra(?:ß|ss)e\b)[^\W\d_][^\W_]*\.?(?:-[^\W\d_]+\.?)*?-?(?:{_ENDS})\b\.?,?\s{{0,2}}{_NUMBER}"
)
_STREET_WEAK = re.compile(rf"(?<![\w-])(?:[^\W\d_]+-){{0,3}}[^\W\d_][^\W_]*?-?(?:{_WEAK})\s{_NUMBER}")
_STREET_APART = re.compile(
    rf"(?<![\w-])(?:[^\W\d_]+(?:er|e|en|es|s|sche|-)[ -])(?:straße|landstraße|hauptstraße|dorfstraße|strasse|str\.|gasse|allee|weg|platz|ring|damm|ufer|chaussee|markt|promenade|graben)\s{_NUMBER}"
)
_STREET_AT = re.compile(
    r"(?<![\w-])(?:am|an der|an den|im|in der|in den|auf der|auf dem|auf den|hinter der|hinter dem|hinterm|unter den|unterm|überm|zum|zur|zu den|vor dem|vorm|beim|bei der|bei den|"
    r"an dem|neben der|ob der|op de[nr]?)\s"
    rf"(?!(?:zimmer|raum|haus|stock|jahr|klasse|kapitel|alter|monat|bus|zug|gleis|feld|level|gruppe|halle|saal|platz|reihe|tisch|band|seite|aufgabe|bild|wagen|abteil|gate|tor|team|liga|folge|teil)\s)(?:[^\W\d_]+(?:en|er)\s)?[^\W\d_]{{3,}}\s{_NUMBER}"
)
_STREET_EN = re.compile(
    rf"\b(?:number |no\.? |flat \w+,? )?(?:\d{{1,5}}[a-h]?|(?<=number ){_WORDS_EN}|(?<=at ){_WORDS_EN}),?\s(?:(?:north|south|east|west|n|s|e|w|old|new|upper|lower|st)\.?\s)?(?:[a-z'’.-]+\s){{1,3}}"
    r"(?:street|st|road|rd|avenue|ave|lane|ln|drive|dr|court|ct|close|crescent|terrace|boulevard|blvd|square|sq|gardens|grove|mews|row|place|parade|walk|hill|way|parkway|highway|circle|rise|view|park|green|wharf|quay)\b\.?"
)
_ORD = re.compile(
    r"(?:street|st|road|rd|avenue|ave|lane|ln|drive|dr|court|crescent|terrace|boulevard|blvd|close|mews|grove|gardens)\b\.?$"
)
_ROAD_FOREIGN = "rue|quai|chemin|impasse|via|viale|vicolo|corso|piazza|calle|carrer|avenida|av\\.|plaza|paseo|rua|ulica|ulitsa|ul\\.|вулиця|вул\\.|улица|ул\\.|проспект|пр\\.|aleja|al\\.|os\\.|strada|str\\.|bulevardul"
_ROAD_END_FOREIGN = "caddesi|cad\\.|sokak|sokağı|sokagi|sok\\.|bulvarı|mahallesi|utca|straat|laan|gracht|plein|gatan|vägen|gade|vej|gata|veien|katu|ulice|třída|náměstí"
_STREET_FOREIGN = re.compile(
    rf"\b(?:c/\s?|(?:{_ROAD_FOREIGN})\s)(?:[^\W\d_][\w'-]*\.?,?\s){{1,4}}(?:n[°º.]?\s?|nr\.?\s)?\d{{1,4}}(?:/\d{{1,4}})?\b"
    rf"|\b\d{{1,4}}(?: ?bis)?,?\s(?:rue|quai|chemin|impasse|avenue|boulevard|place|allée)\s(?:d[eu]s?\s|de la\s|d'|l')?[^\W\d_][\w'-]*"
    rf"|(?<![\w-])[^\W\d_]\w*\s?(?:{_ROAD_END_FOREIGN})\s(?:no\.?\s?:?\s?)?\d{{1,4}}\b"
)
_STREET_OF = re.compile(
    rf"(?<![\w-])(?:straße|strasse|str\.|platz|allee|ufer|gasse|promenade|ring)\s(?:der|des|am|zum|an der|im)\s(?:[^\W_][\w.-]*\s){{1,3}}{_NUMBER}"
)
_HYPHENED = re.compile(rf"-(?:{_WEAK})\s")
_DOOR = re.compile(r"(?<![\w-])[^\W\d_]{3,}\s\d{1,4}[a-z]?\s?/\s?(?:top|stiege|tür|haus|whg\.?)\s?\d{1,4}\b")  # as in Austria
_LIVES_THERE = re.compile(r"\b(?:wohn\w*|adresse|anschrift|zuhause|daheim|umgezogen|haus|hause)\b")
_STREET_SPACED = re.compile(
    rf"(?<![\w-])((?:[^\W\d_]{{3,}} ){{1,2}}(?:straße|strasse|str\.?|weg|allee|platz|gasse|ring|ufer|damm) {_NUMBER})(?=\s*(?:$|[,.!?)]))"
)
_FLAT = re.compile(
    r"\b(?:flat|apartment|apt\.?|wohnung|whg\.?|unit|suite|block|aufgang|siedlung(?: \w+)?|plattenbau|hochhaus|rural route|rr|lot|quadrat) (?:nr\.? |no\.? |number |nummer )?[a-u]?\d{1,4}[a-h]?\b"
    r"|\b[a-u]\d{1,2},? \d{1,2}\b(?=[^.!?]*mannheim)|(?<=mannheim )[a-u]\d{1,2},? \d{1,2}\b|(?<=mannheim, )[a-u]\d{1,2},? \d{1,2}\b"
)
_OWN_HOME = re.compile(
    r"\b(?:(?:unser|mein|dein|ihr|sein|our|my|her|his)\w* (?:\w+ )?(?:haus|häuschen|wohnung|hof|laden|hausboot|zuhause|block|briefkasten|klingel|flat|apartment|house|home)|wir wohnen|ich wohne?|"
    r"(?:i|we) live)\b"
)
_BOX = re.compile(r"\b(?:postfach|p\.?\s?o\.?\s?box)\s(?:nr\.?\s?)?\d[\d ]{1,8}\b")
_LIVES = r"\b(?:wohn(?:e|st|t|en|ort|haft)?|adresse|anschrift|zu ?hause|zuhause|daheim|hausnummer|leb(?:e|t|en)|umgezogen|gezogen|ziehen|ziehe|live[sd]?|living|address|home|house|moved?|stays?|staying|besuch\w*|visit\w*|komm(?:t|en)?|treff\w*|turnhalle|sporthalle|vorbei|einladung|party|klingel|briefkasten|liefer\w*|wohnung|haus|hausboot|zustell\w*|abholen|schick\w*|send|mail|deliver\w*|paket|päckchen|brief|post|letter|package|located|steht|bei|at)\b"
_CUE = re.compile(_LIVES)
_ADDRESS = re.compile(r"\b(?:adresse|anschrift|address|wohnt|lives|wohn(?:e|en)|oma|opa|wohnung \d|farm|klingel)\b")
_HOME = re.compile(
    r"\b(?:wohn(?:e|st|t|en|haft)|adresse|anschrift|zu ?hause|zuhause|daheim|umgezogen|gezogen|ziehe|live[sd]?|living|address|moved|my house|our house|my home|unser haus|mein haus|unserem haus|unserm haus|meinem haus)\b"
    r"[^.!?\n]{0,32}?\b([^\W\d_][^\W_]*?(?:straße|strasse|gasse|allee|chaussee|str\.)(?!\w)|(?:[a-z'’-]+\s){1,2}(?:street|road|avenue|lane|drive|crescent|terrace|boulevard)\b)"
)
_ROADS = ("straße", "strasse", "str.", "gasse", "allee", "chaussee")
_ROADS_EN = hints("street road avenue lane drive crescent terrace boulevard".split())
_POSTCODE = re.compile(
    r"(?<![\w.,+/-])(?:(?:d|a|ch|de|at)[- ]{0,3})?(\d{4,5})\s+((?:bad |sankt |st\.? |groß|klein|alt|neu)?[^\W\d_]{3,}(?:[- ](?:am|an der|im|ob der|bei|in der|auf der|a\.d\.|a\.)\s[^\W\d_]+)?)"
)
_POSTCODE_NAMED = re.compile(
    r"\b(?:plz|postleitzahl|postcode|post code|zip(?: ?code)?|postal code)\b[^\d\n]{0,16}?((?:[a-z]{1,2}-)?\d{4,5}|[a-z]{1,2}\d[a-z\d]? ?\d[a-z]{2})\b"
)
_POSTCODE_UK = re.compile(r"\b(?:GIR 0AA|[A-Z]{1,2}\d[A-Z\d]? \d[ABD-HJLNP-UW-Z]{2})\b")
_POSTCODE_US = re.compile(
    r"\b[A-Z][a-z]+,? (?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY]),? \d{5}\b"
)
_TOWNS = frozenset(
    """berlin hamburg münchen köln frankfurt stuttgart düsseldorf leipzig dortmund essen bremen dresden hannover nürnberg duisburg bochum
    wuppertal bielefeld bonn münster mannheim karlsruhe augsburg wiesbaden gelsenkirchen mönchengladbach aachen braunschweig kiel chemnitz halle
    magdeburg freiburg krefeld mainz lübeck erfurt oberhausen rostock kassel hagen potsdam saarbrücken hamm ludwigshafen oldenburg osnabrück
    leverkusen heidelberg darmstadt solingen regensburg herne paderborn neuss ingolstadt offenbach fürth ulm heilbronn würzburg pforzheim
    wolfsburg göttingen bottrop reutlingen erlangen koblenz bremerhaven remscheid bergisch trier recklinghausen jena moers salzgitter siegen
    gütersloh hildesheim hanau kaiserslautern cottbus schwerin witten esslingen ludwigsburg gera iserlohn düren tübingen flensburg zwickau
    gießen ratingen lünen villingen konstanz marl worms velbert norderstedt minden bamberg bayreuth aschaffenburg landshut kempten passau
    weimar gotha eisenach stralsund greifswald wismar neubrandenburg dessau wittenberg görlitz bautzen plauen freising rosenheim
    wien graz linz salzburg innsbruck klagenfurt villach wels dornbirn bregenz zürich genf basel lausanne bern winterthur luzern lugano
    biel thun schaffhausen chur vaduz""".split()
)
_TOWN_ENDS = re.compile(
    r"(?:stadt|dorf|burg|berg|hausen|heim|feld|bach|furt|hafen|ingen|ungen|kirchen|rode|roda|leben|itz|ow|au|büttel|brück|brücken|münde|werder|"
    r"walde|wald|hof|tal|thal|born|bronn|beck|bek|holz|horst|husen|loh|lohe|moos|mühlen|ried|reuth|roth|see|stein|stetten|weiler|wil|winkel|zell|lar|um|by|lage|mar|nitz|en|ern|el|in|us|ach)$"
)
_BEFORE_TOWN = re.compile(r"(?:\b(?:in|nach|aus|von|,|wohne|wohnt|at)|,|\d[a-z]?,?|^)\s*$")


def addresses(text: Text) -> Iterator[Span]:
    lower = text.lower
    lives = None
    if text.has_digit or not _NUMBER_WORDS.isdisjoint(text.cues):
        lives = [match.start() for match in _CUE.finditer(lower)]
        for match in _STREET.finditer(lower):
            if _ends(text, match.end()) or lives or match[0][-1] in "abcdefgh":
                yield match.span()
        for match in _STREET_APART.finditer(lower):
            if _ends(text, match.end()) or lives:
                yield match.span()
        for match in _STREET_WEAK.finditer(lower):
            hyphened = _HYPHENED.search(match[0])  # Fritz-Reuter-Weg 31
            if not re.match(rf"{_NO_STREET}(?:{_WEAK})\s", match[0]) and (
                hyphened or lives or _ends(text, match.end(), strict=True)
            ):
                yield match.span()
        if lives:
            for match in _STREET_AT.finditer(lower):
                before = lower[max(0, match.start() - 40) : match.start()]
                after = lower[match.end() : match.end() + 12]
                if (
                    re.match(
                        r"\s?(?:wohn|leb|,? ?(?:hausboot|klingel|zweite|erste|dritte|\d\. (?:stock|etage))|steht (?:unser|mein))",
                        after,
                    )
                    or re.search(r"gezogen in $", before)
                    or (
                        re.search(
                            r"wohn\w*|adresse|anschrift|hause|daheim|gezogen|abholen|hausnummer|vorbei|treff\w*|einladung|party|klingel|briefkasten|liefer\w*|schick\w*|paket"
                            r"|(?:unser|mein)\w* (?:\w+ )?(?:haus|hof|laden)\b",
                            before,
                        )
                        and _ends(text, match.end())
                    )
                ):
                    yield match.span()
        for match in _STREET_EN.finditer(lower):
            if lives or _ORD.search(match[0]):
                yield match.span()
        if _LIVES_THERE.search(lower):
            yield from (match.span(1) for match in _STREET_SPACED.finditer(lower))
        if _OWN_HOME.search(lower) or _ADDRESS.search(lower):
            yield from (match.span() for match in _FLAT.finditer(lower))
        for pattern in (_STREET_FOREIGN, _STREET_OF, _DOOR, _BOX):
            yield from (match.span() for match in pattern.finditer(lower))
        yield from _postcodes(text, bool(lives))
    for match in _HOME.finditer(lower) if not _ROADS_EN.isdisjoint(text.cues) or any(road in lower for road in _ROADS) else ():
        yield match.span(1)


def _ends(text: Text, end: int, strict: bool = False) -> bool:
    """Whether a house number ends there: not "Waldweg 3 Rehe", where it counts what follows."""
    rest = text.plain[end : end + 40]
    if not rest.strip() or rest.lstrip()[0] in ",.;:!?)\n-/":
        return True
    word = re.match(r"\s*([^\W\d_]+)", rest)
    return bool(word and (word[1].lower() in _AFTER or (not strict and word[1].lower() in _TOWNS)))


_AFTER = frozenset(
    """in im und wo da bei beim ist wohnt wohne wohnen steht mit neben gegenüber an am oben unten hat haben or and where in is near next bitte ganz von der die das rechts links stock zweite erste dritte
    mal male zeichne zeig mach ja aber denn weil also es ich wir sie er dort dann jetzt seit ab bis um als draw paint please but because so we i it there since opposite above for""".split()
)


def _postcodes(text: Text, lives: bool) -> Iterator[Span]:
    for match in _POSTCODE_NAMED.finditer(text.lower):
        yield match.span(1)
    for pattern in (_POSTCODE_UK, _POSTCODE_US):
        yield from (match.span() for match in pattern.finditer(text.plain))
    for match in _POSTCODE.finditer(text.lower):
        code, town = match[1], match[2]
        first = re.split(r"[ -]", town)[0]
        known = town in _TOWNS or first in _TOWNS or first in ("bad", "sankt", "st")
        prefixed = not match[0][0].isdigit()
        if known or (prefixed and _TOWN_ENDS.search(town)):
            yield match.span()
        elif len(code) == 5 and not code.endswith("00") and _TOWN_ENDS.search(first):
            before = text.lower[: match.start()]
            if lives or _BEFORE_TOWN.search(before[-20:]):
                yield match.span()
