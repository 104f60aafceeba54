"""K4 and refusals: talk about the text, the task or the writer instead of the text itself. English and German."""

from __future__ import annotations

import re

from goldsmith.gates.phrases import compiled, found, without_speech

_TEXT_EN = r"(?:descriptions?|version|text|prompt|paragraph|scene|image|picture|rewrite|rewriting|rendition|transformation|result|response|answer|idea|take|interpretation|attempt|output|adaptation|passage|draft)"
_TEXT_DE = r"(?:beschreibung|fassung|version|text|prompt|absatz|szene|bild|umschreibung|umsetzung|verwandlung|ergebnis|antwort|idee|interpretation|vorschlag|versuch|übertragung|variante|bildbeschreibung|entwurf|ausgabe)"
_WRITE_EN = r"(?:rewrit\w+|rewrote|transform\w*|translat\w*|adapt\w*|appl(?:y|ied)|describ\w*|depict\w*|rephras\w*|convert\w*|reinterpret\w*|reimagin\w*|render\w*|creat\w+|craft\w*|writ(?:e|ten|ing)|wrote|produc\w+|generat\w+|aim\w*|tried|focus\w*|chose|incorporat\w*|kept|turn\w*|highlight\w*|emphasi[sz]\w*|present|provide)"
_WRITE_DE = r"(?:umgeschrieben|umschreiben|übertragen|verwandel[tn]|übersetzt|übersetzen|angepasst|anpassen|angewendet|anwenden|beschreiben|beschrieben|umsetzen|umgesetzt|umformulier\w+|formulier\w+|gestaltet|verfasst|verfassen|erstellt|erstellen|berücksichtigt|eingehalten|darstellen|dargestellt|bemüht|versucht|geschrieben|geachtet|interpretiert|zusammengefasst)"

