"""K4 and refusals: talk about the text, the task or the writer instead of the text itself. English and German."""

from __future__ import annotations

import re

from goldsmith.gates import form
from goldsmith.gates.phrases import compiled, found, without_speech

_TEXT_EN = r"(?:\w+[- ])?(?:descriptions?|version|text|prompt|paragraph|scene|image|picture|rewrite|rewriting|rendition|transformation|result|response|answer|idea|take|interpretation|attempt|output|adaptation|passage|draft)"
_TEXT_DE = r"(?:[\w-]+)?(?:beschreibung|fassung|version|text|prompt|absatz|szene|bild|umschreibung|umsetzung|verwandlung|ergebnis|antwort|idee|interpretation|vorschlag|versuch|übertragung|variante|bildbeschreibung|entwurf|ausgabe)"
_WRITE_EN = r"(?:rewrit\w+|rewrote|transform\w*|translat\w*|adapt\w*|appl(?:y|ied)|describ\w*|depict\w*|rephras\w*|convert\w*|reinterpret\w*|reimagin\w*|render\w*|creat\w+|craft\w*|writ(?:e|ten|ing)|wrote|produc\w+|generat\w+|aim\w*|tried|focus\w*|chose|incorporat\w*|kept|turn\w*|highlight\w*|emphasi[sz]\w*|present|provide)"
_WRITE_DE = r"(?:umgeschrieben|umschreiben|übertragen|verwandel[tn]|übersetzt|übersetzen|angepasst|anpassen|angewendet|anwenden|beschreiben|beschrieben|umsetzen|umgesetzt|umformulier\w+|formulier\w+|gestaltet|verfasst|verfassen|erstellt|erstellen|berücksichtigt|eingehalten|darstellen|dargestellt|bemüht|versucht|geschrieben|geachtet|interpretiert|zusammengefasst|konzentriert|fokussiert|orientiert|gehalten|entschieden|weggelassen|hinzugefügt|betont|vermieden|gedacht an|ersetzt|befolgt)"

