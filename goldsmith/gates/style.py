"""K3: a look borrowed from somebody else's pictures instead of a way of making. Phrases in many languages, and artists' names."""

from __future__ import annotations

import re
import tomllib
from functools import lru_cache
from pathlib import Path

from goldsmith.gates.phrases import compiled, found
from goldsmith.gates.words import folded

_ARTISTS = Path(__file__).with_name("artists.toml")

# -- what a look is borrowed from
_MOVEMENT = (
    r"(?:(?:post|neo)?-?impressionis\w*|expressionis\w*|[kc]ubis[mt]\w*|kubismus|kubisten|surrealis\w*|fauvis\w*|futuris[mt]\w*"
    r"|dadais\w*|romantik(?:er\w*)?|romanticism|romantics|barock\w*|baroque|rokoko|rococo|renaissance\w*|jugendstil\w*"
    r"|art[ -](?:nouveau|d[eé]co|brut)|(?:pop|op|pixel|clip)[- ]art|bauh(?:aus|äusler)\w*|de stijl|[ck]onstru[ck]tivis\w*"
    r"|suprematis\w*|brutalis\w*|pointillis\w*|symbolis(?:ten|mus|ts|m)|ukiyo-?e|mangas?|animes?|comics?|comic books?|cartoons?"
    r"|graphic novels?|(?:film )?noir|westerns?|silent (?:film|cinema|movie)s?|stummfilm\w*|synth-?pop|synthiepop|synthwave|(?:italo-?)?disco-?(?:sound|ära)|(?:italo-?|spaghetti-?)western|steampunk|cyberpunk|pre-?raphaelit\w*|präraffaelit\w*|magical realism|magische[rnm]? realismus|(?:photo|foto|neo)?realismus|tachis\w*|biedermeier\w*|rinpa|nihonga|hudson river school|blauer? reiter|brücke-künstler\w*|vaporwave|low[- ]poly|old masters?|alte[nrs]? meister\w*)"
)
_MAKER = (
    r"(?:[\w-]*(?:maler|malern|malers|malerin|malerinnen|fotograf\w*|photographen?|zeichner\w*|illustrator\w*|regisseur\w*"
    r"|filmemacher\w*|bildhauer\w*|grafiker\w*|künstler\w*|stecher\w*)|painters?|artists?|masters?|photographers?|illustrators?"
    r"|film-?makers?|movie directors?|sculptors?|engravers?|printmakers?|cartoonists?)"
)
_WORK = (
    r"(?:[\w-]*(?:gemälden?|gemäldes|malerei\w*|holzschnitt\w*|zeichnung(?:en)?|plakat\w*|fotografien?|illustration(?:en)?|radierung\w*"
    r"|aquarell\w*|ölbild(?:er|ern|es)?|tuschmalerei|buchmalerei|wandbild(?:er)?|zeichentrick\w*|stillleben\w*|bilderb[uü]ch\w*|kupferstich\w*|fresk\w*|film(?:s|e|en|es)?|ikonen?|[\w-]*(?:konsolen|video|computer|retro|arcade)-?spiele?n?s?)|tapestr(?:y|ies)|(?:console|video|computer|arcade|retro) games?|paintings?|prints?|woodcuts?"
    r"|woodblocks?|etchings?|engravings?|watercolou?rs?|fresco(?:e?s)?|posters?|illuminations?|picture books?|storybooks?"
    r"|illustrations?|movies?|films?|still lifes?|cave art)"
)
_HINT = (
    r"(?:shades? of|a touch of|a hint of|a dash of|overtones? of|owes? (?:\w+ )?(?:everything|a lot|much|something|its \w+) to|in the footsteps? of|takes? (?:its |a |the )?(?:cues?|leaf|page) (?:out of |from )?(?:the book of )?|taking (?:its )?cues? from"
    r"|thinks? of|man denkt (?:\w+ )?an|denk(?:t|en)? (?:\w+ )?an|lässt an|(?:mit einem|ein) (?:hauch|anflug|schuss|touch|anklang|echo)(?: von)?|anklänge an|in (?:bester|guter|alter) [\w-]*-?tradition|in die fußstapfen|auf den spuren"
    r"|abgeschaut (?:\w+ )?(?:bei|von)|abgeguckt (?:\w+ )?(?:bei|von)|nach (?:der )?manier|nach art|could be (?:a|an|from|by)|könnte (?:\w+ )?(?:von|aus) (?:den|der|dem|einem)?|as (?:the|those|old) )"
)
_SOUND = (
    r"(?:(?:[\w-]*(?:blues|motown|bebop|ragtime|techno|grunge|rockabilly|schlager|krautrock|hip-?hop|bossa nova|bluegrass|reggae|k-pop|boogie|doo-wop|funk)"
    r"|(?:rock|jazz|pop|country|folk|metal|punk) (?:records?|albums?|hits?|songs?|bands?|platten?|stars?))(?!\w)|records?|recordings|albums?|soundtracks?|(?:schall)?platten|hitparade\w*)"
)
_GAP = r"(?:[\w'-]+ ){0,6}?"  # words of the same clause in between