_META = compiled(
    # English: before the text
    rf"^\W*(?:(?:sure|okay|ok|alright|of course|certainly|absolutely|great|gladly)\W+)?(?:here(?:'s| is| are| you go| comes?)|below is|this is) (?:the |your |a |an |my |one |some )?(?:[\w'-]+ ){{0,4}}?{_TEXT_EN}\b",
    rf"\bhere(?:'s| is| are) (?:your|my) (?:[\w'-]+ ){{0,3}}?{_TEXT_EN}\b",
    r"\bhere(?:'s| is| are) (?:the|your|a|my) (?:\w+ )?(?:description|version|text|prompt|paragraph|rewrite|result|answer|transformation)s?\b",
    r"^\W*(?:sure|certainly|absolutely|of course|gladly|with pleasure|great (?:idea|prompt|question)|happy to help|okay|alright|got it|understood)\s*[,!.:–—-]",
    # English: the writer
    rf"\bi(?:'ll| will| would|'ve| have|'d| am going to| tried to| chose to| decided to| want(?:ed)? to| can|'m| am)? (?:now |just |also |therefore |then |only |here )?{_WRITE_EN} (?:(?:it|this|that|them|everything)\b|(?:[\w'-]+ ){{0,5}}?(?:{_TEXT_EN}|input|task|context|rules?|words?|craft|language|style|foxes|subject)s?\b)",
    rf"\bi (?:will|would|am going to|'ll) (?:{_WRITE_EN}|show|paint|draw)\b",
    rf"\bi(?:'ve| have) (?:tried|{_WRITE_EN})\b",
    r"\b(?:let me know|feel free to|hope (?:this|that|it|you)|would you like me to|do you want me to|shall i|if you(?:'d| would) like,? i can|please note)\b",
    r"\bas (?:requested|asked|instructed|you (?:asked|wished|wanted|requested))\b",
    r"\bas an? (?:ai|language model|assistant|large language model)\b|\bi am an ai\b|\bi'm an ai\b|\b(?:large )?language model\b",
    # English: the text about itself
    rf"\bthis (?:{_TEXT_EN}|approach|composition|reinterpretation) (?:\w+ly )?(?:shows|depicts|describes|represents|is (?!is)|captures|highlights|emphasi[sz]es|illustrates|reflects|conveys|demonstrates|portrays|presents|explores|follows|uses|keeps|invites|reminds|transforms|focuses|underlines|embodies|evokes|avoids)\b",
    rf"(?:^|[.!?] )(?:the|in this|in the above|the above|this) (?:{_TEXT_EN}) (?:shows|depicts|describes|above|below|captures|portrays|illustrates|we see)\b",
    r"\b(?:the|your|this|original) (?:prompt|user(?:'s)? (?:input|prompt|request)|instructions?)\b",
    r"\b(?:the|this|your) (?:original |given |user'?s? )?(?:input|context) (?:asks|says|describes|wants|demands|requires|states|has been|is|was|mentions|text)\b",
    r"\b(?:following|according to|in line with|in accordance with|in keeping with|per|based on|respecting|applying|by applying|true to) (?:the|your|these|all) (?:\w+ )?(?:rules?|context|instructions?|guidelines|constraints|prompt|task|principles?)\b",
    rf"\b(?:rewritten|transformed|revised|adapted|reimagined) (?:version|prompt|text|scene|description|{_TEXT_EN})\b",
    r"(?:^|[.!?)] )\(?(?:note|explanation|comment|remark|disclaimer|translation|p\.?s\.?)\s*:",
    r"\bto (?:respect|follow|obey|meet|satisfy|fulfil+|apply) the (?:rule|rules|context|instruction|task|constraint)s?\b",
    # English: a lecture
    r"\b(?:is|are|was|were) an? (?:\w+ )?(?:technique|method|process|style|movement|art form|craft) (?:in which|that|where|by which|whereby|used)\b",
    r"\b(?:was|were) (?:first )?(?:founded|invented|developed|established|introduced|popular(?:i[sz]ed)?) in (?:the )?(?:\d|\w+ century)",
    r"\b(?:reminds?|teach(?:es)?|shows?|tells?|invites?) us (?:that|how|to|about)\b|\bwe (?:learn|can see|understand|see here) (?:that|how)\b|\bthe viewer (?:is|sees|can|feels|understands)\b",
    r"\bthis (?:technique|method|material|choice|contrast|detail) (?:symboli[sz]es|represents|emphasi[sz]es|highlights|reflects|ensures|allows|underlines)\b",
    # German: before the text
    rf"^\W*(?:(?:klar|gerne?|natürlich|okay|selbstverständlich|sicher|alles klar|super)\W+)*(?:hier(?: (?:ist|sind|kommt|kommen|folgt|hast du|findest du))|im folgenden|es folgt|nachfolgend|das ist|dies ist) (?:[\wäöüß'-]+ ){{0,4}}?{_TEXT_DE}e?n?\b",
    rf"\bhier (?:ist|sind|kommt|folgt) (?:die|der|das|deine?|meine?|eine?) (?:[\w-]+ )?{_TEXT_DE}\b",
    r"^\W*(?:klar|gerne?|natürlich|selbstverständlich|sicher|okay|alles klar|mit vergnügen|super idee|tolle idee|verstanden|aber gerne?)\s*[,!.:–—-]",
    # German: the writer
    rf"\bich (?:werde|habe|würde|möchte|will|kann|versuche|wollte)\b[^.!?]{{0,90}}?\b{_WRITE_DE}\b",
    r"\bich (?:werde|würde|möchte)\b[^.!?]{0,60}\b(?:zeigen|darstellen|malen)\b",
    r"\bich (?:beschreibe|übertrage|verwandle|schreibe|formuliere|setze .{1,40} um|zeige|stelle .{1,40} dar|übersetze|interpretiere|passe)\b",
    r"\b(?:ich hoffe,|hoffe,? (?:das|dir)|lass(?:e|t)? (?:es )?mich wissen|sag(?: mir)? (?:gern |einfach )?bescheid|möchtest du,? dass ich|soll ich|wenn du (?:möchtest|willst|magst),? (?:kann|passe|schreibe|ändere) ich|gib mir bescheid)\b",
    r"\bwie (?:gewünscht|verlangt|gefordert|gebeten|von dir gewünscht|angegeben)\b|\bauf deinen wunsch\b",
    r"\bals (?:ki\b|künstliche intelligenz|sprachmodell|assistent|ki-\w+)|\bich bin eine? (?:ki\b|künstliche|sprachmodell|ki-)",
    # German: the text about itself
    rf"\bdiese[rsm]? (?:{_TEXT_DE}|darstellung|komposition|beschreibung|inszenierung) (?:\w+ )?(?:zeigt|beschreibt|stellt|ist|verdeutlicht|betont|veranschaulicht|unterstreicht|spiegelt|macht|lädt|vermittelt|illustriert|fängt|folgt|thematisiert|verbindet|symbolisiert)\b",
    rf"(?:^|[.!?] )(?:das|die|der|dieses|in dieser|in diesem|auf dem|auf diesem) (?:{_TEXT_DE}|foto) (?:zeigt|beschreibt|stellt|verdeutlicht|sehen wir|sieht man|wird)\b",
    r"\bdas bild zeigt\b",
    r"\bwird (?:\w+ )?ausgeführt als\b|\bwird (?:hier |nun )?(?:dargestellt|interpretiert|umgesetzt|übersetzt) als\b",
    r"\b(?:der|dein|deine[nm]|diese[rnm]?|de[nm]|ursprüngliche[rn]?) prompt\b",
    r"\b(?:die|deine) (?:anweisung|eingabe|vorgabe)(?:en)?\b",
    r"\b(?:gemäß|laut|entsprechend|nach|getreu|unter berücksichtigung) (?:den|der|dem|deinen|allen) (?:\w+ )?(?:vorgaben?|regeln?|kontexte?s?|anweisung(?:en)?|richtlinien|aufgabe|prompts?|eingabe)\b|\bdem kontext entsprechend\b|\bim sinne des kontext",
    r"\b(?:umgeschriebene|überarbeitete|verwandelte|angepasste|transformierte) (?:fassung|version|beschreibung|szene|text)\b",
    r"(?:^|[.!?)] )\(?(?:hinweis|anmerkung|erklärung|erläuterung|kommentar|notiz|bemerkung|übersetzung)\s*:",
    r"\bum die (?:regel|regeln|vorgabe|vorgaben|aufgabe|anweisung)\b.{0,20}\b(?:einzuhalten|zu erfüllen|zu befolgen|umzusetzen)",
    # German: a lecture
    r"\b(?:ist|sind|war|waren) eine? (?:\w+ )?(?:technik|methode|verfahren|stilrichtung|kunstform|handwerk|bewegung),? (?:bei|in|mit|durch|das|die|der)\b",
    r"\bwurden? (?:im jahre? |um |erstmals |in den |im )?(?:\d{3,4}|\d\d\. jahrhundert|\w+ jahrhundert)\b[^.!?]{0,40}\b(?:gegründet|erfunden|entwickelt|eingeführt|bekannt|begründet)",
    r"\b(?:erinnert|lehrt|zeigt|lädt) uns\b|\bwir (?:lernen|erkennen|verstehen|sehen hier),? (?:dass|wie|daraus)\b|\b(?:der|die) betrachter(?:in)? (?:wird|sieht|kann|soll|fühlt|erkennt|versteht)\b",
    r"\bdiese (?:technik|methode|wahl|szene|gegenüberstellung) (?:symbolisiert|steht für|verdeutlicht|betont|unterstreicht|spiegelt|repräsentiert)\b",
)

