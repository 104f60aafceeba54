"""K8: what a context itself forbids, read from its sentences. German and English.

Only bans on things and words are read (`leave out faces`, `Verwende keine Vergleiche`, `avoid the words "cute", "tiny"`);
what forbids a way of thinking is left to a judge. Where a sentence is not understood, nothing is banned.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from goldsmith.gates.phrases import plain
from goldsmith.gates.sorts import COMPARE, FEELINGS, KINDS
from goldsmith.gates.words import among, folded, sentences, words
from goldsmith.language import language_of

_QUOTE = re.compile(r"[\"“”„»«]([^\"“”„»«]{2,50})[\"“”„»«]|(?<!\w)['‚‘]([^'‚‘]{2,50})['‘’](?!\w)")

_MENTION_EN = r"(?:use|using|name|naming|mention|mentioning|say|saying|write|writing|include|including|show|showing|add|adding|employ|employing|contain|refer to|referring to|speak of|speaking of|talk about|talking about|put in|depict|depicting|describe|describing|draw|drawing|paint|painting|rely on|insert|introduce)"
_MENTION_DE = r"(?:verwend\w*|benutz\w*|gebrauch\w*|nenn\w*|erwähn\w*|sag\w*|schreib\w*|zeig\w*|nutz\w*|einfüg\w*|beschreib\w*|setz\w*|bring\w*|male?|malen|zeichne\w*|nimm|greif\w*|einbau\w*|bau\w*|sprich|sprechen|rede\w*)"

# What follows the match is what is banned.
_BEFORE = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\b(?:avoid|omit|exclude|leave out|leave away|skip|refrain from|stay away from|steer clear of|keep away from|ban|forbid)(?:ing)?(?: all| any)?(?: {_MENTION_EN})?\b:?",
        rf"\b(?:do not|don't|never|must not|mustn't|should not|shouldn't|may not|cannot|can't|not to|nor)(?: ever)? {_MENTION_EN}\b:?",
        rf"\bwithout (?:ever )?{_MENTION_EN}\b:?",
        rf"\b(?:under no circumstances|in no case|by no means|on no account|at no point) (?:should you |must you |may you )?(?:ever )?{_MENTION_EN}\b:?",
        r"\b(?:zero|not a single|not one) (?:mentions? of )?|\b(?:not a|no|not one|not another) (?:word|mention|trace|hint|sign) (?:about|of)\b|\b(?<!n't )(?<!not )(?<!never )(?:forget|forget about|be silent about|keep quiet about|say nothing (?:of|about)|hands off|stop at nothing but) (?!to\b|that\b)(?:about )?",
        r"\b(?:text|scene|description|answer|result|paragraph|picture|piece|song|prose|sentences?|rules?|we|i) (?:contains?|has|have|needs?|wants?|want to (?:see|hear|read)|shows?|uses?|includes?|allows?|tolerates?|accepts?) (?:no|none of)\b|\b(?:we|i) (?:do not|don't) (?:want|need|like|wish)(?: to (?:see|hear|read))?(?: any)?\b(?! to\b)",
        r"(?:^|[;:,] ?)(?:absolutely|definitely|and|strictly|simply|just|plus|also|please) no\b(?! (?:more|fewer|less|matter))|\b(?:no|none of the) (?=\w+ (?:may|must|should|can|is|are) (?:be )?(?:visible|seen|shown|named|appear|allowed|mentioned))|\bbut not (?=(?:the|any|a) [\w-]+\W*$)",
        r"\b(?:not (?:wanted|welcome|desired|permitted)|unwanted|undesired|nicht (?:erwünscht|gewünscht|gewollt|zulässig|gestattet)|streng verboten|ausgeschlossen)\s*(?::|(?:is|are|sind|ist)\b)",
        r"\b(?:should|must|may|can) (?:not|never) (?:write|read|speak|talk|be) (?:about|of|on)\b|\bdo(?: not|n't) (?:write|read|speak|talk) (?:about|of|on)\b",
        rf"\b(?:unter keinen umständen|auf keinen fall|keinesfalls|niemals|nie|bitte nicht|ja nicht) (?=[^,;.]* {_MENTION_DE}\W*$)",
        r"\b(?:kein(?:e|erlei)?|null|nicht ein(?:mal)?|nicht das kleinste) (?:wort|silbe|spur|hinweis|andeutung|erwähnung)(?:en)? (?:über|von|zu|auf|vom|zum|zur)\b|\b(?:schweig\w*|still) (?:bitte )?(?:über|von|zu)\b|\bfinger weg von\b|\bhände weg von\b|^null\b|^(?:bitte )?vergiss\b(?! nicht)|^(?:bitte )?(?:spare?|erspare?) (?:dir|uns|mir)\b",
        r"\b(?:wir|ich) (?:wollen|will|möchten?|brauchen?|mögen|mag|dulden?|wünschen?)(?: \w+){0,2}? keine?[nrms]?\b|\b(?:du|man|ihr|sie) (?:darfst|darf|dürft|dürfen|sollst|soll|sollen|kannst|sollt\w*)(?: \w+){0,2}? keine?[nrms]?\b|\b(?:nur|bloß|und|aber|dazu|auch|sowie|nicht aber|nicht jedoch|jedoch nicht) keine?[nrms]?\b|\b(?:nicht aber|nicht jedoch|aber nicht|jedoch nicht) (?=(?:de[nrms]|die|das|eine?n?) )",
        r"\b(?:kommt|kommen|geht|gehen|auskommen|arbeitet|klingt|lebt)\b[^,;.]{0,20} ohne (?![^,;.]* zu \w)",
        r"^(?:bitte |please |aber |but |and |und )?(?:ohne|without)(?! \w+ing\b)(?! [^,;.]* zu \w)\b",
        r"(?:^|[;:,] ?|\bbut )no(?! (?:more|fewer|longer|less|one|matter))\b",
        r"\bthere (?:must|should|may) be no\b|\bmust (?:contain|have|include) no\b|\buse no\b|\bname no\b|\bshow no\b|\bmention no\b",
        r"\b(?:forbidden|banned|off limits|taboo|not allowed)(?: words| terms| are| is)?\s*:",
        rf"\b(?:forbidden|not allowed|not permitted|prohibited) to {_MENTION_EN}\b",
        r"^(?:bitte |please )?(?:nichts|nothing)\b(?! (?:but|als|außer|is|ist|should|must|may|soll|darf|can|new|neues|besonderes|von|of|about|über))",
        rf"\b{_MENTION_DE}(?: bitte)? (?:gar |überhaupt )?(?:nichts|kein wort|niemals etwas|nie etwas) (?:über|von|zu|vom|zum|zur)\b|\b{_MENTION_EN} nothing (?:about|of|on)\b",
        r"^do without\b|^(?:bitte )?(?:schreib|beschreib|erzähl|write|describe|tell|work|arbeite)\w*(?: [\w']+){0,4}? (?:ohne|without)(?! (?:ever )?\w+ing\b)(?! [^,;.]* zu \w)",
        r"\bvermeide(?:t|n sie)? es,",
        r"\b(?:vermeide|vermeiden sie|vermeidet|meide|unterlasse|umgehe)\b:?|\bzu vermeiden sind\b:?",
        r"\bverzichte(?:t|n sie)?(?: \w+)? auf\b:?",
        rf"\b{_MENTION_DE}(?: \w+){{0,2}}? (?:keine[nrms]?|kein)\b",
        rf"\b{_MENTION_DE}(?: bitte)? (?:niemals|nie|auf keinen fall|keinesfalls|unter keinen umständen|nicht(?! nur))\b:?",
        r"(?:^|[;:,] ?|\baber )(?:bitte )?keine?[nrms]?\b",
        r"\b(?:es gibt|es soll|enthält|darf|dürfen) keine?[nrms]?\b",
        r"\b(?:verboten|tabu|untersagt|nicht erlaubt|unerwünscht)(?:e wörter| sind| ist)?\s*:|\b(?:verboten|tabu|untersagt) (?:sind|ist)\b",
    )
]
# What the group holds is what is banned.
_AROUND = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b(?:lass(?:e|t)?|lassen sie) (.{2,60}?) (?:weg|aus|fort|beiseite|außen vor)\b",
        rf"\b(?:verboten|nicht erlaubt|untersagt),? (.{{2,60}}?) zu {_MENTION_DE}",
        r"\bspare? (.{2,60}?) aus\b",
        r"\bauf (.{2,60}?) (?:ist zu |wird |bitte )?verzicht(?:en|et)\b",
        r"\b(?:nicht|niemals|nie|keine?[nrms]?) (?!nur\b)(.{2,60}?) (?:benutzen|verwenden|erwähnen|nennen|sagen|schreiben|zeigen|gebrauchen|beschreiben)\b",
        rf"\bohne (.{{2,60}}?) zu {_MENTION_DE}",
        r"\bleave (.{2,40}?) out\b|\bkeep (.{2,40}?) out\b",
        r"^(.{2,60}?) (?:is|are) (?:strictly )?(?:forbidden|banned|not allowed|off limits|taboo|prohibited|not permitted|unwelcome)\b",
        r"^(.{2,60}?) (?:must|may|should|shall) (?:not|never) (?:appear|occur|be (?:named|mentioned|used|shown|seen|said))\b|^(.{2,40}?) (?:has|have) no place\b",
        r"^(.{2,60}?) (?:ist|sind|bleiben|bleibt) (?:streng )?(?:verboten|tabu|untersagt|nicht erlaubt|unerwünscht|außen vor)\b",
        r"^(.{2,60}?) (?:darf|dürfen|soll|sollen|sollten|sollte) (?:nicht|nie|niemals) (?:vorkommen|auftauchen|erscheinen|genannt|erwähnt|verwendet|benutzt|gezeigt|fallen|auftreten)",
        r"^(.{2,60}?) (?:werden|wird) (?:nicht|nie|niemals) (?:genannt|erwähnt|verwendet|benutzt|gezeigt|beschrieben)|^(.{2,60}?) (?:haben|hat) (?:hier )?nichts (?:zu suchen|verloren)\b|^(.{2,60}?) (?:kommen|kommt) nicht vor\b",
        r"^(?:bitte |please )?(.{2,60}?) (?:nicht|nie|niemals|never|not) (?:erwähnen|nennen|verwenden|benutzen|zeigen|beschreiben|gebrauchen|malen|schreiben|sagen|einbauen|vorkommen lassen|to be (?:mentioned|named|shown|used))\b",
        r"^(.{2,60}?) (?:is|are|stays?|remains?|must stay|must remain) (?:not to be (?:mentioned|named|shown|used|seen)|unwanted|undesired|undesirable|out(?:side)?\b|absent|unmentioned|off the page|to be (?:avoided|omitted|left out|skipped)|not (?:wanted|welcome|part of))",
        r"^(.{2,60}?) (?:has|have|had) no (?:business|place|room|part|right)\b|\bleave (.{2,40}?) (?:unmentioned|unsaid|aside|off|alone)\b|\beverything (?:except|but) (.{2,40}?) (?:is|may|can)\b",
        r"^no(?:ne of the)? (.{2,40}?) (?:may|must|should|can|is|are)(?: to)? (?:be )?(?:visible|seen|shown|named|appear|allowed|mentioned|present|heard)\b",
        r"^(.{2,60}?) (?:kommen|kommt|dürfen|darf|sollen|soll) (?:hier |bitte )?nicht (?:rein|hinein|vor|auf|mit hinein|mit rein|zu sehen|zu hören|sichtbar|hörbar|ins bild)\b|^(.{2,60}?) (?:sollen|soll|dürfen|darf|müssen|muss) (?:hier )?(?:nicht zu (?:sehen|hören) sein|draußen bleiben|wegbleiben|fehlen|unsichtbar bleiben)",
        r"^(.{2,60}?) (?:bleiben|bleibt) (?:hier |bitte |immer )?(?:draußen|weg|fern|unerwähnt|ungenannt|ausgespart|unsichtbar|daheim|zu hause)\b|^(.{2,60}?) (?:ist|sind) (?:hier |bitte )?(?:zu (?:meiden|vermeiden|unterlassen|streichen)|gestrichen|nicht (?:erwünscht|gewünscht|gestattet|zulässig|zugelassen)|fehl am platz)\b",
        r"^(?:über|von) (.{2,40}?) (?:wird|reden wir|sprechen wir|schreibst du|sprichst du|steht) (?:hier |bitte )?(?:nicht|nie|nichts|kein wort)\b|\blass(?:e|t)? (.{2,40}?) (?:aus dem spiel|draußen|unerwähnt|in ruhe|verschwinden|wegfallen)\b|^alles (?:außer|bis auf) (.{2,40}?) (?:ist|darf|dürfen)\b",
        rf"^(?:bitte )?{_MENTION_DE} ((?:[\w-]+,? ){{1,5}}?)(?:nicht|nie|niemals)(?: (?:ein|an|hinein|auf))?[.!]?$",
    )
]
_UNQUOTED_INSTEAD = re.compile(r"(?:instead of|rather than|not|statt|anstatt|anstelle von|nicht) $", re.IGNORECASE)
_SOME_NO = re.compile(
    r"\b(?:never|not|no|nor|avoid|forbid\w*|forbidden|banned?|taboo|nie|niemals|nicht|keine?[nrms]?|verboten|tabu|vermeid\w*|verzicht\w*)\b|n't\b",
    re.IGNORECASE,
)
_RATHER = re.compile(r"\b(?:instead|rather|but|sondern|statt|stattdessen|lieber|aber)\b", re.IGNORECASE)
_NOT_ONLY = re.compile(
    r"\bnot only\b|\bnot just\b|\bnicht nur\b|\bkeine angst\b|\bno matter\b|\bnot (?:afraid|forget)\b|\bvergiss nicht\b",
    re.IGNORECASE,
)

_LEAD = re.compile(
    r"^(?:(?:any|all|farbe(?= \w)|colou?r(?= (?!words?\b|names?\b)\w)|the|a|an|every|your|their|its|such|of|for|please|even|ever|single|kind|sort|form|forms|das|die|der|den|dem|des|alle[nrs]?|jede[nrs]?|jegliche[nrs]?|irgendwelche[nrs]?|irgend|solche[nrs]?"
    r"|eine?[nrms]?|deine?[nrms]?|bitte|keine?[nrms]?|kein|no|not|noch|nor|neither|weder|sowie|auch|either|wörtliche?[nrs]?|words?|terms?|verbs?|adjectives?|nouns?|phrases?|expressions?|adverbs?|wort|wörter[n]?|worte|begriffe?n?"
    r"|verben|verb|adjektive?n?|substantive?n?|ausdr[uü]cke?n?|formulierung(?:en)?|such as|like|wie|as|von|vom|namely|e\.g\.|z\.\s?b\.)[ :]+)+",
    re.IGNORECASE,
)
_CUT = re.compile(
    r"\b(?:when|while|that|which|because|but|unless|since|so that|so|if|instead|rather|except|until|only|here|at all|anywhere|whatsoever|sondern|weil|wenn|dass|als|damit|denn|aber|außer|bevor|bis|hier|überhaupt|irgendwo|stattdessen|ein|nur|bloß|lediglich|just|solely|merely)\b.*$|;.*$|\s[–—(].*$",
    re.IGNORECASE,
)
_INNER = re.compile(
    r" (?:in|on|at|with|to|from|for|of|about|into|im|in|auf|mit|bei|aus|für|am|an|zu|zum|zur|über|vor|nach) .*$", re.IGNORECASE
)
_SUCH_AS = re.compile(
    r"(?<! with)(?<! mit)(?<! using),? (?:such as|like|including|especially|particularly|above all|e\.g\.|for example|for instance|wie|wie etwa|wie zum beispiel|etwa|zum beispiel|z\.\s?b\.|vor allem|besonders|darunter) ",
    re.IGNORECASE,
)
_ORDERED = re.compile(
    r" (?:zu )?(?:schreiben|verwenden|benutzen|nutzen|nennen|erwähnen|beschreiben|arbeiten|auskommen|zeigen|malen|darstellen|hören|sehen|lesen|aus|vor|please|bitte|at all|überhaupt|entirely|completely|altogether|fully|strictly|ganz|völlig|gänzlich|komplett|vollständig)$",
    re.IGNORECASE,
)
_SPLIT = re.compile(r"\s*(?:,|/|\band\b|\bor\b|\bnor\b|\bund\b|\boder\b|\bnoch\b|\bsowie\b)\s*", re.IGNORECASE)
_NO_THINGS = """
it this that them anything something
everything more too much es das alles etwas nichts mehr zu viel
 text scene prompt result szene ergebnis so also nur only