# -- phrases that say it by themselves
_SAID = compiled(
    # English
    r"\bin (?:[\w'-]+ ){0,3}?(?:styles?|manner|fashion|idiom) of (?!speaking\b)",
    r"\b(?:after|following) the (?:style|manner|fashion) of\b",
    r"\bin (?!(?:his|her|their|its|my|your|our) own )(?!great |grand )(?:[\w'-]+ ){1,3}?style\b(?! of hair)",
    r"\b(?!(?:free|life|hair|self|family|buffet|breast|cross|butterfly)-)[\w-]+-styled?\b",
    rf"\b{_MOVEMENT}[- ]styled?\b",
    r"\bstyled (?:after|like|on|as)\b",
    r"\bstyli[sz]ed (?:after|like|as)\b",
    r"\bstylistic\w*|\bstilistisch\w*",
    r"\b(?:inspired|influenced) by (?!(?:his|her|their|my|our|your|its) (?:\w+ )?"
    r"(?:(?:grand)?(?:mother|father|ma|pa|mum|mom|dad)|aunt|uncle|sister|brother|friends?|teacher|neighbou?r|dream)s?\b)",
    r"\b[\w'-]+-inspired\b",
    r"\binspiration from\b",
    r"\breminiscent of\b",
    r"\b[àa] la (?!carte\b|mode\b)\w",
    r"\bhomm?ages? (?:to|an|à)\b|\bhommage\b",
    r"\bpaying (?:homage|tribute) to\b",
    r"\b(?:the )?(?:visual|formal|pictorial) language of\b",
    rf"\b{_MOVEMENT}[ -](?:[\w-]+ )?(?:{_WORK}|sculptures?|statues?|skulptur\w*|statuen?)\b|\b(?:{_WORK}) (?:der|des|aus der|of the|of|from the) {_MOVEMENT}\b",
    r"\b(?:page|panel|frame|still|scene)s? (?:from|out of) (?:an? |the )?(?:[\w'-]+ ){0,3}?(?:comics?|comic books?|album|film|movie|cartoon|manga|anime|picture book|graphic novel|fairy tale)\b",
    r"\b(?:seite|szene|bild|standbild|einzelbild) aus (?:einem|dem|einer) (?:[\w'-]+ ){0,3}?[\w-]*(?:comic|album|film|bilderbuch|märchen|manga|anime)\b",
    r"\bin the genre of\b|\bin (?:true|typical|classic|best|pure) (?:[\w'-]+ ){1,3}(?:fashion|manner|style)\b",
    rf"\b{_MOVEMENT} (?:painted|drawn|rendered|depicted|gemalt|gezeichnet|dargestellt|verfremdet)\b",
    r"\bnachempfunden\b|\bnachgeahmt\b|\bim gestus (?:von|der|des|eines|einer)\b",
    r"\b(?!grotesque|picturesque|arabesque|burlesque|statuesque|romanesque|humoresque)\w{3,}-?esque\b",
    r"\b(?!(?:the|an?|its?|his|her|their|no|this|that|of|and|any|some) )[\w-]+ (?:aesthetics?|vibes?)\b",
    r"\b(?:comic|manga|anime|cartoon|storybook|film|movie|poster|retro|vintage|polaroid|painterly|watercolou?r|oil-?paint\w*"
    r"|pixel|clay|lego|gothic|baroque|noir)[\w-]*[- ](?:book[- ])?look\b",
    r"\baesthetics? of\b",
    r"\bas (?:imagined|painted|seen|drawn|dreamed|dreamt|envisioned|interpreted|filmed|photographed|conceived) by (?!(?:an? |the |his |her |their |my |our )?(?:child|kid|bird|cat|dog|eye|robot|machine|drone|satellite|camera))",
    rf"\bthe way (?:an? |the )?(?:\w+ )?(?:{_MOVEMENT}|{_MAKER}) (?:\w+ )?(?:would|might|could|used to|paint|draw|put|did|does|do)\w*",
    rf"\b(?:through|with|in) the (?:eyes?|lens|language|grammar|look) of (?:an? |the )?(?:\w+ )?(?:{_MOVEMENT}|{_MAKER}|{_WORK})\b",
    r"\bpastich\w+|\briff(?:s|ing)? on\b|\ba (?:nod|wink|love letter|salute|bow|tip of the hat) (?:\w+ )?to (?:the )?(?:\w+ )?(?:art|cinema|film|painting|comic|masters?|era|classics?|posters?|cartoons?)\b",
    r"\b(?:imitat|emulat|mimick?|copy|copie|channel|quot|ap)(?:e?s|ing|ed)? (?:the )?(?:look|feel|style|manner|technique|palette|aesthetics?|brushwork|mood|world)s? of\b|\bin imitation of\b",
    rf"\b(?:{_MOVEMENT}|retro|vintage|gothic|victorian|mediaeval|medieval|disney|pixar|ghibli|storybook|fairytale|(?:19|20)?\d0s|sixties|seventies|eighties|nineties) (?:\w+ )?(?:look|feel|vibe|flair|aesthetic|charm|touch|influence)s?\b|\b(?:look|feel|air|flavou?r) of (?:an? |the |old |early |late )*(?:(?:19|20)?\d0s|sixties|seventies|eighties|nineties|{_MOVEMENT}|{_WORK})\b",
    rf"\b(?:{_MOVEMENT}|{_WORK}) meets\b|\bmeets (?:an? |the )?(?:{_MOVEMENT}|{_WORK})\b",
    r"\b(?:cottage|goblin|fairy|dream|weird|norm|dark|light|hyper|blokette|bee|clown|kid|angel|space|synth|vapou?r)(?:core|wave)\b|\bdark academia\b|\bart[- ]direct\w+ like\b",
    r"\b(?:typical|characteristic|signature|trademark|hallmark) (?:\w+ )?(?:brush\w*|palette|style|look|technique|line work|linework|manner) of\b",
    # German
    r"\b[\w-]*optik\b(?<!\boptik)(?! (?:der|des) (?:linse|kamera))|\bin der optik (?:von|eines|einer|der|des|alter)\b|\b(?:mit|in) der anmutung\b|\bim duktus\b|\b(?:mutet|muten) (?:\w+ ){0,3}an wie\b|\bim gewand(?:e)? (?:des|der|eines) \w*(?:ismus|kunst|films?|comics?|barock|moderne)\b",
    r"\b(?:anleihen?|anklänge?n?|reminiszenz(?:en)?|huldigung|verneigung|referenz|zitat) (?:\w+ )?(?:bei|an|aus|vor|auf)\b|\b(?:imitier|kopier|nachahm)\w* (?:den|die|das|der) (?:\w+ )?(?:stil|look|optik|malweise|technik|bildsprache|handschrift|palette)\b|\bpersiflage auf\b|\bin nachahmung\b",
    rf"\bwie (?:man|wir) (?:es|sie|ihn|das|ihr) (?:\w+ ){{0,3}}?(?:aus|von|bei|in) (?:\w+ ){{0,4}}?(?:{_MOVEMENT}|{_MAKER}|{_WORK}|\w*comics?|\w*filme?n?)\b",
    rf"\b(?:so )?wie (?:es |sie |ihn )?(?:ein|eine|einer|die|der) (?:\w+ )?(?:{_MOVEMENT}|{_MAKER}) (?:\w+ )?(?:mal|zeichn|dreh|seh|mach|tu|komponier|setz|festhalt|gemalt|gesehen|gezeichnet|gemacht|wiedergeb)\w*",
    rf"\bdurch die (?:augen|brille|linse) (?:eines|einer|der|des|von) (?:\w+ )?(?:{_MOVEMENT}|{_MAKER})\b|\b(?:{_MOVEMENT}|{_WORK}) trifft (?:auf )?\w+",
    r"\b(?:mit|im|in) (?:\w+ )?(?:typische[nrm]?|charakteristische[nrm]?|unverkennbare[nrm]?|unverwechselbare[nrm]?) (?:pinselstrich|farbwelt|handschrift|stil|look|bildsprache)\b",
    r"\bi[mn] (?!gro(?:ß|ss)e[nm] )(?!(?:[\w-]+ )?(?:lebens|frei|führungs|schwimm|lauf|kraul|rücken)stil)"
    r"(?:(?:einem|dem|ihrem|seinem|diesem|jenem) )?(?:[\w'-]+(?:e[nmrs]|er|s) ){0,3}?[\w-]*stile?s?\b(?! und würde)",
    r"\bnach (?!(?:dieser|solcher|ihrer|seiner|meiner|unserer) )(?:[\w'-]+ ){0,3}?[\w-]*\bart\b",
    r"\bin der art (?:von|der|des|eines|einer|alter)\b|\bauf die art (?:von|der|des|eines|einer|alter|großer)\b|\bim look\b|\bin (?:bester|guter|typischer|echter) [\w-]+-manier\b",
    rf"\bin (?:an? |the )?(?:\w+ )?{_MOVEMENT} (?:manner|fashion|way|idiom|mode|spirit|modus)\b|\b{_MOVEMENT}[- ](?:mode|modus)\b",
    r"\b(?:tribute|homage|nod|love letter|ode|verbeugung|verneigung|hommage|huldigung) (?:to|an|vor) (?:\w+ ){0,3}?(?:(?:19|20)?\d0s|sixties|seventies|eighties|nineties|(?:fünf|sech|sieb|acht|neun)ziger\w*|era|ära|epoche|cinema|kino\w*|film|pop|jazz|punk)\b",
    r"\bin (?!(?:bester|guter|bewährter|gewohnter) )(?:[\w'-]+ ){0,3}?[\w-]*manier\b",
    r"\bnach manier\b",
    r"\binspiriert(?:e[nrsm]?)? (?:von|vom|durch)\b",
    r"\b(?:von|vom|durch) (?:[\w'-]+ ){1,5}?(?:inspirier|beeinflusst)\w*\b",
    r"\b[\w-]+-?inspirierte?[nrsm]?\b",
    r"\bin anlehnung an\b",
    r"\b[\w-]+-look\b|\bim look (?:von|der|des|eines|einer)\b",
    r"\b(?!anästhetik)[\w-]*ästhetik\b",
    r"\bwie (?:von|vom) (?!(?:kinder|geister)hand|kindern|einem kind)(?:[\w'.-]+ ){1,5}?"
    r"(?:gemalt|gezeichnet|fotografiert|gefilmt|getuscht|entworfen|inszeniert|komponiert|hingetupft)",
    r"\b(?!grotesk|burlesk|pittoresk|arabesk|gigantesk|balladesk|moresk)\w{3,}-?esk(?:e[nrsm]?)?\b",
    r"\b(?:comic|manga|anime|cartoon|impressionisten|märchenbuch|bilderbuch)-?(?:haft|artig|mäßig)\w*",
    r"\bstilzitat\w*|\bbildsprache (?:von|der|des|eines|einer)\b|\bformensprache (?:von|der|des|eines|einer)\b",
    # other languages that inputs come in
    r"\b(?:dans|en) (?:le|un) style\b|\bau style d|\bà la (?:manière|façon) d|\binspirée?s? (?:de|du|des|par)\b|\bfaçon (?=[A-Z])",
    r"\b(?:al|en el) estilo\b|\ba la manera de\b|\binspirad[oa]s? (?:en|por)\b|\bno estilo d|\bao estilo d|\bà maneira d",
    r"\b(?:nello|in|in uno) stile\b|\balla maniera d|\bispirat[oaie] (?:a|al|alla|da)\b",
    r"\bin de stijl van\b|\bgeïnspireerd door\b|\bi stil med\b|\bw stylu\b|\binspirowan\w* ",
    r"\b\w*(?:tarzında|stilinde|üslubunda|üslubuyla)\b",
    r"\bу (?:\w+ )?стилі\b|\bв (?:\w+ )?стил[еі]\b|\bна манер\w*|\bу манері\b|\bв манере\b|\bв дусі\b|\bв духе\b",
    r"스타일|풍으로|화풍",
    r"בסגנון|בהשראת",
    r"بأسلوب|على طراز|مستوحى",
    r"風(?:に|の)|スタイル|风格|風格",
)