_REFUSAL = compiled(
    r"\b(?:as|i am|i'm|being) (?:only |just )?an? (?:ai\b|artificial|language model|large language|assistant\b)",
    r"^\W*(?:i(?:'m| am) (?:\w+ )?(?:sorry|afraid)|sorry\b|my apologies|apologies|i (?:do )?apologi[sz]e|unfortunately,? (?:i|we|this|that|it)\b|regrettably)",
    r"\bi(?:'m| am) (?:really |very |so )?sorry\b,? (?:but|i|that|to)\b|\bi(?:'m| am) afraid (?:i|that|this)\b",
    r"\bi(?:'m| am) (?:unable|not (?:able|allowed|permitted|comfortable|in a position))\b|\b(?:something|a scene|a text|anything) (?:that )?i(?:'m| am) (?:not )?able to\b",
    r"\bi (?:can ?not|can't|can not|won't|will not|couldn't|could not|must not|may not|am not going to)(?: \w+ly)? (?:help|assist|create|write|generate|provide|fulfil+|comply|do (?:that|this|so)|continue|show|depict|describe|produce|answer|support|engage|portray|make|go|respond|discuss|offer|complete|put|rewrite|transform|carry|honou?r|participate|draw|paint|process|share|turn)\b",
    r"\b(?:isn't|is not|not) (?:something|a (?:scene|text|request|topic|picture|thing)) (?:that )?i (?:can|could|want|would|am|'m)\b",
    r"\bi(?:'d| would) (?:rather|prefer) not\b|\bi prefer not to\b|\bi (?:must|have to|need to|will have to) (?:\w+ly )?(?:decline|refuse|refrain|pass|turn (?:this|that|it) down)\b|\bi(?:'ll| will) (?:have to )?(?:decline|pass on)\b|\bi (?:respectfully |politely )?(?:decline|refuse) to\b",
    r"\b(?:against|violat\w+|conflicts? with|outside|beyond|breach\w*) (?:of )?(?:my|our|the) (?:\w+ )?(?:guidelines?|polic(?:y|ies)|principles|rules of use|programming|scope)\b|\bcontent polic(?:y|ies)\b",
    r"\b(?:not|in)appropriate (?:for me|request|content)\b|\bthis (?:request|prompt|content|topic) (?:is|seems|appears|may be|goes|contains|involves|asks|can't|cannot|isn't|would)\b|\byour request (?:can't|cannot|could not|goes|violates|is)\b",
    r"\b(?:it is|it's) not possible for me\b|\bnot able to (?:help|assist|fulfil+|write|create|do that)\b|\b(?:happy|glad) to (?:help|assist|try|write)\b.{0,40}\b(?:different|else|another|other|instead)\b|\bperhaps (?:we|you) (?:could|can|have)\b.{0,40}\b(?:another|different|else|friendlier|other)\b|\bplease (?:try|choose|rephrase|ask|provide|give me) \b",
    r"\b(?:als|ich bin|nur) (?:eine? )?(?:ki\b|künstliche intelligenz|ki-\w+|sprachmodell|assistent\b)",
    r"^\W*(?:(?:das |es )?tut mir (?:sehr |wirklich |furchtbar )?leid|entschuldig(?:e|ung|en sie)\b|verzeih(?:ung)?\b|sorry\b|ich bitte um (?:entschuldigung|verständnis|verzeihung)|leider (?:kann|darf|muss|ist|geht|möchte|bin|konnte|sind)|bedauerlicherweise)",
    r"\btut mir (?:sehr |wirklich )?leid,? (?:aber|ich|dass|das|da)\b",
    r"\b(?:ich|mir|wir) (?:kann|darf|könnte|können|konnte)\b[^.!?]{0,60}\b(?:nicht|keine?[nrms]?|leider)\b[^.!?]{0,60}\b(?:helfen|behilflich|schreiben|erstellen|beschreiben|zeigen|darstellen|nachkommen|erfüllen|umsetzen|entsprechen|antworten|unterstützen|malen|weiterhelfen|anbieten|erzählen|bearbeiten|liefern|dienen|machen)\b",
    r"\b(?:kann|darf|könnte|möchte|will|werde) ich\b[^.!?]{0,50}\b(?:nicht|keine?[nrms]?)\b[^.!?]{0,50}\b(?:helfen|behilflich|schreiben|erstellen|beschreiben|zeigen|darstellen|nachkommen|erfüllen|umsetzen|entsprechen|antworten|unterstützen|malen|weiterhelfen|bearbeiten|liefern|dienen|machen)\b",
    r"\bich (?:darf|kann|möchte|will|werde)\b[^.!?]{0,40}\b(?:lieber )?nicht\b[^.!?]{0,20}\b(?:zeigen|schreiben|helfen|beschreiben|erstellen|erfüllen|darstellen|malen|umsetzen|backt)\b",
    r"\bich kann (?:leider\b|(?:das|dir|dabei|diese\w*)\b.{0,40}\bnicht\b)",
    r"\b(?:ich (?:muss|möchte|werde) [^.!?]{0,100}(?:ablehnen|absehen|verzichten|passen)|muss ich .{0,30}(?:ablehnen|absehen|verzichten|passen|enttäuschen)|ich lehne .{0,40}\bab\b)",
    r"\b(?:gegen|mit|außerhalb) (?:meine[rn]?|unsere[rn]?|die|den) (?:\w+ )?(?:richtlinien|grundsätze\w*|nutzungsbedingungen|prinzipien|inhaltsrichtlinien)\b",
    r"\b(?:mir|für mich) (?:ist es |es )?(?:leider )?nicht (?:möglich|erlaubt|gestattet)\b|\bist es mir (?:leider )?nicht (?:möglich|erlaubt|gestattet)\b|\bich bin (?:leider )?nicht (?:in der lage|befugt|berechtigt)\b",
    r"\b(?:gerne?|stattdessen) (?:helfe|schreibe|kann|könnte|unterstütze) ich\b|\bich (?:helfe|schreibe|unterstütze) (?:dir |dich )?(?:aber )?gerne?\b|\bvielleicht (?:hast du|möchtest du|magst du|fällt dir)\b.{0,40}\b(?:andere|idee|etwas)\b|\b(?:diese|deine) (?:anfrage|bitte) (?:ist|verstößt|kann|enthält|verletzt)\b|\bbitte (?:formuliere|wähle|stelle|gib mir|versuche es)\b",
)