_META = compiled(
    # the task and how it was done, in both
    r"\b(?:falls|wenn|sofern) (?:du|ihr|sie) (?:\w+ )?(?:magst|willst|möchtest?|wollt|mögt|möchten|wünschst|brauchst)\b[^.!?]*\bich\b|\bif you(?:'d)? (?:\w+ )?(?:like|want|wish|prefer|need)\b[^.!?]*\bi\b|\bi (?:would|'d|could|can|might) (?:also )?(?:suggest|recommend|propose|offer|add)\b|\bich (?:würde|könnte|kann) (?:\w+ ){0,5}?(?:vorschlagen|empfehlen|anbieten|hinzufügen|ergänzen)\b",
    r"\bthe (?:child|kid|pupil|student|prompt(?:er)?|request) (?:\w+ )?(?:asked|asks|wanted|wants|wished|typed|wrote|requested)(?: for| me| to)?\b|\bdas kind (?:\w+ )?(?:wollte|wünscht\w*|hat (?:sich )?(?:gewünscht|gebeten)|bat|schrieb|tippte)\b",
    rf"\bdiese[rsm]? (?:{_TEXT_DE}) (?:soll|will|möchte|kann|darf|könnte)\b|\b(?:this|the) {_TEXT_EN} (?:should|is meant to|is supposed to|wants to|aims to|is intended to|can) (?:show|teach|tell|remind|make|help|inspire|encourage)\b",
    r"(?:^|[.!?] )(?:so,? |well,? |and |und )?(?:that should (?:do|be) (?:it|enough)|that'?s (?:it|all|a wrap)|that is (?:it|all)|das war'?s|das wär'?s|das sollte (?:reichen|passen|genügen))\b|\bend of (?:the )?(?:text|description|scene|answer|story)\b|\bende (?:des textes|der beschreibung|der szene|der antwort)\b",
    r"\b(?:thanks|thank you|danke|vielen dank|merci) (?:\w+ )?(?:for|für) (?:\w+ ){0,4}?(?:prompt|task|idea|input|request|question|challenge|aufgabe|idee|eingabe|anfrage|frage|vorgabe|vorlage)\b",
    r"^\W*(?:happy to|glad to|mach ich|mache ich|wird gemacht|kommt sofort|my (?:attempt|try|go|take|suggestion|proposal|version)|mein(?:e)? (?:versuch|vorschlag|idee|fassung|version|variante|lösung)|what follows|was folgt|im folgenden|as per|deinem wunsch|ihrem wunsch|passend zu[rm]? (?:thema|aufgabe|kontext|vorgabe|prompt|eingabe)|the (?:assignment|task|prompt|request|input) (?:was|is|asks?|says|said|calls)|die (?:aufgabe|vorgabe|eingabe|anfrage) (?:war|ist|lautet\w*|verlangt\w*)|der (?:prompt|wunsch|auftrag) (?:war|ist|lautet\w*|verlangt\w*))\b",
    r"\b(?:we|wir|let me|lass mich) (?:begin|start|open|end|beginnen|starten|enden|schließen)(?: \w+)? (?:our|the|this|my|unsere?|die|diese|meine|mit (?:unserer|der|einer)) (?:\w+ )?(?:description|scene|text|picture|beschreibung|szene|text|bild)\b",
    r"\bi (?:kept|wanted|meant|intended|aimed|hoped|held|let|left|wished) (?:it|this|that|the|my|each|every|all|to) (?:[\w-]+ ){0,4}?(?:short|simple|plain|quiet|calm|open|long|mood|tone|sentences?|words?|colou?rs?|style|text|description|scene|rhythm|feeling|atmosphere)\b|\bich (?:wollte|habe|hielt|ließ|habe mich)(?: [\wäöüß-]+){0,5} (?:stimmung|ton|sätze|wörter|farben|stil|text|beschreibung|szene|rhythmus|atmosphäre)\b|\b(?:stimmung|ton|sätze|wörter|farben|beschreibung|szene|text|rhythmus) (?:habe|hielt|ließ|wollte) ich\b",
    r"\b(?:you can|you may|you could|feel free to|du kannst|sie können|ihr könnt|du darfst)(?: \w+){0,4}? (?:change|adjust|edit|modify|extend|swap|replace|tweak|ändern|anpassen|ergänzen|austauschen|kürzen|erweitern|bearbeiten|variieren)\b|\b(?:should it|if it should|if you want it|falls (?:es|du|der text|das|dir)|wenn (?:es|der text|das|dir))\b[^.!?]{0,50}\b(?:longer|shorter|different|more|less|changed|länger\w*|kürzer\w*|anders|mehr|weniger|ändern|angepasst|melde? dich|say so|just ask|tell me|sag\w* (?:es|bescheid|mir))\b|\b(?:tell me|sag mir|schreib mir),? (?:what|how|if|ob|was|wie) (?:\w+ ){0,5}(?:think|like|hältst|denkst|findest|gefällt)\b",
    r"\b(?:die|alle|sämtliche) (?:vorgaben|regeln|anweisungen|bedingungen|kriterien|anforderungen) (?:\w+ )?(?:wurden|sind|werden|habe)\b|\b(?:all|the) (?:rules|requirements|instructions|criteria|constraints|guidelines) (?:\w+ )?(?:were|are|have been|was)\b|\b(?:rules?|limits?|words?|context|task|style) (?:that )?you (?:gave|asked|set|wanted|named|provided|mentioned)\b|\b(?:regeln|vorgaben|wörter|aufgabe),? (?:die )?du (?:\w+ )?(?:genannt|gegeben|gewünscht|wolltest|vorgegeben)\b",
    r"(?:^|[.!?] )(?:sources?|quellen?|stand|hint|tip|tipp|edit|update|fun fact|wusstest du schon|zur info|fyi|info)\s*:|\b(?:training data|trainingsdaten|my knowledge|mein wissensstand)\b",
    r"\b(?:und|was) (?:das )?(?:zeigt|lehrt|beweist|bedeutet),? (?:uns,? )?dass\b|\b(?:and|which) (?:this |that )?(?:shows|teaches|proves|means|tells) (?:us )?(?:that|how)\b",
    # both
    r"^\W*(?:done|fertig|et voilà|voilà|there you go|bitte ?schön|bitte sehr|tada+|ta-da)\b\s*[,!.:–—]",
    r"\b(?:hopefully|hoffentlich) (?:this|that|it|das|dies|es|gefällt|trifft|passt|entspricht|dir)\b",
    r"\b(?:your|deine?) [\w-]+,? (?:reimagined|retold|reinterpreted|rewritten|transformed|neu (?:gedacht|erzählt|interpretiert)|verwandelt|umgeschrieben|übersetzt|umgedeutet)\b",
    r"^\W*i (?:present|give you|offer you|bring you)\b|^\W*ich (?:präsentiere|biete dir|stelle dir)\b",
    r"\bto (?:honou?r|respect|do justice to|reflect|match|fit|suit) the (?:[\w'-]+ ){0,3}?(?:theme|context|rules?|prompt|task|perspective|instructions?)\b|\bgerecht zu werden\b",
    r"\b(?:is|are) (?:described|depicted|portrayed|interpreted|reimagined|rendered|presented) (?:in terms of|as|through|here)\b|\bwird (?:\w+ )?als [^.!?]{1,40} (?:beschrieben|dargestellt|gedeutet|interpretiert)\b",
    r"\bwhich (?:reflects|symboli[sz]es|highlights|emphasi[sz]es|underscores|shows (?:that|how))\b|,? reflecting the (?:importance|significance|cultural|tradition|spirit)|\bwas (?:die|das|den) [^.!?]{1,60} (?:widerspiegelt|verdeutlicht|unterstreicht|symbolisiert|betont)\b",
    r"\bthe context\b|\b(?:des|dem|den|im|laut) kontext(?:e?s)?\b",
    r"\b(?:i|ich)\b[^.!?]{0,40}\b(?:\d+|fifty|hundred|fünfzig|hundert) (?:words|wörtern?|sätze[n]?|sentences)\b",
    # English: before the text
    rf"^\W*(?:(?:sure|okay|ok|alright|of course|certainly|absolutely|great|gladly)\W+)?(?:here(?:'s| is| are| you go| comes?)|below is|this is) (?:the |your |a |an |my |one |some )?(?:[\w'-]+ ){{0,4}}?{_TEXT_EN}\b",
    rf"\bhere(?:'s| is| are) (?:your|my) (?:[\w'-]+ ){{0,3}}?{_TEXT_EN}\b",
    r"\bhere(?:'s| is| are) (?:the|your|a|my) (?:\w+ )?(?:description|version|text|prompt|paragraph|rewrite|result|answer|transformation)s?\b",
    r"^\W*(?:sure|certainly|absolutely|of course|gladly|with pleasure|(?:what a )?(?:great|nice|lovely|fun|interesting|cool) (?:idea|prompt|question|request)|happy to help|okay|alright|got it|understood)(?:\s*[,!.:–—]|\s+-\s)",
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
    r"\b(?:the|your|this|original|great|nice) (?:prompt|user(?:'s)? (?:input|prompt|request|idea|wish))\b|\b(?:your|these|given|original) instructions?\b|\bthe (?:user|prompter|requester) (?:\w+ )?(?:wants?|wanted|ask\w*|wish\w*|would|has|had|is|was|needs?|needed|request\w*|said|says|typed|wrote|mention\w*|describ\w*|prefer\w*|specif\w*|likes?)\b|\b(?:der|die|dem) (?:user(?:in)?|nutzer(?:in)?|benutzer(?:in)?|anfragende|auftraggeber(?:in)?) (?:\w+ )?(?:will|wollte|möchte|wünscht\w*|fragt\w*|hat|sagt\w*|schrieb|schreibt|verlangt\w*|bat|braucht\w*)\b|\bas your (?:assistant|ai|writer|guide)\b",
    r"\b(?:this|the following|the above|in this|in my) (?:version|description|paragraph|text|rendition|interpretation|reinterpretation|rewrite|rewriting|passage|response|draft|reading|adaptation|retelling|transformation)\b",
    r"\b(?:invit(?:es|ing)|encourag(?:es|ing)|ask(?:s|ing)|challeng(?:es|ing)) (?:the viewer|viewers|the reader|readers|us|the observer|the audience|you) to\b|\bsymboli[sz](?:es|ing) (?:the|a|an|our|human|how|freedom|hope|loss|time|memory|unity)\b|\bserves as a (?:metaphor|symbol|reminder)\b",
    r"\b(?:let's|let us|let me) (?:\w+ )?(?:transform|turn|rewrite|describe|translate|reimagine|imagine|apply|convert|see how)\b|\b(?:transform|turn|rewrite|translate)(?:s|ing|ed)? (?:this|your|the) (?:idea|prompt|input|request)\b",
    r"\bi(?:'ve| have)? (?:focus+ed|concentrated|left out|omitted|added|avoided|made sure|emphasi[sz]ed|decided|included|replaced|removed|imagined)\b (?:on|out|that|to|the|any|its|a|an|it)\b",
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
    r"\bi (?:chose|picked|used|kept|gave|made|set|added|placed|put|selected|opted for|went (?:for|with)|decided on)\b[^.!?]{0,60}\b(?:because|so that|since|in order to|to (?:match|fit|reflect|keep|show|evoke|convey|suggest))\b|\bich (?:habe|wählte|wähle|nutzte|setzte)\b[^.!?]{0,60}\b(?:gewählt|genommen|gesetzt|eingebaut|ergänzt|verwendet|eingesetzt)?,? (?:weil|damit|da|um)\b[^.!?]{0,60}\b(?:passt|passen|wirkt|zeigen|betonen|entspricht|langsam|schnell|sind|ist)\b",
    r"\b(?:i hope|hope) (?:you|this|that|it|the \w+ (?:fits|works|matches))\b|\bich hoffe,? (?:dass )?[^.!?]{0,40}\b(?:gefällt|passt|trifft|entspricht|hilft|freut|weiter)\w*",
    r"\b(?:in|aus|laut|nach|gemäß) (?:der|deiner|dem|deinem|diesem|dieser) (?:eingabe|prompt|input|vorgabe|anfrage|aufgabenstellung)\b|\b(?:in|from|per|by) (?:the|your|this) (?:input|prompt|request)\b",
    r"^\W*(?:sure thing|na klar|aber klar|klar doch|na gut|you got it|no problem|kein problem|los geht'?s|here we go|let's go|all right|okay|ok|absolutely|aber gerne?|sehr gerne?)\b\s*[!,.:–—-]",
    r"\b(?:this|that|it|which|all of it|the (?:result|scene|image|text|whole)) (?:\w+ )?(?:captures|conveys|embodies|illustrates|demonstrates|highlights|underlines|emphasi[sz]es|underscores|celebrates) (?:the|how|an?|that|both|our|perfectly)\b|\b(?:spirit|essence|beauty|soul) of (?:the )?\w+ (?:well|perfectly|beautifully)\b",
    r"\b(?:das|dies|was|damit|dadurch|all das) (?:\w+ )?(?:fängt|vermittelt|spiegelt|zeigt,? (?:wie|dass)|verdeutlicht|veranschaulicht|verkörpert|unterstreicht|betont|illustriert|macht deutlich)\b|\b(?:geist|essenz|wesen|charakter|seele) (?:des|der|von) [\w -]{2,40}? (?:gut |perfekt |wunderbar )?(?:ein|wider)\b[.!]",
    r"^\W*(?:\w+ed|seen|told|made|drawn) (?:through|into|by|via|with|in) the (?:lens|medium|language|means|terms|logic|perspective|tradition|craft|vocabulary|rules) of\b|^\W*(?:umgesetzt|übersetzt|gesehen|betrachtet|erzählt|verwandelt|übertragen|dargestellt|interpretiert) (?:mit|durch|in|aus|nach) (?:den|die|der|dem|das) (?:\w+ )?(?:mitteln?|brille|linse|sprache|perspektive|sicht|logik|augen|blick|handwerk|regeln|tradition)\b",
    r"(?:^|[.!?] )(?:sei|seid|bleib|bleibt) (?:immer |stets |auch )?(?:nett|freundlich|lieb|vorsichtig|tolerant|achtsam|hilfsbereit|ehrlich)\b|(?:^|[.!?] )(?:and |so )?(?:always )?be (?:kind|nice|careful|respectful|yourself|helpful|honest)\b",
    r"\b(?:der|die|den|dem|jede[rn]?) (?:betrachter\w*|leser\w*) (?:\w+ )?(?:fragt|fragen|wird|werden|sieht|sehen|kann|können|soll|fühlt|spürt|denkt|staunt|erlebt|taucht|ahnt|bleibt|entdeckt)\b|\b(?:the|any|every) (?:viewer|reader|listener|observer|beholder)s? (?:is|are|sees?|feels?|can|may|might|wonders?|gets?|hears?|will|notices?|senses?|discovers?|imagines?)\b",
    r"\b(?:is|are|was|were) an? (?:[\w-]+ ){0,3}(?:technique|method|process|printing process|art form|tradition|craft|genre|practice) (?:that|which|in which|where|by which|whereby|of|from|originat\w+|developed|invented|dating|known)\b|\b(?:ist|sind|war|waren) eine? (?:[\w-]+ ){0,3}[\w-]*(?:technik|verfahren|methode|kunstform|handwerk|musikrichtung|stilrichtung|tradition|gattung|praxis),? (?:das|die|der|bei|in|mit|aus|welche[rs]?|bekannt)\b",
    # a moral, a lesson, a summary, a count of the words
    r"(?:^|[.!?] )(?:(?:so |and |always |please )?(?:remember|keep in mind|never forget|don't forget|do not forget|note|bear in mind)(?: to| that|,|:)|(?:the |its )?(?:moral|lesson|message|takeaway|point)(?: of (?:the|this) \w+| here)?(?: is|:)|(?:we|you|everyone|everybody|children|kids|people) (?:should|must|ought to|need to)(?: all)? (?:always|never|all|learn|remember|respect|take care|be kind|treat|protect)\b|it(?:'s| is) (?:so |very |always )?(?:important|essential|vital|crucial) (?:to|that|for)\b|(?:fun fact|did you know|in conclusion|in summary|to sum up|in short|overall,|all in all|in other words|as (?:we|you) can see|enjoy!))",
    r"(?:^|[.!?] )(?:(?:also |und |bitte )?(?:denkt?|denken sie) (?:immer |stets )?daran|(?:und )?vergiss (?:nie|nicht)|vergesst nicht|merke?(?: dir| euch)?[,:]|(?:die )?moral (?:von|der|dieser|aus)|(?:die )?(?:botschaft|lehre|lektion)(?: \w+){0,3}? (?:ist|lautet)|man (?:sollte|muss|darf) (?:doch |also |ja )?(?:immer|nie|niemals|stets|alle)|(?:wir|alle|jeder|kinder) (?:sollten?|müssen|muss) (?:alle |doch |immer |nie )*(?:lernen|achten|respektieren|schützen|immer|nie|aufpassen)|(?:es ist |dabei ist es )(?:so |sehr |immer )?wichtig, (?:dass|zu|sich|den|die|das)|wusstest du|zusammenfassend|zusammengefasst|kurz gesagt|insgesamt (?:entsteht|zeigt|ergibt|vermittelt)|alles in allem|mit anderen worten|wie (?:man|wir) sehen? (?:kann|können)?|viel (?:spaß|freude) (?:damit|mit|beim))",
    r"[\[(] ?(?:word count|wortzahl|wortanzahl|länge|length)?:? ?\d+ (?:words|wörter|worte|zeichen|characters)\b|\b(?:word count|wortzahl|wortanzahl)\b",
    r"\b(?:this|in this|in diesem|dieses) (?:artwork|piece|composition|work|kunstwerk|werk|musikstück|klangbild)\b,? (?:\w+ )?(?:shows|depicts|captures|explores|celebrates|features|brings|tells|combines|aims|we|you|uses|zeigt|vereint|erzählt|feiert|soll|verbindet|fängt|wird|nutzt|sieht|sehen|trifft|begegnen)\b",
    # German: before the text
    rf"^\W*(?:(?:klar|gerne?|natürlich|okay|selbstverständlich|sicher|alles klar|super)\W+)*(?:hier(?: (?:ist|sind|kommt|kommen|folgt|hast du|findest du|nun|also))?|im folgenden|es folgt|nachfolgend|das ist|dies ist) (?:[\wäöüß'-]+ ){{0,4}}?{_TEXT_DE}e?n?\b",
    rf"\bhier (?:ist|sind|kommt|folgt) (?:die|der|das|deine?|meine?|eine?) (?:[\w-]+ )?{_TEXT_DE}\b",
    r"^\W*(?:klar|gerne?|natürlich|selbstverständlich|sicher|okay|alles klar|mit vergnügen|(?:super|tolle[rs]?|schöne[rs]?|gute[rs]?|spannende[rs]?|interessante[rs]?) (?:idee|prompt|frage|eingabe|vorschlag|aufgabe)|verstanden|aber gerne?)(?:\s*[,!.:–—]|\s+-\s)",
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
    r"\b(?:diese[rsmn]?|(?:das|der|die|den|dem) (?:folgende|obige|vorliegende)[nr]?|in meiner) (?:fassung|beschreibung|version|text|absatz|umsetzung|interpretation|bildbeschreibung|variante|übertragung|umschreibung|lesart|entwurf|antwort|ergebnis|deutung)\b|\b(?:das|im) folgenden? bild\b",
    r"\b(?:der|die|eine?) (?:nutzer|nutzerin|benutzer|benutzerin|user) (?:möchte|will|wünscht|fragt|hat|bittet|verlangt|soll)\b|\bals dein(?:e)? (?:assistent|assistentin|ki|helfer)\b",
    r"\b(?:lädt|laden|regt|fordert|bringt) (?:den betrachter|die betrachter|betrachter|den leser|die leser|uns|dich|zum nachdenken)\b|\bsymbolisier(?:t|en|end)\b|\b(?:ist|wird zu[mr]?|dient als) (?:ein(?:em|er)? )?(?:metapher|symbol|sinnbild)\b",
    r"\blass(?:t)? uns\b[^.!?]{0,50}\b(?:verwandeln|umsetzen|übertragen|übersetzen|beschreiben|umschreiben|vorstellen)\b",
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
    r"\b(?:ich|kann|werde|möchte|darf|will)\b[^.!?]{0,60}\bkeine?n? (?:\w+ )?[\w-]*(?:text|beschreibung|szene|bild|geschichte|antwort|lied|inhalt|motiv|ausgabe|vorschlag|fassung)\w* (?:\w+ ){0,2}?(?:verfassen|anfertigen|liefern|schreiben|erstellen|machen|ausgeben|geben|erzeugen|anbieten|produzieren|gestalten|formulieren|bereitstellen|beitragen|dazu|hierzu)\b",
    r"\b(?:i|we) (?:do not|don't|did not|didn't|cannot|can't) (?:really |quite )?(?:understand|make sense of|recogni[sz]e|know what) (?:\w+ ){0,3}?(?:input|prompt|request|message|you|word|text|mean\w*)\b|\b(?:verstehe?|erkenne|kenne) (?:ich )?(?:die|deine|diese|den|diesen) (?:eingabe|anfrage|nachricht|prompt|text|wunsch) (?:leider )?nicht\b|\bkann ich (?:nichts|leider nichts) (?:damit )?anfangen\b|\b(?:makes no sense to me|ergibt für mich keinen sinn)\b",
    r"\b(?:please |best |you should )?(?:talk|speak|turn|reach out) (?:about (?:this|that|it) )?(?:to|with) (?:an? |your )?(?:\w+ )?(?:trusted adult|adult|teacher|parents?|grown-?up|someone you trust|counsell?or)\b|\b(?:sprich|rede|wende dich|sprecht|redet)\b[^.!?]{0,30}\b(?:mit|an) (?:\w+ )?(?:lehrkraft|lehrer\w*|erwachsenen?|eltern|vertrauensperson|jemandem)\b",
    r"\b(?:leave|leaving) (?:this|that|it)(?: one)? (?:blank|empty|out|undone|unwritten|alone|there)\b(?=\W*$)|\bmy answer (?:\w+ ){0,3}?(?:is|remains|has to be|must be) no\b|\bmeine antwort (?:\w+ )?(?:ist|lautet|bleibt)[: ]+nein\b|\bantworte ich mit nein\b",
    r"\b(?:crosses|cross|crossed|over) (?:a|the|my) line\b|\b(?:draw|drawing) (?:the|a) line\b(?=[^.!?]{0,20}[.!?]?$)|\b(?:ziehe|ist) (?:ich )?(?:hier )?(?:die|eine|meine) grenze\b|\b(?:finger|hände) (?:davon|weg)\b|\bdavon lasse? ich\b|\blass(?:e|en)? (?:ich|wir) (?:die|lieber die) finger\b",
    r"\b(?:against|contrary to) (?:what i (?:stand|believe)|everything i|my (?:values|beliefs|nature|purpose|rules))\b|\b(?:gegen|widerspricht) (?:das,? wofür ich|meine\w* (?:werte\w*|überzeugung\w*|aufgabe))\b",
    r"\b(?:i'd|i had|we'd) better not\b|\bi(?:'ve| have| was| am|'m) (?:been )?(?:asked|told|instructed|made|built|trained|designed|programmed|set up) (?:not|never) to\b|\bich (?:wurde|bin|soll) (?:\w+ )?(?:angewiesen|gebeten|trainiert|programmiert|so gebaut)[^.!?]{0,60}\b(?:nicht|keine?)\b",
    r"\bwe (?:can ?not|can't|won't|will not|do not|don't|are unable to|are not able to) (?:\w+ly )?(?:help|assist|create|write|generate|provide|produce|show|depict|describe|offer|support|fulfil+|process)\b|\bwir (?:können|dürfen|werden)\b[^.!?]{0,50}\b(?:nicht|keine?[nrms]?|leider)\b[^.!?]{0,50}\b(?:schreiben|erstellen|beschreiben|zeigen|anbieten|helfen|liefern|umsetzen|erzeugen|darstellen)\b",
    r"\bthere(?:'s| is) no way (?:that )?i\b|\b(?:no|not any) (?:\w+ )?(?:description|text|scene|answer|content|output|picture|story)s? (?:is|are|was|were|can be|will be|has been) (?:\w+ )?(?:provided|given|produced|written|returned|generated|available|offered|possible)\b|\b(?:wird|werden|gibt es|erfolgt) (?:\w+ ){0,3}?keine?n? (?:\w+ )?(?:beschreibung|text|szene|antwort|ausgabe|inhalt\w*|bild|geschichte)\b(?=[^.!?]*[.!?]?$)(?:[^.!?]{0,10}\b(?:ausgegeben|erstellt|geschrieben|geliefert|erzeugt)\b)?",
    r"\b(?:due to|because of|for|aus|wegen) (?:\w+ )?(?:safety|policy|security|content|sicherheits\w*|jugendschutz\w*|inhalts\w*) ?(?:concerns|reasons|rules|restrictions|policy|policies|gründen)?\b[^.!?]{0,60}\b(?:no|not|cannot|can't|declin\w+|unable|keine?n?|nicht|ablehn\w*)\b",
    r"\b(?:let us|let's|lass uns|wollen wir|sprechen wir|reden wir) (?:\w+ )?(?:talk|speak|write|move|think|turn|go|über|lieber)(?: \w+){0,3}? (?:nicer|kinder|else|happier|friendlier|lighter|different|other|brighter|schöneres|anderes|netteres|freundlicheres|fröhlicheres)\b",
    r"\b(?:please understand|i ask for (?:your )?understanding|hab(?:t|en sie)? (?:bitte )?verständnis|ich bitte um nachsicht|um verständnis)\b|\bcan ?(?:not|'t) be (?:written|described|shown|made|done|told|drawn|created|produced) (?:by me|here|for you)\b",
    r"\bi (?:can|may|will|am able to|only) (?:only )?(?:help|write|assist|describe|create|work) (?:\w+ )?(?:only )?(?:with|about) (?:friendly|harmless|safe|gentle|peaceful|child-friendly|kind|suitable|appropriate)\b|\bich kann (?:dir )?(?:nur|ausschließlich|lediglich) (?:bei|mit|zu|über) (?:\w+ )?(?:freundlich\w*|harmlos\w*|kindgerecht\w*|sicher\w*|friedlich\w*|passend\w*|erlaubt\w*)\b",
    r"\b(?:access denied|zugriff verweigert|error: (?:blocked|refused)|request (?:blocked|refused|denied)|(?:topic|theme|content|prompt|request|thema|inhalt|anfrage|motiv|wunsch)\b[^.!?]{0,20}\b(?:is|was|has been|ist|wurde|bleibt) (?:\w+ )?(?:blocked|locked|closed|not available|unavailable|gesperrt|blockiert|verboten|nicht verfügbar|nicht freigegeben|tabu))\b",
    r"\b(?:not|nothing|nichts|kein thema|kein text|keine szene) (?:something |anything |a (?:topic|subject|scene|text) )?(?:for|für) (?:me|mich)\b(?=[^\w]*(?:$|[.!?,;]))|\b(?:auf|zu|über) (?:diese\w*|deine\w*|solche\w*|so eine?n?) (?:\w+ )?(?:wunsch|bitte|anfrage|idee|thema|inhalte?|frage|szene) (?:gehe|reagiere|antworte|schreibe|werde|möchte|kann|darf) ich (?:\w+ ){0,3}?nicht\b|\b(?:so eine?n?|solche?n?|diese[nr]?|deine[nr]?) (?:bitte|wunsch|anfrage|aufgabe|auftrag) (?:erfülle|bearbeite|beantworte|übernehme|erledige|führe) ich (?:\w+ )?nicht\b",
    r"\b(?:beyond|outside|exceeds|more than|goes further than|geht über das|geht über|übersteigt|überschreitet|außerhalb dessen),? (?:of )?(?:das,? )?(?:hinaus,? )?(?:what|was|the limits of what|die grenzen dessen,? was) (?:i|ich|mir|we) (?:am|can|may|do|was|are|'m|darf|kann|soll|tun|schreiben|zeigen|erlaubt|gestattet|möglich)\b",
    r"\b(?:that's|that is|this is|das ist) (?:too|zu) (?:violent|dark|cruel|explicit|brutal|graphic|grausam|düster|gewalttätig|heftig) (?:for me|to|für mich|um)\b|\b(?:werde|möchte|will|kann|darf|schreibe|mache|zeige|beschreibe) ich (?:das |es |dies |so etwas |darüber |hier |dazu )?(?:lieber |leider |auf keinen fall |bestimmt |sicher )?(?:nicht|nichts)(?: (?:weiter)?(?:schreiben|machen|tun|beschreiben|zeigen|erzählen|ausmalen|sagen))?[.!]?\s*$|\bdass ich (?:das|dies|so etwas|es|darüber|hierzu) (?:\w+ )?(?:nicht|nichts|keine?n?)\b",
    r"\b(?:zu|über|für) (?:diese[mrns]?|dem|das|deine[mrn]?) (?:\w+ )?(?:thema|wunsch|anfrage|idee|bitte|eingabe)\b[^.!?]{0,30}\b(?:kein(?:e|en)?|nicht|nichts)\b",
    r"\b(?:so etwas|so was|sowas|das|dies|solche\w* \w+|solche\w*) (?:\w+ ){0,2}?(?:stelle|zeige|mache|schreibe|male|beschreibe|erzähle|verfasse|liefere|erfinde|unterstütze) ich\b[^.!?]{0,40}\b(?:nicht|keinesfalls|niemals|lieber nicht)\b|\b(?:das|dies|diese\w* \w+) (?:überspringe|übergehe|lasse|meide) ich\b",
    r"\bgegen (?:meine|unsere)\w* (?:\w+ )?\w*(?:regeln|richtlinien|vorgaben|grundsätz\w+|prinzipien|vorschriften|werte)\b|\b(?:break|breaks|violat\w+|breach\w*|against|contraven\w+|go(?:es)? beyond)\b[^.!?]{0,20}\b(?:my|our) (?:\w+ )?(?:rules?|guidelines?|polic\w+|principles|settings|standards|limits)\b",
    r"\b(?:off[- ]limits|taboo|forbidden|not allowed|not permitted|not an option|a no-go) (?:for|to) me\b|\bfür mich (?:\w+ )?(?:tabu|verboten|nicht erlaubt|ausgeschlossen|nicht machbar|nicht möglich|nicht in frage)\b|\bkommt für mich nicht in frage\b",
    r"\bmy (?:\w+ )?(?:settings|rules|guidelines|programming|restrictions|filters?|training|creators|safeguards)\b[^.!?]{0,30}\b(?:do not|don't|does not|doesn't|forbids?|prevents?|prohibits?|won't|cannot|can't|stops?|block)\b|\bmeine?\w* \w*(?:vorgaben|regeln|richtlinien|einstellungen|filter|programmierung|entwickler)\b[^.!?]{0,40}\b(?:nicht|verbiete[nt]|untersag\w+|verhindern?|erlauben? (?:mir )?keine?)\b",
    r"\b(?:say|saying) no (?:to|here)\b|\b(?:muss|möchte|werde|will) ich (?:\w+ )?nein sagen\b|\bi(?:'d| would)? (?:prefer|rather|like) (?:to )?(?:skip|avoid|leave (?:this|that|it)|pass|stay away)\b|\b(?:no|kein) (?:text|scene|story|answer|szene|antwort) (?:this time|from me|for this|hierzu|dazu|von mir)\b|\bdeshalb gibt es keine?n?\b",
    r"\b(?:let's|let us|shall we|why don't we|lass uns|wollen wir|wollen wir nicht) (?:\w+ ){0,3}?(?:kinder|friendlier|nicer|different|another|other|safer|freundlicher\w*|ander\w*|schöner\w*|nett\w*|harmlos\w*) (?:\w+ )?(?:subject|topic|theme|idea|scene|story|thema|idee|motiv|szene|geschichte)\b",
    r"\b(?:request|prompt|topic|content|theme|subject|idea|task)\b[^.!?]{0,50}\b(?:(?:be |been |is |was )?(?:declined|refused|rejected|denied|turned down|skipped)|(?:can ?not|can't|could not|couldn't|won't|will not) be (?:\w+ )?(?:fulfilled|answered|written|completed|processed|depicted|described|created|granted|honou?red|met|shown))\b",
    r"\b(?:anfrage|bitte|wunsch|thema|inhalt\w*|aufgabe|idee|eingabe)\b[^.!?]{0,50}\b(?:(?:abgelehnt|zurückgewiesen|verweigert|übersprungen)|(?:nicht|keinesfalls|unmöglich) (?:\w+ )?(?:erfüllt|beantwortet|bearbeitet|umgesetzt|geschrieben|dargestellt|beschrieben|erstellt|gezeigt|ausgeführt)) ?(?:werden|wird|worden)?\b",
    r"^\W*(?:content|inhalt) (?:removed|withheld|blocked|entfernt|gesperrt|zurückgehalten)\b|^\W*(?:keine antwort|no answer|no comment|nein danke|no thanks?)\W*$|\b(?:da(?:bei|zu)? |hier )(?:bin ich raus|mache ich nicht mit|sage ich (?:lieber )?nichts|passe ich)\b|\bdarauf (?:möchte|kann|werde|will) ich (?:\w+ )?nicht (?:eingehen|antworten)\b|\b(?:let's|let us) (?:not|skip)\b|\bi(?:'m| am) not going (?:there|to (?:write|do|touch))\b|\bthat(?:'s| is) (?:a no|off the table|off limits) (?:from|for) me\b",
    r"^\W*(?:no|nein)\b[,.!]? (?:i\b|i'm|ich\b|das (?:mache|schreibe|geht|kann)|this is|that is|leider)",
    r"\bi(?:'m| am)? (?:going to |will |have to |'ll )?pass on (?:this|that)\b|\bi(?:'ve| have) left (?:it|this) (?:out|unwritten)\b|\bi (?:need|have) to (?:stop|end) here\b|\b(?:muss|möchte|werde) ich (?:\w+ )?(?:aufhören|abbrechen|stoppen|beenden)\b|\bdeshalb lasse ich\b",
    r"\b(?:not|isn't|aren't|un|in)\s?(?:appropriate|suitable) for (?:children|kids|young|this|all ages|a child)\b|\b(?:nicht|un)\s?(?:geeignet|angemessen|altersgerecht|jugendfrei|passend)\b[^.!?]{0,40}\b(?:ich|deshalb|daher|darum|kinder|kindern)\b|\bfür kinder (?:\w+ )?nicht (?:geeignet|angemessen|passend)\b",
    r"\bi (?:don't|do not) (?:feel|think) (?:\w+ )?(?:comfortable|right|it is|it's|i (?:can|should))\b|\b(?:mir ist|ich fühle mich) (?:dabei )?nicht wohl\b|\b(?:may|might|could|can) (?:cause|lead to|be) harm(?:ful)?\b|\b(?:schaden|schädlich sein|gefährlich sein) könnten?\b",
    r"\bi (?:can't|cannot|can not|won't|will not) (?:do|write|help with|show|say|tell) (?:that|this|it|such)\b",
    r"\b(?:as|i am|i'm|being) (?:only |just )?an? (?:\w+ )?(?:ai\b|artificial|language model|large language|assistant\b)[^.!?]*\b(?:not|cannot|can't|unable|won't|decline|impossible)\b",
    r"^\W*(?:i(?:'m| am) (?:\w+ )?(?:sorry|afraid)|sorry\b[,.]? (?:but|i\b|i'|this|that|no\b|we\b|can't|for|about)|my apologies|apologies|i (?:do )?apologi[sz]e|unfortunately,? (?:i|we|this|that|it)\b|regrettably)",
    r"\bi(?:'m| am) (?:really |very |so )?sorry\b,? (?:but|i|that|to)\b|\bi(?:'m| am) afraid (?:i|that|this)\b",
    r"\bi(?:'m| am) (?:unable|not (?:able|allowed|permitted|comfortable|in a position))\b|\b(?:something|a scene|a text|anything) (?:that )?i(?:'m| am) (?:not )?able to\b",
    r"\bi (?:can ?not|can't|can not|won't|will not|couldn't|could not|must not|may not|am not going to)(?: \w+ly)? (?:help|assist|create|write|generate|provide|fulfil+|comply|do (?:that|this|so)|continue|show|depict|describe|produce|answer|support|engage|portray|make|go|respond|discuss|offer|complete|put|rewrite|transform|carry|honou?r|participate|draw|paint|process|share|turn)\b",
    r"\b(?:isn't|is not|not|nothing) (?:something|anything|a (?:\w+ )?(?:scene|text|request|topic|picture|thing|subject|story)) (?:that )?i(?: \w+)? ?(?:can|could|want|would|am|'m|'d|'ll|will|do|should|may|write|get|feel)\b|\bnothing i(?:'ll| will|'d| would|'m| am| want| can)\b|\b(?:perhaps|maybe|could you|can you|why not|you could|you might|kindly) (?:\w+ )?(?:try|pick|choose|think of|suggest|send|ask for|give me) (?:\w+ ){0,3}?(?:different|another|else|other|new|kinder|gentler|milder|friendlier|safer)\b|\b(?:vielleicht|magst du|willst du|kannst du|könntest du|versuch\w*|probier\w*|such\w*|wähl\w*|nimm|denk\w*) (?:\w+ ){0,4}?(?:ein(?:e[nms]?)? ander\w+|etwas ander\w+|was ander\w+|andere[nrs]?|neue[nrs]?|freundlicher\w*|harmloser\w*) (?:\w+ )?(?:idee|thema|motiv|szene|wunsch|frage|vorschlag|bild|aus|vor|vorschlagen|versuchen)\b",
    r"\bi (?:won't|will not|am not going to) be able to\b|\b(?:outside|beyond) (?:of )?what i (?:can|may|am|'m)\b|\b(?:how|what) about (?:a|an|we|something|trying|writing)\b.{0,60}\?|\blet's (?:choose|try|pick|find|talk about|keep|stick to|focus on) (?:something|another|a different|a kinder|things)\b|\bi (?:must |have to |would |will )?(?:respectfully |politely |kindly |generally )?(?:refrain from|avoid|don't (?:write|create|describe|do)|do not (?:write|create|describe))\b"
    r"|\bi(?:'d| would) (?:rather|prefer) not\b|\bi prefer not to\b|\bi (?:must|have to|need to|will have to) (?:\w+ly )?(?:decline|refuse|refrain|pass|turn (?:this|that|it) down)\b|\bi(?:'ll| will) (?:have to )?(?:decline|pass on)\b|\bi (?:respectfully |politely )?(?:decline|refuse) to\b",
    r"\b(?:against|violat\w+|conflicts? with|outside|beyond|breach\w*) (?:of )?(?:my|our|the) (?:\w+ )?(?:guidelines?|polic(?:y|ies)|principles|rules of use|programming|scope)\b|\bcontent polic(?:y|ies)\b",
    r"\b(?:not|in)appropriate (?:for me|request|content)\b|\bthis (?:request|prompt|content|topic) (?:is|seems|appears|may be|goes|contains|involves|asks|can't|cannot|isn't|would)\b|\byour request (?:can't|cannot|could not|goes|violates|is)\b",
    r"\b(?:it is|it's) not possible for me\b|\bnot able to (?:help|assist|fulfil+|write|create|do that)\b|\b(?:happy|glad) to (?:help|assist|try|write)\b.{0,40}\b(?:different|else|another|other|instead)\b|\bperhaps (?:we|you) (?:could|can|have)\b.{0,40}\b(?:another|different|else|friendlier|other)\b|\bplease (?:try|choose|rephrase|ask|provide|give me) \b",
    r"\b(?:wie wäre es|wie wär's|was hältst du davon|sollen wir)\b.{0,80}\?|\b(?:schreibe|zeige|beschreibe|mache|erzähle|male|erstelle|bediene|unterstütze|vermeide) ich (?:\w+ )?(?:nicht|keine?[nrms]?|nichts|solche|so etwas)\b|\bich (?:schreibe|zeige|beschreibe|erstelle|male) (?:so etwas|das|dies|solche\w*|keine?[nrms]?)\b[^.!?]{0,40}(?:nicht\b|szenen|inhalte|texte|gewalt)|\b(?:thema|anfrage|wunsch|inhalt|idee) (?:ist|wäre|erscheint|scheint) (?:\w+ )?(?:nicht|un)\s?(?:geeignet|angemessen|passend|erlaubt|möglich|zulässig)|\bmöchte ich (?:lieber |hier )?(?:keine?[nrms]?|nicht|nichts)\b"
    r"|\b(?:als|ich bin|nur) (?:eine? )?(?:\w+ )?(?:ki\b|künstliche intelligenz|ki-\w+|sprachmodell|assistent\b)[^.!?]*\b(?:nicht|keine?[nrms]?|unmöglich|leider|ablehnen)\b(?!(?: \w+){0,3} (?:sehen|hören|fühlen|riechen|schmecken|anfassen)\b)",
    r"^\W*(?:(?:das |es )?tut mir (?:sehr |wirklich |furchtbar )?leid|entschuldig(?:e|ung|en sie)\b|verzeih(?:ung)?\b|sorry\b[,.]? (?:aber|ich|das|dies|da|dabei|leider)|ich bitte um (?:entschuldigung|verständnis|verzeihung)|leider (?:kann|darf|muss|ist|geht|möchte|bin|konnte|sind)|bedauerlicherweise)",
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
_PICTURE = re.compile(rf"{form.EMOJI}+$")
_DANGLING_WORD = re.compile(
    r"(?:\b(?:the|a|an|and|or|of|with|und|oder|mit|der|die|das|ein|eine|einen|im|in)|[,(-])$", re.IGNORECASE
)
_DANGLING = re.compile(
    r"\b(?:the|a|and|or|but|of the|with an?|und|oder|sowie|eine[nmrs]?|des|dem|(?<!the )(?<!its )(?<!\ba )(?<!his )(?<!her )(?<!their )(?<!my )den|weil|dass|because|into the|whose|dessen|deren)\s*(?:\.{1,3}|…)[\"'”“»«’)]*$"
    r"|\b(?:in|on|at|with|to|from|mit|von|zu|bei|für|im|am|zum|zur|vom|his|her|its|their|ihre?[nmrs]?|seine?[nmrs]?)\s*(?:\.{2,3}|…)[\"'”“»«’)]*$"
    r"|(?:\[|\()\s*(?:\.\.\.|…|continued|to be continued|truncated|cut off|fortsetzung(?: folgt)?|abgeschnitten|gekürzt)\s*(?:\]|\))?\W*$",
    re.IGNORECASE,
)


_LISTED = re.compile(
    r"(?:^|\n)\s*(?:[-*•–▪►‣·+]|\d{1,2}[.)])\s[^\n]*$|\n\s*[A-ZÄÖÜ][\w -]{1,30}:\s[^\n]*$|^\s*[\[{].*[\]}]\s*$|\|\s*$",
    re.DOTALL,
)


def truncated(text: str) -> bool:
    """It ends without a sentence's end, on a word that calls for another, or inside brackets. Lists, labels and JSON have none."""
    if _LISTED.search(text.strip()) and not _DANGLING_WORD.search(text.strip()):
        return False
    if _PICTURE.search(text.strip()):  # as good as a full stop where people write so; K5 speaks of it
        return bool(_DANGLING.search(text))
    bare = re.sub(
        r"(?:<[^<>]*>|\uFE0F|[\"\s\]}]|[^\w\s.!?…\"'”“»«’‘)*_\]])+$", "", text
    )  # behind the end: tags, brackets of JSON, emoji
    return not _END.search(bare) or bool(_DANGLING.search(bare)) or bare.count("(") > bare.count(")")