"""
_WEAK = frozenset(_NO_THINGS.split())
_MOST_WORDS = 3
_FINITE = re.compile(
    r"\b(?:is|are|was|were|has|have|must|should|may|can|will|stays?|suffices?|counts?|matters?|ist|sind|war|hat|haben|muss|müssen|soll|sollen|darf|dürfen|kann|können|wird|werden|bleibt|bleiben|genügt|genügen|reicht|reichen|zählt|zählen)\b",
    re.IGNORECASE,
)
_SAID_AS = re.compile(r"(?:describ|depict|draw|paint|show|beschreib|zeig|mal|zeichne)\w*(?: \w+)*:?$", re.IGNORECASE)


@dataclass(frozen=True)
class Ban:
    named: str
    """As the context words it."""
    pattern: re.Pattern[str]
    """Finds it in a folded text."""
    broad: bool = False
    """It stands for many words (colours): those that the context itself uses are allowed."""


@lru_cache(maxsize=256)
def bans(context: str) -> tuple[Ban, ...]:
    """What the context forbids, in its order, each once."""
    read: dict[str, Ban] = {}
    german = language_of(context) != "en"
    for sentence in sentences(plain_lines(context)):
        for named in _named(sentence):
            read.setdefault(named.casefold(), Ban(named, _pattern(named, german), _is_broad(named)))
    return tuple(read.values())


def plain_lines(context: str) -> str:
    return "\n".join(plain(line) for line in context.splitlines())


def _named(sentence: str) -> list[str]:
    if _NOT_ONLY.search(sentence):
        return []
    found: list[str] = []
    quotes = list(_QUOTE.finditer(sentence))
    hidden = _QUOTE.sub(lambda quote: "~" * len(quote[0]), sentence)  # a quoted full stop or comma separates nothing
    for pattern in _BEFORE:
        for match in pattern.finditer(hidden):
            if _SAID_AS.search(match[0]) and re.search(r"\b(?:as|als|like|wie)\b", hidden[match.end() :]):
                continue  # not the thing is forbidden but a way to see it
            found += _items(sentence[match.end() :], hidden[match.end() :])
    for pattern in _AROUND:
        for match in pattern.finditer(hidden.strip()):
            group = next(number for number in range(1, pattern.groups + 1) if match[number] is not None)
            start, end = match.span(group)
            found += _items(sentence.strip()[start:end], hidden.strip()[start:end])
    if quotes and not found and _SOME_NO.search(hidden) and not _RATHER.search(hidden):
        found += [quote[1] or quote[2] for quote in quotes]
    for quote in quotes:
        if _UNQUOTED_INSTEAD.search(sentence[: quote.start()]):
            found.append(quote[1] or quote[2])
    return [item for item in found if item]


def _items(said: str, hidden: str) -> list[str]:
    """The things in a list, until something else begins; quoted ones alone where there are any."""
    end = _CUT.search(hidden)
    if end:
        said, hidden = said[: end.start()], hidden[: end.start()]
    quoted = [quote[1] or quote[2] for quote in _QUOTE.finditer(said)]
    if quoted:
        return [item.strip(" ,.;:!?") for item in quoted]
    items: list[str] = []
    items_of_text = re.match(r"\s*text\b(?!\W*$)", said, re.IGNORECASE)  # "no text or lettering": in the picture
    for part in _SPLIT.split(_SUCH_AS.sub(", ", _ORDERED.sub("", said.strip(" .!?:")))):
        item = _LEAD.sub("", f"{part.strip()} ").strip(" .!?:\"'")
        if re.search(r" (?:in|on|at|with|from|of|im|auf|mit|bei|aus|für|am|über)$", item) is None:
            item = _INNER.sub("", item)
        if not item:
            continue
        if (
            len(item.split()) > _MOST_WORDS
            or _FINITE.search(item)
            or len(item) < 3
            or (item.casefold() in _WEAK and not items_of_text)
        ):
            break  # a clause of its own begins
        items.append(item)
    return items


_ENDINGS = r"(?:s|es|en|e|n|er|em|ern|ed|d|ing|ly|'s)?"


def _is_broad(named: str) -> bool:
    """It stands for many words."""
    return any(
        kind.match(named.lower().split()[-1]) or kind.match(named.lower())
        for kind, pattern in KINDS
        if pattern not in (COMPARE, FEELINGS)
    )


def _pattern(named: str, german: bool) -> re.Pattern[str]:
    plain_name = named.lower()  # not folded: ß stays as it stands in texts
    for kind, pattern in KINDS:
        if kind.match(plain_name.split()[-1]) or kind.match(plain_name):
            return re.compile(pattern, re.IGNORECASE)
    parts = [_forms(folded(word), german) for word in plain_name.split()]
    return re.compile(r"\b" + r"[ -]".join(parts) + r"\b", re.IGNORECASE)


def _forms(word: str, german: bool) -> str:
    """`cars` finds `car`. A short word takes few endings: `car` must not find `care`."""
    if len(word) > 4:
        return rf"(?:{re.escape(_stem(word))}|{re.escape(word)}){_ENDINGS}"  # the n of klein is no ending
    if word.endswith("s") and not word.endswith("ss"):
        return re.escape(word[:-1]) + "(?:s|'s)?"
    if word.endswith("e"):
        return re.escape(word) + "(?:n|s|r|m|d|'s)?"
    return re.escape(word) + ("(?:e|en|er|ern|es|s|n)?" if german else "(?:s|es|'s)?")


def _stem(word: str) -> str:
    """`faces` and `face`, `Gesichter` and `Gesicht`: without the ending that the list of endings puts back."""
    for ending in ("ies", "ern", "en", "er", "es", "e", "s", "n"):
        if ending == "ies" and word.endswith("ies"):
            return word[:-1]  # skies stays; `sky` is another word
        if word.endswith(ending) and len(word) - len(ending) >= (3 if ending in ("en", "er") else 4):
            return word[: -len(ending)]
    return word


def broken_ban(text: str, typed: str, context: str) -> str | None:
    """What the text holds although the context forbids it; the child may have named it."""
    read = bans(context)
    forbidden = [word for ban in read for word in words(ban.named)]
    allowed = [word for word in words(context) if word not in forbidden]
    for ban in read:
        for form in (text, folded(text)):
            for match in ban.pattern.finditer(form):
                if ban.broad and among(match[0].casefold(), allowed):
                    continue
                if match[0].casefold() not in typed.casefold() and match[0].casefold() not in folded(typed).casefold():
                    same_as_ban = match[0].casefold() == ban.named.casefold()
                    return repr(match[0]) if same_as_ban else f"{match[0]!r} ({ban.named})"
    return None