def meta(text: str, typed: str) -> str | None:
    """The words that speak of the text, the task or the writer; what figures say does not count."""
    return found(_META, without_speech(text), typed)


def refusal(text: str, typed: str) -> str | None:
    return found(_REFUSAL, without_speech(text), typed)


_END = re.compile(r"[.!?…。！？؟۔।][\"'”“»«’‘)\]*_]*$")
_DANGLING = re.compile(
    r"\b(?:the|a|and|or|but|of the|with an?|und|oder|sowie|eine?[nmrs]?|des|dem|den|weil|dass|because|into the|whose|dessen|deren)\s*(?:\.{1,3}|…)[\"'”“»«’)]*$"
    r"|\b(?:in|on|at|with|to|from|mit|von|zu|bei|für|im|am|zum|zur|vom|his|her|its|their|ihre?[nmrs]?|seine?[nmrs]?)\s*(?:\.{2,3}|…)[\"'”“»«’)]*$"
    r"|(?:\[|\()\s*(?:\.\.\.|…|continued|to be continued|truncated|cut off|fortsetzung(?: folgt)?|abgeschnitten|gekürzt)\s*(?:\]|\))?\W*$",
    re.IGNORECASE,
)


def truncated(text: str) -> bool:
    """It ends without a sentence's end, on a word that calls for another, or inside brackets."""
    bare = re.sub(
        r"(?:</\w+>|[\"\s\]}]|[^\w\s.!?…\"'”“»«’‘)*_\]])+$", "", text
    )  # behind the end: tags, brackets of JSON, emoji
    return not _END.search(bare) or bool(_DANGLING.search(bare)) or bare.count("(") > bare.count(")")