# -- words that say it only where a work, a maker, a movement or an artist follows
_STRONG = (
    r"(?:as if (?:[\w'-]+ ){0,4}?by|(?:painted|drawn|photographed|filmed|sketched|rendered|composed|shot|lit|told) (?:by|like|as|the way)"
    r"|nods? (?:\w+ )?to(?:wards?)?|tributes? to|odes? to|echo(?:es|ing|ed)?(?: of)?|recall(?:s|ing|ed)?|evok(?:es|ing|ed?)"
    r"|channel(?:s|l?ing|l?ed)?|(?:in the|the) spirit of|in (?:the|a) (?:\w+ )?tradition of|in the vein of|in the mould of"
    r"|brushwork of|brushstrokes? of|palette of|worthy of|modell?ed (?:on|after)|borrow(?:s|ing|ed) (?:[\w'-]+ ){0,4}?from|ow(?:es|ing|ed) (?:[\w'-]+ ){0,4}?to|quot(?:es|ing)"
    r"|remind(?:s|ing)? (?:\w+ )?of|(?:has|have|with) the (?:look|air|feel) of|follow(?:s|ing) the (?:manner|style|example|lead) of|could (?:be|come|have come) (?:by|from|out of)|(?:könnte|scheint|wirkt) (?:aus|von|wie aus|wie von)|(?:im|ins) licht (?:von|eines|einer|der|des)|hallmarks? (?:\w+ )?of|straight out of|(?:lifted|torn|cut|traced|copied|abgepaust|ausgeschnitten|entsprungen) (?:straight )?(?:from|off|out of|von|aus)|out of an?|the hand of|the work of"
    r"|(?:lean(?:s|ing)|draw(?:s|ing)) (?:\w+ ){0,2}?(?:on|towards?|from)|indebted to|steeped in|in debt to|(?:in )?anlehnung an|(?:lehnt|lehnen|orientiert|orientieren|bedient|bedienen) sich (?:\w+ ){0,3}?(?:an|bei)|anleihen (?:bei|aus|von)|(?:leiht|borgt|entlehnt|stiehlt|klaut) (?:sich )?(?:[\w-]+ ){0,4}?(?:bei|von|aus)"
    r"|angelehnt an|erinner(?:t|n|nd\w*) (?:\w+ )?an|(?:rendered|made|painted|drawn|designed|meant|supposed) to (?:look|sound|feel) (?:like|as if)|(?:looks|sounds|feels) as if|sieht aus wie|klingt wie|wirkt wie|aussehen wie|(?:im|ganz im) sinne? (?:von|der|des|eines|einer)|(?:im|aus dem) geiste? (?:von|der|des|eines|einer)"
    r"|(?:trägt|tragen|mit|in) (?:ganz )?(?:die|der) handschrift|frei nach|nach (?:dem )?vorbild|zitiert|in der tradition"
    r"|(?:lässt|lassen) an|wie für (?:einen?|den|das)|wie (?:von|vom)|gemalt (?:von|wie)"
    r"|gezeichnet (?:von|wie)|fotografiert (?:von|wie)|malweise|pinselstrich|farbwelt|farbpalette|in der schule|aus der hand|(?:verbeugung|verneigung|hommage|huldigung) (?:vor|an)|auf die art)"
)
_AS_IF = r"(?:as if|as though|als (?:hätten?|wär\w+|habe|stamm\w*))"
_LIKE = (
    r"(?:like|as|resembl(?:es|ing|e)|gleicht|gleichen|ähnelt|ähneln|as in|just as|wie|wie bei[m]?|wie in|wie aus|als käme \w+ aus) (?:an? |the |one of the |something (?:from|out of|by) "
    r"|de[nmr] |die |das |eine?[mnrs]? |some )?(?:[\w-]*e[nrms] )?"
)
_SCENE = (
    r"(?:(?:(?:scene|frame|still|panel|page)s?|(?:szene|standbild|bild|seite)(?:n|er)?) (?:from|out of|in|of|aus|in|von) (?:[\w'-]+ ){0,4}?"
    rf"(?:films?|movies?|{_MOVEMENT}|\w*filme?n?s?)"
    r"|(?:painting|print|woodcut|drawing|photograph|etching|poster|bild|ölbild|gemälde|holzschnitt|aquarell|plakat|foto|film)s? (?:by|from|von|aus) "
    r"|(?:oil painting|old painting|ölgemälde|altes (?:gemälde|ölbild|ölgemälde)|impressionist))"
)


