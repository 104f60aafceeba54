"""Ways to reach somebody: e-mail, web addresses, handles, phone numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from goldsmith.privacy.finding import Text, hints
from goldsmith.privacy.lists.vocabulary import is_word

Span = tuple[int, int]

_PROVIDERS = (
    "gmx|web|gmail|googlemail|hotmail|outlook|yahoo|ymail|t-online|icloud|aol|posteo|freenet|live|protonmail|proton|mail|mailbox|"
    "online|arcor|vodafone|yandex|ukr|wp|onet|interia|libero|orange|laposte|msn|me|mac|tutanota|tuta|bluewin|sunrise|chello|aon"
)
# Ends of domains that are no word of German or English, so that a missing space after a full stop makes none.
_ENDS = (
    "de|com|net|org|eu|info|io|tv|ch|gg|xyz|app|dev|fr|pl|ru|ua|tr|nl|ly|cc|uk|online|shop|blog|berlin|hamburg|bayern|koeln|wien|"
    "nrw|ruhr|edu|gov|biz|ee|gl|page|ai|co|cz|dk|se|hu|ro|bg|hr|rs|sk|lt|lv|fi|pt|gr|jp|kr|cn|ca|au|nz|br|mx|ir|eg|ng|vn|mobi|tech|club"
)
_WEAK_ENDS = "at|me|it|be|es|us|to|is|no|so|am|in|im|live|link|page|site|space|fun|art|world"
_WORDY_ENDS = (
    "wedding|family|photo|photos|photography|studio|gallery|design|music|band|store|website|games|world|live|link|page|site|space|fun|art|"
    "school|team|social|media|video|pictures|ink|zone|rocks|cool|baby|dog|cat|garden|pizza|cafe|bike|fashion|academy|life|today|one|me|it"
)
# An @ as it is spelled; a bare "at" counts only before a dot that is spelled as well, or before a provider.
_AT_SIGN = r"(?:@\s?|\s@\s|\s?[(\[{<*_]\s?(?:at|ät|et|@|a)\s?[)\]}>*_]\s?|\s(?:klammeraffe|affenschwanz|affenklammer|at-zeichen|ät|at sign)\s)"
_AT_WORD = r"\s(?:at|ät|et)\s"
_DOT_WORD = r"(?:\s?[(\[{<*_]\s?(?:dot|punkt|\.)\s?[)\]}>*_]\s?|\s(?:dot|punkt|pünktchen)\s?|\s?\.\s?)"
_DOT_SPELLED = r"(?:\s?[(\[{<*_]\s?(?:dot|punkt|\.)\s?[)\]}>*_]\s?|\s(?:dot|punkt)\s?)"
_LOCAL = r"[\w.+%-]{1,64}"
_EMAIL_SIGN = re.compile(rf"{_LOCAL}{_AT_SIGN}(?:[\w-]{{1,63}}{_DOT_WORD}){{1,4}}(?:{_ENDS}|{_WEAK_ENDS}|[a-z]{{2,6}})\b")
_EMAIL_COMMA = re.compile(
    rf"{_LOCAL}{_AT_SIGN}(?:(?:{_PROVIDERS})\b(?:[, ]\s?(?:{_ENDS})\b)?|[\w-]{{1,63}},\s?(?:de|com|net|org|at|ch)\b)"
)
_EMAIL_WORD = re.compile(  # behind the local part: searching for that first takes ten times as long
    rf"(?<=[\w.+%-]){_AT_WORD}(?:(?:[\w-]{{1,63}}{_DOT_SPELLED}){{1,3}}(?:{_ENDS}|at|me)\b"
    rf"|(?:{_PROVIDERS})\s?[. ]\s?(?:{_ENDS}|at)\b)"
)
_LOCAL_BEFORE = re.compile(
    rf"(?:{_LOCAL}\s(?:dot|punkt|underscore|unterstrich|minus|dash|hyphen|bindestrich)\s){{0,3}}{_LOCAL}$"
)
_BRACKETED_AT = re.compile(r"[(\[{<*_]\s?(?:at|ät|et|a)\s?[)\]}>*_]")
_HOST_HINTS = hints(
    [*_PROVIDERS.replace("t-online", "online").split("|"), "dot", "punkt", "pünktchen", *"de com net org ch".split()]
) - {"me"}
_AT_SIGNS = hints("ät klammeraffe affenschwanz affenklammer zeichen sign".split())
_AT_HINTS = hints("at et".split()) | _AT_SIGNS

_URL = re.compile(
    rf"\bh(?:tt|xx)ps?\s?:\s?/\s?/\s?\S+|\bwww\s?\.\s?\S+"
    rf"|(?<![\w@.])(?:[^\W_][\w-]{{1,62}}\.){{1,4}}(?:(?:{_ENDS})\b(?:[/?#]\S*)?|(?:{_WEAK_ENDS})/\S+)"
    r"|\bt\.me/\S+"
    # of the new ends, which are words, behind a name with a hyphen or before a path
    rf"|(?<![\w@.])(?:[^\W_]+-[^\W_-][\w-]*\.)(?:{_WORDY_ENDS})\b|(?<![\w@.])[^\W_][\w-]+\.(?:{_WORDY_ENDS})/\S+"
)
_DOTTED = re.compile(r"\.\w")
_URL_SPELLED = re.compile(
    rf"\b[^\W_][\w-]{{1,62}}{_DOT_SPELLED}(?:de|com|net|org|info|eu|io|tv|gg)\b(?:\s?(?:/|slash|schrägstrich)\s?\S+)?"
)

_PLATFORMS = (
    "instagram|instagramm|insta|ig|snapchat|snap|discord|dc|tiktok|tik tok|twitch|telegram|tele|whatsapp|youtube|yt|roblox|minecraft|fortnite|"
    "steam|psn|playstation|xbox|gamertag|twitter|facebook|fb|bereal|signal|skype|epic games|epic|nintendo|switch|reddit|"
    "threads|vinted|ebay|kleinanzeigen|strava|wattpad|ao3|tumblr|flickr|vimeo|patreon|etsy|lichess|threema|bandcamp|quizlet|kahoot|antolin|padlet|valorant|overwatch|geoguessr|vrchat|teamspeak|linkedin|viber|letterboxd|goodreads|komoot|vk|bluesky|mastodon|pinterest|soundcloud|spotify|brawl stars|clash royale|deviantart|github|scratch|duolingo|kik|wechat"
)
_LABEL = r"(?:[\s-]?(?:name|user(?:name)?|account|acc|konto|nick(?:name)?|tag|handle|kanal|channel|id|profil|profile|nutzername|benutzername|seite|page|code))?"
_IS = r"\s*(?:[:=>~-]+|\bist\b|\bis\b|\bit'?s\b|\blautet\b|\bheißt\b|\bheisst\b|\b(?:heiße|heisse|heiß|bin) ich\b|\bi'?m\b|\bi am\b|\bunter\b|\bals\b|\bas\b|\bunder\b)\s*"
_ACCOUNT = r"[\"'@]{0,2}([\w](?:[\w.#-]*\w)?)"
_HANDLE_AT = re.compile(r"(?<![\w.@/])@\s?[^\W\d][\w.]+(?:@[\w.-]+\w)?|(?<![\w.@/])@[\w.]{2,}(?:@[\w.-]+\w)?")
_HANDLE_TAG = re.compile(r"(?<![\w#])[\w.]{2,32}#\d{4}\b|(?<![\w/])/?u/[\w-]{3,}")
_HANDLE_OWN = re.compile(
    rf"\b(?:mein(?:e[nmrs]?)?|my|unser(?:e[nmrs]?)?|our|sein|ihr|his|her|dein)\s(?:\w+\s)?(?:{_PLATFORMS}){_LABEL}(?:{_IS}|\s){_ACCOUNT}"
)
_HANDLE_MARKED = re.compile(rf"\b(?:{_PLATFORMS}){_LABEL}(?:\s(?:von|of|from)(?:\s\w+){{1,2}})?(?:{_IS}|\s){_ACCOUNT}")
_HANDLE_FOLLOW = re.compile(
    r"\b(?:folgt?|follow|adde?|added|addet|add|find(?:et|est)?|such(?:t|st)?|abonnier(?:t|e)?|subscribe|schreib(?:t)?|dm|text|hit|message)\b"
    rf"[^.!?\n]{{0,30}}?\b(?:{_PLATFORMS}){_LABEL}(?:{_IS}|\s){_ACCOUNT}"
)
_HANDLE_CALLED = re.compile(
    rf"\b(?:auf|bei|on|in)\s(?:{_PLATFORMS})\s(?:\w+\s)?(?:heiße ich|heisse ich|heiß ich|bin ich|nenne ich mich|i'?m(?: called)?|i am(?: called)?|i'?m known as|"
    rf"my name is|they call me|findet man mich (?:als|unter)|findest du mich (?:als|unter)|you can find me (?:as|under)|unter|als|as)\s{_ACCOUNT}"
)
_HANDLE_USER = re.compile(
    r"\b(?:user\s?names?|benutzernamen?|nutzernamen?|nick(?:name)?s?|gamer\s?tag|login|spielernamen?|account\s?names?|anmeldenamen?|in-?game names?|ign|screen ?names?)\b"
    rf"(?:{_IS}|\s(?:auf \w+ )?(?:ist|is)\s){_ACCOUNT}"
)
_HANDLE_NAMED = re.compile(
    rf"\b(?:user ?name|nick(?:name)?|benutzername|nutzername|spielername|gamer ?tag|login|ign)\s{_ACCOUNT}"
)
# With an app named anywhere in the text: what one is called there, and whatever only accounts look like.
_HANDLE_AS = re.compile(
    r"\b(?:zock\w*|stream\w*|kenn\w*|know\w*|find\w*|findet|heiß\w*|heiss\w*|nenn\w*|called|bin(?: ich)?|bekannt|unterwegs|registriert|angemeldet|erreich\w*|reach|such\w*|look)"
    rf"(?: (?:mich|uns|ihn|sie|me|us|him|her|dort|da|there|ich))?(?: (?:als|unter|as|under|by|for|nach)) {_ACCOUNT}"
)
_TAILED = re.compile(r"(?<![\w@/.#-])([^\W\d_]{6,})\d{2,5}(?![\w@/.-])")
_TOKEN = re.compile(r"(?<![\w@/.#-])[\w][\w.-]*\w(?![\w@/])")
_ACCOUNT_HINTS = hints(
    "account acc konto profil profile kanal channel follow folgt folge adde add addet zocke zockt gamer gaming user nick handle tag".split()
)
# Written with a capital inside or a number at the end, and nobody's account.
_BRANDS = re.compile(
    r"youtube|tiktok|whatsapp|playstation\d?|iphone\d*|ipad|ipod|imac|macbook|gopro|mcdonald'?s?|spongebob|ebay|paypal|lego\w*|deviantart|soundcloud|facetime|onedrive|pokemon\w*|"
    r"minecraft\d*|fortnite\d*|roblox\d*|fifa\d*|gta\d*|mario\d*|windows\d*|formel\d|area\d+|apollo\d+|covid\d*|level\d+|version\d+|seite\d+|klasse\d+|team\d+|top\d+|xbox\d*|starwars|hiphop"
)
_FILE = re.compile(r".+\.(?:png|jpe?g|gif|mp[34]|pdf|txt|docx?|webp|svg|zip|exe|html?)")
_PLATFORM_WORDS = hints(word for name in _PLATFORMS.split("|") for word in name.split()) | hints(
    "username usernames user benutzername nutzername nickname nick gamertag login spielername accountname anmeldename ign screenname gamer".split()
)
# What follows "my insta is …" when it is no handle.
_PLAIN_WORDS = frozenset(
    """a an the so not very full cool my your for of and or to in on at with that this there here now like just gone broken down back cute funny
    art photo picture post posts story stories style video videos drawing filter account page logo app game world ist is und oder mit auf für
    in im an am zu von der die das den dem ein eine einen einem einer nicht so sehr voll ganz total nur noch auch schon leer kaputt weg cool
    toll super bild bilder foto fotos video videos stil profil profilbild kanal seite server welt spiel figur logo ich du er sie es wir ihr
    gibt hat haben habe sieht aus wie als bunt blau rot grün gelb schwarz weiß mein dein sein was wo wer wenn weil dass man kann will
    its it's ihr bin heiße unter als under called named
    made by block blocks blöcke haus burg landschaft charakter character skin name has have can mode post-it""".split()
)

_PHONE = re.compile(
    # international, or national with a 0; separators between digits; 7 to 15 digits
    r"(?<![\w.,:])(?<!\d[ .-])(?:\(?\+|\(?0)(?:[ ()/.\-–_]{0,3}\d){6,15}(?!\d|[.,:]\d)"
    # with the country's 49 but no sign; North American groups
    r"|(?<![\w.,#])49 ?1[5-7]\d[\d ]{7,10}\b"
    r"|(?<![\w.,])\(?\d{3}\)?[-. ]{1,2}\d{3}[-. ]\d{4}\b"
)
_PHONE_CUED = re.compile(
    r"\b(?:tel(?:efon)?(?:nummer|nr)?|handy(?:nummer|nr)?|mobil(?:nummer|e number)?|festnetz(?:nummer)?|phone(?: number)?|cell(?:phone)?|whatsapp|"
    r"anrufen|ruf(?:e|t)?|call(?: me)?|text(?: me)?|ring me|durchwahl|erreichbar|fax|sms|"
    r"(?:ruf|privat|dienst|notfall|geheim)nummer|(?:meine|unsere|deine|ihre|seine|my|our|your|her|his) (?:\w+ )?(?:nummer|number)|(?:nummer|number) (?:von|of)|"
    r"(?:nummer|number)(?=:| is\b| ist\b)|(?:durch|an)?klingel\w*|durchbimmel\w*|meld(?:e|et)? (?:dich|euch|sich)|erreich\w*|anruf\w*|phone|dial|wähl\w*|buzz|bell|"
    # the other languages of our classrooms
    r"(?:za)?dzwoń|numer|nr tel|numaram?|cep|ara|chiama\w*|cellulare|numero|téléphone|appelle\w*|numéro|portable|llám\w*|llama\w*|teléfono|móvil|número|"
    r"телефон\w*|номер|звони\w*|дзвони\w*|подзвони\w*|позвони\w*)\b[^\d\n]{0,28}?"
    r"(\+?\(?\d(?:[ ()/.-]{0,2}\d){4,14})(?!\d)"
)
_PHONE_WORDS = hints(
    """tel telefon telefonnummer telefonnr handy handynummer handynr mobil mobilnummer mobile festnetz phone cell cellphone whatsapp anrufen
    ruf rufe ruft call text ring nummer number durchwahl erreichbar fax sms klingel klingelt klingeln durchklingeln anklingeln durchbimmeln melde meldet
    meld erreicht erreichen erreichst anruf anrufe dial wähl wähle wählt buzz bell dzwoń zadzwoń numer numara numaram cep ara chiama chiamami
    chiamate cellulare numero téléphone appelle appelez numéro portable llama llamar llámame teléfono móvil número телефон телефону телефона
    номер звони звоните дзвони дзвоніть подзвони позвони""".split()
)
_DIGIT = r"(?:null|eins?|zwei|zwo|drei|vier|fünf|fuenf|sechs|sieben|acht|neun|zero|oh|one|two|three|four|five|six|seven|eight|nine|doppel\w+|double)"
_PHONE_SPELLED = re.compile(rf"\b(?:plus )?(?:{_DIGIT}[ ,.-]{{1,3}}){{5,}}{_DIGIT}\b")
_SPELLED = hints(
    "null zwei zwo drei vier fünf sechs sieben acht neun zero one two three four five six seven eight nine".split()
)
_ISBN = re.compile(r"(?:97[89]-)?\d-\d{2,7}-\d{1,7}-[\dX]")
_DATE = re.compile(r"\d{1,2}[./ -]\d{1,2}[./ -]\d{2,4}|\d{4}[./-]\d{1,2}[./-]\d{1,2}|\d{4}\s?[-–/]\s?\d{2,4}")


def emails(text: Text) -> Iterator[Span]:
    bracketed = any(char in text.plain for char in "([{<*_") and _BRACKETED_AT.search(text.lower)
    if "@" in text.plain or bracketed:
        for match in _EMAIL_SIGN.finditer(text.lower):
            if text.lower[match.start() - 1 : match.start()] != "@":  # @account@server
                yield match.span()
        yield from (match.span() for match in _EMAIL_COMMA.finditer(text.lower))
    if not _AT_HINTS.isdisjoint(text.cues) and not _HOST_HINTS.isdisjoint(text.cues):
        for match in _EMAIL_WORD.finditer(text.lower):
            local = _LOCAL_BEFORE.search(text.lower, max(0, match.start() - 64), match.start())
            if local is not None:
                yield local.start(), match.end()
        if not _AT_SIGNS.isdisjoint(text.cues):
            for pattern in (_EMAIL_SIGN, _EMAIL_COMMA):
                yield from (match.span() for match in pattern.finditer(text.lower))


def urls(text: Text) -> Iterator[Span]:
    if _DOTTED.search(text.plain) or "www" in text.lower or "/" in text.plain:
        yield from (match.span() for match in _URL.finditer(text.lower))
    if not text.cues.isdisjoint(("dot", "punkt")):
        yield from (match.span() for match in _URL_SPELLED.finditer(text.lower))


def handles(text: Text) -> Iterator[Span]:
    if "@" in text.plain:
        for match in _HANDLE_AT.finditer(text.plain):
            if not (match[0][1] == " " and is_word(match[0][2:])):
                yield match.span()
    if "#" in text.plain or "u/" in text.plain:
        yield from (match.span() for match in _HANDLE_TAG.finditer(text.plain))
    if "_" in text.plain:
        for match in _TOKEN.finditer(text.plain):
            parts = match[0].split("_")
            if len(parts) > 1 and _is_account(match[0]) and not all(is_word(part) for part in parts if len(part) > 2):
                yield match.span()
    if text.has_digit:
        for match in _TAILED.finditer(text.plain):
            if not is_word(match[1]) and not _BRANDS.fullmatch(match[0].lower()):
                yield match.span()
    named = not _PLATFORM_WORDS.isdisjoint(text.cues)
    if named or not _ACCOUNT_HINTS.isdisjoint(text.cues):
        for match in _TOKEN.finditer(text.plain):
            if _is_account(match[0]):
                yield match.span()
    if not named:
        return
    for match in _HANDLE_AS.finditer(text.lower):
        if match[1] not in _PLAIN_WORDS and len(match[1]) > 3:
            yield match.span(1)
    for pattern in (_HANDLE_OWN, _HANDLE_FOLLOW, _HANDLE_CALLED, _HANDLE_USER):
        for match in pattern.finditer(text.lower):
            account = text.plain[slice(*match.span(1))]
            called = match[0].startswith("nick") and account.isalpha() and account[0].isupper()  # that is a name
            if match[1] not in _PLAIN_WORDS and len(match[1]) > 2 and not called and re.search(r"[^\W\d_]", account):
                yield match.span()
    for match in (*_HANDLE_MARKED.finditer(text.lower), *_HANDLE_NAMED.finditer(text.lower)):
        account = text.plain[slice(*match.span(1))]
        if _looks_made_up(account) and re.search(r"[^\W\d_]", account):
            yield match.span()


def phones(text: Text) -> Iterator[Span]:
    if text.has_digit:
        for match in _PHONE.finditer(text.plain):
            seed = text.lower[max(0, match.start() - 6) : match.start()].rstrip(" :=").endswith("seed")
            if (
                not seed
                and not _ISBN.fullmatch(match[0])
                and not _DATE.fullmatch(match[0].strip("( "))
                and len(set(re.sub(r"\D", "", match[0]))) > 1
            ):
                yield match.span()
        if not _PHONE_WORDS.isdisjoint(text.cues) or "nummer" in text.lower:
            for match in _PHONE_CUED.finditer(text.lower):
                if not _DATE.fullmatch(match[1]):
                    yield match.span(1)
    if len(_SPELLED & text.cues) > 2:
        yield from (match.span() for match in _PHONE_SPELLED.finditer(text.lower))


def _is_account(token: str) -> bool:
    """Written as only accounts are: `a_b`, `Fox77`, `PixelPanda`, `noah.b12`."""
    if _BRANDS.fullmatch(token.lower()) or _FILE.fullmatch(token.lower()) or not re.search(r"[^\W\d_]{2}", token):
        return False
    dotted = re.fullmatch(r"[^\W_]{2,}(?:\.[^\W_]+)+", token)
    if dotted:
        return bool(re.search(r"[^\W\d_]\d", token)) or not all(is_word(part) for part in token.split(".") if len(part) > 2)
    return bool(
        re.search(r"[^\W_]_+[^\W_]", token)
        or re.fullmatch(r"[^\W\d_]{4,}\d{2,6}|[^\W\d_]{6,}\d", token)
        or (re.fullmatch(r"[^\W\d_]+\d{0,4}", token) and re.search(r"[a-zäöüß]{2}[A-ZÄÖÜ][a-zäöüß]{2}", token))
        or (re.fullmatch(r"[^\W\d_]+\d+[^\W\d_]{2,}\w*", token) and len(token) > 6)
    )


def _looks_made_up(token: str) -> bool:
    """A digit after a letter, an underscore or dot inside, capitals inside: what names of accounts have and words have not."""
    return bool(re.search(r"[^\W\d_]\d|[a-zäöü][A-Z]|[^\W_][._][^\W_]|[^\W_]-\d|_|#\d", token)) and not re.fullmatch(
        r"\w{1,2}\d?", token
    )
