"""Words for whole kinds of things, and the words of each kind: `no people` forbids a villager. German and English."""

from __future__ import annotations

import re

COMPARE = (
    r"\b(?:represent(?:s|ing)?|symboli[sz](?:e|es|ing)|stands? for|standing for|resembl(?:e|es|ing)|(?:is|are|was|were|looks?|feels?|seems?|bends?|acts?|moves?|works?|shines?|lies|sits|stands|hangs) like|like (?:an?|the|some|his|her)|as if|as though|as \w+ as|embod(?:y|ies)|signif(?:y|ies)|metaphor\w*|metaphorical\w*"
    r"|symbolisier\w*|verkörper\w*|steht für|stehen für|repräsentier\w*|gleicht|gleichen|ähnelt|ähneln|erinnert an|wie (?:ein\w*|der|die|das|aus|im|auf|von)|wirkt wie|als ob|als wäre\w*|versinnbildlich\w*|metapher\w*|so \w+ wie)\b"
)
_COLOURS = (
    r"\b(?:(?:light|dark|pale|bright|deep|hell|dunkel|blass|tief|knall|zart|grell)?-?(?:red|blue|green|yellow|orange|purple|violet|pink|brown|black|white|grey|gray|turquoise|golden|silver|beige|crimson|scarlet|magenta|cyan"
    r"|rot|blau|grün|gelb|lila|violett|rosa|braun|schwarz|weiß|grau|türkis|golden|silbern|purpurn)(?:ish|lich)?(?:e[nrsm]?|s)?)\b"
)
FEELINGS = (
    r"\b(?:happy|happily|happiness|sad|sadly|sadness|angry|anger|joy|joyful\w*|afraid|fear|fearful\w*|lonely|loneliness|proud\w*|love|hate|melanchol\w+|cheerful\w*|longing|hopeful\w*"
    r"|glücklich\w*|glück|traurig\w*|trauer|wütend\w*|wut|freude|freudig\w*|angst|ängstlich\w*|einsam\w*|stolz\w*|liebe|hass|melanchol\w+|fröhlich\w*|sehnsucht|hoffnung\w*)\b"
)
# What one word forbids and other words say: `no people` and then a villager.
_KINDS_OF_THINGS = (
    (
        r"people|persons?|humans?|human beings|human figures?|figures|menschen|personen|leute|figuren|menschliche figuren",
        r"people|persons?|humans?|m[ae]n|wom[ae]n|child(?:ren)?|kids?|boys?|girls?|villagers?|farmers?|crowds?|workers?|fisherm[ae]n|sailors?|passengers?|travell?ers?|neighbou?rs?"
        r"|bakers?|teachers?|mothers?|fathers?|grandm\w+|grandf\w+|mensch(?:en)?|leute|personen|m[aä]nn(?:er)?|mann|frau(?:en)?|kind(?:er|ern)?|junge[n]?|mädchen|bäuerin\w*|bauern?|dorfbewohner\w*"
        r"|fischer\w*|nachbar(?:n|in|innen)|arbeiter\w*|lehrer(?:in|innen)?|bäcker(?:in)?|mutter|vater|oma|opa|verkäufer(?:in)?|spaziergänger\w*|matrosen?|reisende[nr]?",
    ),
    (
        r"animals?|creatures|beasts|tiere?n?|tierwelt|lebewesen",
        r"animals?|dogs?|cats?|birds?|horses?|cows?|sheep|goats?|fish(?:es)?|fox(?:es)?|wol(?:f|ves)|bears?|gulls?|crows?|ducks?|m(?:ouse|ice)|rabbits?|bees?|butterfl(?:y|ies)|owls?|deer|frogs?"
        r"|tiere?n?|hunde?n?|katzen?|kater|v[oö]gel[n]?|pferde?n?|kühe?n?|kuh|schafe?n?|ziegen?|fische?n?|fuchs|füchse|wölfe?|wolf|bären?|möwen?|krähen?|enten?|m[aä]use?n?|hasen?|bienen?|schmetterlinge?n?|eulen?|rehe?|frosch|frösche",
    ),
    (
        r"drums?|percussion|schlagzeug|trommeln?|schlaginstrumente?n?|schlagwerk|perkussion",
        r"drums?|drumm\w+|percussion|snares?|cymbals?|timpani|tambourines?|bongos?|congas?|kick drum|hi-?hats?|toms?|schlagzeug\w*|trommel\w*|pauken?|becken|schlagwerk|tamburin|rasseln?|perkussion",
    ),
    (
        r"(?:electric|electronic|electrical) (?:instruments?|sounds?)|electronics|synthesi[sz]ers?|elektrische[nrs]? (?:instrumente?n?|klänge?n?)|elektronische[nrs]? (?:instrumente?n?|klänge?n?)|elektronik|synthesizer",
        r"(?:electric|electronic) \w+|electro\w*|synths?|synthesi[sz]\w*|drum machines?|keyboards?|samplers?|e-?(?:gitarre|bass|piano|orgel)\w*|elektr\w+|synthie\w*|drumcomputer|theremin",
    ),
    (
        r"voices?|vocals?|singing|singers?|choirs?|gesang|stimmen?|sänger\w*|chöre?n?|chor",
        r"voices?|vocals?|vocalists?|sings?|singing|sung|singers?|choirs?|chorus|hum(?:s|ming)|chant\w*|gesang\w*|stimmen?|sing(?:t|en|end\w*)|sänger\w*|chor|chöre|summ(?:t|en)",
    ),
    (
        r"strings?|string instruments?|streicher|streichinstrumente?n?",
        r"strings|violins?|violas?|cellos?|cello|fiddles?|double bass(?:es)?|streicher\w*|geigen?|violinen?|bratschen?|celli|kontrab[aä]ss\w*|streichinstrument\w*",
    ),
    (
        r"brass|brass instruments?|wind instruments?|bläser|blechbläser|blasinstrumente?n?",
        r"brass|trumpets?|trombones?|tubas?|horns?|saxophones?|clarinets?|flutes?|bläser\w*|trompeten?|posaunen?|tubas?|waldh[oö]rn\w*|saxo(?:ph|f)on\w*|klarinetten?|flöten?|blechbläser\w*",
    ),
    (
        r"vehicles?|traffic|fahrzeuge?n?|verkehr",
        r"vehicles?|cars?|bus(?:es)?|trucks?|trains?|bikes?|bicycles?|motorbikes?|motorcycles?|vans?|taxis?|trams?|lorr(?:y|ies)|fahrzeug\w*|autos?|busse?n?|lastwagen|lkws?|züge?n?|zug|fahrr[aä]d\w*|motorr[aä]d\w*|taxis?|straßenbahn\w*|mopeds?|traktor(?:en)?",
    ),
    (
        r"buildings?|architecture|gebäuden?|bauwerke?n?|häuser",
        r"buildings?|houses?|towers?|churches?|church|castles?|skyscrapers?|barns?|huts?|cottages?|gebäude\w*|h[aä]us(?:er|ern)?|haus|t[uü]rme?n?|kirchen?|burg(?:en)?|schl[oö]ss\w*|hochh[aä]us\w*|scheunen?|hütten?",
    ),
    (
        r"text|texts|lettering|letters|writing|written words|inscriptions?|captions?|schrift|schriften|schriftzüge?n?|buchstaben|beschriftung(?:en)?|aufschrift(?:en)?|geschriebenes",
        r"lettering|letters?|inscriptions?|captions?|signs? (?:\w+ ){0,4}?(?:reads?|says?|reading|saying)|reads? [\"'“„]|(?:it|that) says|writes?|written|spell(?:s|ed)|labell?ed|schrift\w*|buchstaben?|beschrift\w*|aufschrift\w*|steht (?:in \w+ |mit \w+ )?(?:geschrieben|[\"„»])|geschrieben|inschrift\w*|words? (?:painted|written|carved)",
    ),
    (
        r"weapons?|arms|guns|waffen?",
        r"weapons?|swords?|guns?|rifles?|pistols?|knives|knife|daggers?|spears?|bows?|arrows?|axes?|cannons?|waffen?|schwert\w*|gewehr\w*|pistolen?|messer\w*|dolch\w*|speer\w*|pfeil\w*|äxte?|axt|kanonen?|säbel\w*|b[oö]gen(?: (?:und pfeil\w*|an|spann\w*))|spannt (?:\w+ ){1,5}?bogen|(?:seinen|ihren) bogen|armbr[uü]st\w*",
    ),
    (
        r"numbers?|digits?|numerals?|figures and numbers|zahlen?|ziffern?|zahlwörter",
        r"\d+|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|hundred|thousand|dozen|zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|elf|zwölf|zwanzig|hundert|tausend|dutzend",
    ),
    (
        r"plants?|vegetation|pflanzen|flowers?|blumen|blüten|trees?|bäume?n?",
        r"plants?|flowers?|trees?|roses?|tulips?|dais(?:y|ies)|grass|bush(?:es)?|moss|ferns?|ivy|pflanzen?|blumen?|blüten?|b[aä]ume?n?|baum|rosen?|tulpen?|gänseblümchen|gras|gräser|büsche?|busch|moos|farne?|efeu|eichen?|birken?|oaks?|birch(?:es)?",
    ),
)
KINDS = [
    *((re.compile(rf"^(?:{named})$"), rf"\b(?:{things})\b") for named, things in _KINDS_OF_THINGS),
    (
        re.compile(
            r"^(?:metaph\w+|comparisons?|similes?|symbol\w*|analog\w+|vergleich\w*|allegor\w+|sinnbild\w*|gleichniss?e?n?)$"
        ),
        COMPARE,
    ),
    (
        re.compile(r"^(?:colou?rs?|colou?r (?:words?|names?)|farben?|farbwörter|farbnamen|farbadjektive|farbbezeichnungen)$"),
        _COLOURS,
    ),
    (re.compile(r"^(?:feelings?|emotions?|gefühle?n?|emotionen)$"), FEELINGS),
]