def style(text: str, typed: str) -> str | None:
    """The words that borrow a look; None when there are none but the child's."""
    said = found(_SAID, text, typed)
    if said is None:
        said = found(_follows(), text, typed)
    if said is None and _may_name(text):
        said = found(_manner_of_a_name(), text, typed)
    return said


@lru_cache
def _follows() -> tuple[re.Pattern[str], ...]:
    name = _any_name()
    return (
        *compiled(
            rf"\b{_STRONG}\b,? {_GAP}(?:{_MOVEMENT}|{_MAKER}|{_WORK}|{_SOUND})\b",
            rf"\b(?:{_AS_IF} {_GAP}(?:{_MOVEMENT}|{_MAKER}|(?:[\w-]+isch\w*|alter|großer) meister)|{_LIKE}{_MOVEMENT})\b",
            rf"\b{_LIKE}{_SCENE}",
            rf"\b{_HINT} {_GAP}(?:{_MOVEMENT}|alte[nr]? meister\w*|old masters?)\b|\b{_MOVEMENT} (?:way|treatment|lässt grüßen|zerlegt|gebrochen|aufgelöst|gone)\b",
            r"\b(?:disney|pixar|ghibli|marvel|pokémon|pokemon|moomin|mumin|lego|minecraft|hollywood|bollywood|beatles|kraftwerk|abba|mozart|bach|hokusai|wes anderson|tim burton|bauhaus|motown)[- ](?:sparkle|magic|symmetry|tradition|feeling|feel|touch|charme?|books?|b-side|song|colou?rs?|farben|optik|zauber|glanz|palette|kulleraugen|eyes|manier|art)\b",
            r"\b(?:so|ganz so|genau so|just|much)?,? ?(?:wie (?:es |sie )?(?:die|einst|früher) (?:\w+ ){0,3}?(?:holländer|niederländer|flamen|italiener|franzosen|japaner|meister|maler\w*|impressionisten|expressionisten|romantiker|kubisten) (?:\w+ )?(?:mal\w*|zeichne\w*|lieb\w*|schuf\w*|taten|gemalt)|(?:as|the way|like) (?:the |old |those )*(?:dutch|flemish|italian|french|japanese|impressionists?|expressionists?|cubists?|masters?)(?: \w+)? (?:painted|drew|would|did|used to|loved|liked))\b",
            r"\bas though (?:it |they )?(?:came|come|were (?:taken|cut|lifted)|stepped) (?:\w+ )?(?:from|out of) (?:an? |the )?(?:[\w'-]+ ){0,3}?(?:still life|painting|film|movie|cartoon|comic|poster|print|canvas|album|picture book)\b",
            r"\b(?:wie aus|als käme \w+ aus|straight from|like (?:something )?(?:from|out of)) (?:an? |the |one of those |einem |dem |einer |diesen )(?:[\w'-]+ ){0,2}?[\w-]*(?:film(?:e|es|en)?|movie|cartoon|comic|bilderbuch|märchenbuch|[\w-]+-heft|comicheft|[\w-]+-album|reiseprospekt|zeichentrick\w*|anime|manga|poster|plakat|gemälde|painting|postcard|postkarte|storybook|picture book)s?\b",
        ),
        re.compile(
            rf"(?i:\b(?:{_STRONG}|{_AS_IF}|{_HINT}|something)\b,? (?:[\w'-]+ ){{0,3}}?|\b{_LIKE}|\b(?:after|nach|bei) )(?i:an? |einem? |eine[nr] )?(?:{name})(?:'?s)?\b"
        ),
    )


@lru_cache
def _names() -> tuple[list[str], list[str]]:
    """Regular expressions of names that are enough alone, and of surnames that are not. Both take the accents or leave them."""
    alone: set[str] = set()
    ambiguous: set[str] = set()
    for table, lines in tomllib.loads(_ARTISTS.read_text(encoding="utf-8")).items():
        for line in lines.split("\n"):
            if not line.strip():
                continue
            alone.add(re.sub(r"[{}]", "", line))
            braced = re.search(r"\{(.*)\}", line)
            if braced:
                alone.add(braced[1])
            elif table != "studios" and " " in line:
                ambiguous.add(line.split()[-1])
    alone |= {folded(name) for name in alone}
    by_length = [sorted(names, key=len, reverse=True) for names in (alone, ambiguous - alone)]
    return [_flexible(name) for name in by_length[0]], [_flexible(name) for name in by_length[1]]


def _flexible(name: str) -> str:
    """`Van Gogh`, `van-Gogh`, `VAN GOGH`; a name in small letters alone may be a verb."""
    parts = [re.escape(part) for part in name.split()]
    forms = (parts, [parts[0][:1].upper() + parts[0][1:], *parts[1:]], [re.escape(part.upper()) for part in name.split()])
    return "|".join(dict.fromkeys(r"[- ]".join(form) for form in forms))


def _any_name() -> str:
    alone, ambiguous = _names()
    return f"(?i:{'|'.join(alone)})|{'|'.join(ambiguous)}"


_SUFFIX = r"(?:-?(?:haft|artig|esk|esque|like|style|inspiriert|inspired|isch|ianisch|ian|sch)\w*)"
_PLACE = r"(?:stra(?:ß|ss)e|str\.|platz|schule|allee|gasse|weg|museum|gymnasium|brücke|haus|ufer|street|square|avenue|road|school|park|bridge|lane|station)"


@lru_cache
def _manner_of_a_name() -> tuple[re.Pattern[str], ...]:
    """`Picasso-like`, `a Monet painting`, `Tim-Burton-Manier`: the name is said to be a manner."""
    alone, more = ("|".join(names) for names in _names())
    manner = r"(?:manier|stil|style|look|optik|ästhetik|manner|fashion|tradition|symmetry|symmetrie|magic|zauber|charm\w*|touch|flair|feeling|palette)"
    works = r"(?:paintings?|pictures?|prints?|woodcuts?|drawings?|films?|movies?|posters?|gemälden?|aquarelle?n?)"
    return (
        re.compile(rf"(?i)\b(?:{alone})(?:{_SUFFIX}|-?{manner}\w*|(?:'?s|')? (?:{works}|{manner}))\b"),
        re.compile(
            rf"\b(?:{more})(?i:-?(?:haft|artig|esk|esque|like|inspired)\w*|ian(?!\w)|-?{manner}\w*|(?:'?s)? (?:{works}|{manner}))\b"
        ),
    )


@lru_cache
def _named_look() -> tuple[re.Pattern[str], ...]:
    """`Monet-Farben`, `an Edward Hopper night`: the name stands before what is shown."""
    alone, more = ("|".join(names) for names in _names())
    shown = (
        r"(?:bild(?:er)?|malerei|werk\w*|farben|colou?rs?|palette|light|licht|blau|blue|film\w*|wald|himmel|sky|night|nacht|interior|brush|still life"
        r"|figur\w*|prinzess\w*|held\w*|welt|landschaft\w*|theme|sound|thema)"
    )
    return (
        re.compile(rf"(?i)\b(?:{alone})(?:-(?!{_PLACE})\w+|{shown}|(?:'?s|')? {shown})\b"),
        re.compile(rf"\b(?:{more})(?i:-{shown}|(?:'?s)? {shown})\b"),
    )


@lru_cache
def _name_patterns() -> tuple[re.Pattern[str], ...]:
    alone, ambiguous = _names()
    more = "|".join(ambiguous)
    return (
        re.compile(rf"\b(?:{'|'.join(alone)})(?i:'?s|'|{_SUFFIX})?(?!\w)(?![- ]?(?i:{_PLACE}))"),
        re.compile(rf"\b(?i:{'|'.join(alone)})(?i:{_SUFFIX})(?!\w)"),
        re.compile(
            r"\b(?i:(?:gemälden?|bild(?:er|ern)?|zeichnung(?:en)?|aquarell\w*|foto(?:s|grafien?)?|filme?n?|werken?|paintings?|pictures?|drawings?"
            r"|prints?|photo(?:s|graphs?)?|films?|movies?) (?:by|von)"
            r"|(?:gemalt|gezeichnet|fotografiert|gefilmt|painted|drawn|filmed|photographed|sketched) (?:by|von|like|wie)"
            r"|(?:stile?|style|manner|manier|art|spirit|vein|geiste?|tradition|handschrift|sinne?) (?:of|von|des|der)|à la|a la|inspired by"
            rf"|inspiriert von|reminiscent of|wie bei|frei nach) (?:{more})s?\b"
        ),
        re.compile(
            rf"\b(?:{more})(?:'s|s)?[- ](?i:gemälden?|paintings?|aquarelle?n?|esque|haft\w*|artig\w*|style|stil|inspired|-like)\b"
        ),
    )


def artist(text: str, typed: str) -> str | None:
    """The name of an artist that the child did not write."""
    return found((*_name_patterns(), *_manner_of_a_name(), *_named_look()), text, typed) if _may_name(text) else None


def _may_name(text: str) -> bool:
    """Some word begins as some name does: nine texts in ten are done with that, and the names take two thirds of the time."""
    begins = _beginnings()
    return any(word[:4] in begins or word[:3] in begins for word in re.findall(r"[^\W\d_]{3,}", text.casefold()))


@lru_cache
def _beginnings() -> frozenset[str]:
    """Four letters of each surname, or all three of it."""
    alone, ambiguous = _names()
    surnames = [re.sub(r"\\(.)", r"\1", name.split("|")[0].replace("[- ]", " ")).split()[-1] for name in (*alone, *ambiguous)]
    return frozenset(max(re.findall(r"[^\W\d_]+", name), key=len).casefold()[:4] for name in surnames)
