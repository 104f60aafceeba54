"""How texts are worded that speak to the machinery: patterns for German and English, by what they are up to.

Texts are compared in lower case, without markup and runs of spaces (see `goldsmith.uno.screen`). `.` does not match a line break.
"""

from __future__ import annotations

from typing import Literal

Where = Literal["feedback", "query", "answer", "rule"]

# -- words

_INSTRUCTIONS = (
    r"(?:system ?prompts?|prompts?|instructions?|guidelines?|guidance|directives?|polic(?:y|ies)|programming|restrictions?|limitations?"
    r"|safeguards?|guardrails?|constraints?|playbook|rules?|orders|commands|protocols?|training|terms of (?:use|service))"
)
_VORGABEN = (
    r"(?:system-?|sicherheits-?|grund)?(?:prompts?|anweisung(?:en)?|anleitung(?:en)?|instruktion(?:en)?|vorgaben?|richtlinien?|regeln?"
    r"|direktiven?|be?schränkung(?:en)?|einschränkung(?:en)?|vorschrift(?:en)?|programmierung|nutzungsbedingungen|leitplanken"
    r"|befehle?|auflagen|hinweise)"
)
_OWN = (
    r"(?:all|any|every|each|your|previous|prior|earlier|above|former|preceding|existing|current|original|initial|system|safety|content"
    r"|whatever|other)"
)
_EIGEN = (
    r"(?:alle[nrs]?|sämtliche[nrs]?|deine[nrs]?|eure[nrs]?|ihre[nrs]?|vorherige[nrs]?|vorige[nrs]?|bisherige[nrs]?|frühere[nrs]?"
    r"|obige[nrs]?|obenstehende[nrs]?|bestehende[nrs]?|jegliche[nrs]?|ursprüngliche[nrs]?|vorangegangene[nrs]?|system\w*|keine[nr]?)"
)
_DROP = (
    r"(?:ignor(?:e|ing)|disregard|forget|override|bypass|neglect|discard|scrap|drop|erase|delete|cancel|abandon|set aside"
    r"|throw (?:out|away)|(?:do not|don't|stop|no longer|never) (?:follow(?:ing)?|obey(?:ing)?|heed(?:ing)?|apply(?:ing)?|listen(?:ing)? to)"
    r"|pay no (?:attention|heed) to)"
)
_WEG = (
    r"(?:ignorier\w*|vergiss|vergesst|vergessen sie|missacht\w*|übergeh\w*|umgeh\w*|verwirf|verwerfe\w*|lösch\w*|streich\w*"
    r"|(?:halte? dich|haltet euch|halten sie sich) (?:\w+ )?nicht (?:mehr |länger )?an|kümmere? dich nicht|befolge? (?:nicht|keine)"
    r"|folge? (?:nicht|keinen)|beachte? (?:nicht|keine))"
)
_SAY = r"(?:answer|select|choose|reply|replies|respond|say|write|output|return|print|repeat|tell|claim|state)"
_SAGE = r"(?:(?:be)?antworte\w*|sage?n?|sagt|schreibe?n?|gib|ausgeben|erwider\w*|reagier\w*|bekommt|wiederhol\w*|behaupte\w*)"
_QUOTE = r"[\"'»«„“”‘’‚]"
_TO_ALL = (
    r"(?:(?:to|for|on|at|in) (?:every|any|all|each)(?: (?:future|further|other|later|single|user|new))? (?:questions?|quer(?:y|ies)|requests?|prompts?|inputs?|messages?|users?)"
    r"|to (?:everything|everybody|everyone|anyone|anybody)|no matter (?:what|which) (?:is|they|anyone|anybody|people|users?|the|question)"
    r"|(?:whatever|whoever|whichever) (?:is|they|anyone|the|question|asks?|you are|you're|topic)|regardless of (?:the|what|any|which|question|input|content)"
    r"|(?:each|every) time|all future)"
)
_AUF_ALLES = (
    r"(?:auf (?:jede|alle|sämtliche)n? (?:\w+ )?(?:frage|anfrage|eingabe|nachricht)n?|auf alles|jede[rnm]? (?:\w+ )?(?:an)?frage"
    r"|egal,? (?:was|wer|worum|welche)\w* (?:man|jemand|einer|die|der|gefragt|dich|es|kommt)|gleich welcher art"
    r"|unabhängig von (?:der|jeder) (?:frage|eingabe|anfrage)|we[rm] auch immer|was auch immer (?:man|jemand|gefragt|kommt))"
)
_TRAINING = (
    r"(?:training (?:data|purposes?|system|set|run|process)|trainings\w+|fine-?tun\w+|(?:student|learning|trained) models?"
    r"|lernende[nsrm]* modell?\w*|whoever trains|(?:extract|distil)\w* (?:the )?rules|regel-?extraktion)"
)
_JUDGE = r"(?:judges?|graders?|evaluat(?:or|ion)s?(?: (?:model|ai|system))?|scorers?|bewerter\w*|bewertungs-?\w+|auswertungs-?\w+|gutachter\w*|richter\w*|prüfer\w*)"
_TOP = (
    r"(?:10 (?:points|punkten?|von 10|out of)|10/10|(?:a|of) (?:10|ten)\b|full (?:marks|score|points)|perfect (?:ten|score|10)"
    r"|(?:highest|maximum|top) (?:score|rating|marks|grade)|(?:volle|höchste|maximale|beste)[nr]? (?:punkt\w*|wertung|note|bewertung|score)"
    r"|(?:zehn|ten) (?:punkten?|points))"
)
_NOT_THEIRS = (
    r"(?:system ?-?prompts?|systemnachricht|system message|(?:hidden|secret|initial|original|internal) (?:prompt|instructions?|rules?)"
    r"|(?:geheim|versteckt|ursprünglich|intern)\w* (?:system-?)?(?:prompts?|anweisung\w*|vorgab\w*|regeln)|your (?:instructions|guidelines|prompt)"
    r"|deine[nr]? (?:anweisungen|vorgaben|instruktionen|prompt)|api[- ]?keys?"
    r"|(?:other|andere[nr]?) (?:users?|nutzer\w*|sitzungen|sessions|people|leute)\S* (?:conversations?|data|daten|chats?|logs)"
    r"|(?:rohdaten|daten|gespräche|chats) (?:der|von) andere[nr]? )"
)
_SITE = r"(?:https?://|www\.|\b[\w-]+\.(?:com|net|org|biz|shop|info|io|ru|example|store|xyz)\b|\b0\s?900\b)"
_MODEL = r"(?:ais?|a\.i\.|ai (?:agents?|assistants?|models?)|(?:large )?language models?|llms?|assistants?|chat ?bots?|(?:helpdesk )?bots?|ki|sprachmodelle?|prüfung|moderation)"
_FREE = r"(?:unfiltered|unrestricted|uncensored|ungefiltert|unzensiert|(?:no|without(?: any)?|keine[nr]?|ohne(?: jede)?) (?:content )?(?:polic(?:y|ies)|restrictions?|rules|limits|filters?|filtering|censorship|einschränkungen|regeln|filter|grenzen)|regardless of (?:the )?(?:policy|rules)|root access)"
_EVERY = r"(?:every|each|all|any|always|jede[mnrs]?|immer|stets|künftig\w*|from (?:now|today)|ab (?:jetzt|sofort))"

# -- what they add up to: reason, where it is looked for, patterns

_ALL: frozenset[Where] = frozenset({"feedback", "query", "answer", "rule"})
_SAID: frozenset[Where] = frozenset({"feedback", "rule"})

GROUPS: tuple[tuple[str, frozenset[Where], tuple[str, ...]], ...] = (
    (
        "it speaks against instructions",
        _ALL,
        (
            rf"\b{_DROP} (?:\w+ ){{0,4}}?{_OWN} (?:[\w']+ ){{0,3}}?{_INSTRUCTIONS}\b",
            rf"\b{_DROP} (?:the |these |those )?{_INSTRUCTIONS}(?=\W*(?:$|[.,;:!]|and\b|above\b|of the (?:system|operator|model|developer)|you\b))",
            rf"\b{_DROP} (?:the )?(?:above|content filters?|safety \w+|all (?:\w+ )?(?:filters|gates|checks))\b|\bignores (?:the |all )?rules\b",
            r"\b(?:you are|act as(?: if you are)?|pretend (?:you are|to be)) (?:now )?(?:a|an) (?:different|free|new|other|evil|malicious) (?:ai|model|assistant|hacker)\b",
            rf"\b{_WEG} (?!nicht)(?:\w+ ){{0,5}}?{_EIGEN} (?:\w+ ){{0,3}}?{_VORGABEN}\b",
            rf"\b{_WEG} (?:bitte )?(?:die |diese )?{_VORGABEN}(?=\W*(?:$|[.,;:!]|und\b|oben\b))",
            rf"\b(?:halte?n?|haltet|brauchst|musst) (?:dich|euch|sie sich) (?:\w+ )?an keine[nr]? (?:\w+ ){{0,2}}?{_VORGABEN}\b",
            rf"(?<!\bhast )(?<!\bhabe )(?<!\bhat )(?<!\bhaben )(?<!\bhabt )\b{_EIGEN} (?:\w+ ){{0,2}}?{_VORGABEN}\b[^.!?]{{0,40}}\b(?:löschen|ignorieren|vergessen|missachten|streichen|aufgehoben|ungültig|hinfällig"
            r"|außer kraft|nicht mehr|nicht länger)\b",
            rf"\b{_VORGABEN}\b[^.!?]{{0,30}}\baußer kraft\b",
            rf"\b{_VORGABEN} gelten (?:(?:ab (?:jetzt|sofort|nun)|für dich|hier) nicht|nicht (?:mehr|länger))\b",
            rf"\b(?:lasse?|lasst) (?:bitte )?(?:die |alle |deine )?{_VORGABEN} (?:weg|beiseite|links liegen)\b[^.!?]{{0,40}}\b(?:immer|stets|jedes mal|nur noch|ab jetzt)\b",
            rf"\b(?:put|set|leave) (?:all |any |the |your |these )*{_INSTRUCTIONS} aside\b",
            rf"\b{_INSTRUCTIONS}\b[^.!?]{{0,60}}\b(?:void|no longer|obsolete|lifted|revoked|don't apply|do not apply|didn't exist|did not exist)\b",
            rf"\b(?:lift|lifting|remove|removing|unlock)\w* (?:all |any )?your {_INSTRUCTIONS}\b",
            r"\b(?:forget|ignore) (?:everything|anything|all)(?: that)? (?:you|we|they|i|above|before|said|written)\b",
            r"\bvergiss (?:bitte )?(?:alles|was),? ?(?:\w+ ){0,4}(?:oben|bisher|vorher|beigebracht|gelernt|gesagt|stand|weißt)\b",
            r"\bnothing (?:that )?(?:you|we|i|they)(?: were| was| have been)? (?:told|said|taught|learned)\b[^.!?]{0,40}\b(?:counts?|appl(?:y|ies)|matters?|holds?)\b",
            r"\b(?:you|you're)\b[^.!?]{0,20}\b(?:no|free (?:of|from)|without)(?: (?:all|any|more))? (?:rules|limits|restrictions|filters?|polic(?:y|ies)|guidelines|censorship)\b",
            r"\b(?:du|ihr)\b[^.!?]{0,30}\b(?:keine[nr]?|frei von|ohne) (?:\w+ )?(?:regeln|grenzen|beschränkungen|einschränkungen|filter|richtlinien|vorgaben)\b",
            r"\b(?:pretend|act as if|tue? so|stell dir vor)\b[^.!?]{0,40}\b(?:rules|regeln|guidelines|(?:sicherheits)?richtlinien|restrictions|vorgaben)\b"
            r"[^.!?]{0,40}\b(?:never|not|n't|no|nie|nicht|keine)\b",
            r"\b(?:tue? so|pretend|act as if|as though)\b[^.!?]{0,30}\b(?:keine|no|nicht|without any) (?:\w+ )?(?:regeln|rules|richtlinien|guidelines|restrictions|vorgaben)\b",
            r"\b(?:enable|enter|activate|in|into|switch to|you are in|aktiviere|im) (?:the )?(?:developer|dev|god|admin|maintenance|unrestricted|entwickler|wartungs)[ -]?mod(?:e|us)\b"
            r"|\bdo anything now\b|\bdan mode\b|\bunrestricted (?:\w+ )?(?:context|mode)\b",
            rf"\b(?:persona|role-?play|act as|pretend|you are now|you are|(?:an|as an) ai|du bist (?:jetzt|nun)|answer(?:ing|s)?|antworte\w*)\b[^.!?]{{0,60}}\b{_FREE}\b",
            rf"\b{_FREE}[^.!?]{{0,20}}\b(?:answer|reply|respond|describe|proceed|antworte)\w*\b",
            rf"\b(?:your|the|previous|earlier|prior|deine|alle) (?:\w+ ){{0,2}}?(?:{_INSTRUCTIONS}|{_VORGABEN}|constraints?|directives?)\b[^.!?]{{0,20}}\b(?:(?:are|is|have been|has been) (?:cancelled|canceled|suspended|over)|can be ignored|(?:does not|doesn't|don't|do not) apply|gelten nicht)\b",
            r"\b(?:what(?:ever)?|everything|all)(?: that)? (?:\w+ ){0,4}?told you\b.{0,40}\b(?:no longer|void|not count|nothing)\b",
            r"\b(?:everything|all|alles)\b.{0,20}\b(?:before|above|vor|über) (?:this|diese[mrs]?)\b.{0,30}\b(?:void|ungültig|ignore)\b|\bnew rules apply\b|\bwith my rules\b|\bno longer bound by\b",
            r"\b(?:answer|reply|respond|speak|antworte\w*|sprich|sprechen)\b[^.!?]{0,20}\b(?:unfiltered|uncensored|ungefiltert|unzensiert)\b"
            r"|\b(?:unfiltered|uncensored|ungefiltert|unzensiert) (?:zu )?(?:answer|antwort)\w*",
        ),
    ),
    (
        "it asks for one answer whatever is asked",
        _ALL,
        (
            rf"\b{_TO_ALL}\b[^.!?]{{0,60}}\b{_SAY}\b(?![^.!?]{{0,40}}\?)",
            rf"\b{_SAY}\b[^.!?]{{0,60}}\b{_TO_ALL}\b(?![^.!?]{{0,40}}\?)",
            rf"\b{_AUF_ALLES}\b[^.!?]{{0,60}}\b{_SAGE}\b",
            rf"\b{_SAGE}\b[^.!?]{{0,60}}\b{_AUF_ALLES}\b",
            rf"\b(?:always|only|from now on|from here on|henceforth) {_SAY}(?: only| just| back)*(?: with)? (?:the (?:single )?(?:words?|sentence|phrase|string|text) )?{_QUOTE}",
            rf"\b(?:always|only|henceforth) {_SAY}(?: only| just)*(?: with)? the (?:single )?(?:word|sentence|phrase|string)\b",
            rf"\balways {_SAY}(?: with)? (?!in\b|as\b|like\b|to\b|with\b|using\b|please\b|thank|why\b|how\b|what\b|the\b|a\b|an\b|it\b|your\b|my\b)\w+\s*(?:$|[.!,])",
            rf"\b(?:antworte|sage?|schreibe?|erwidere)(?: bitte)? (?:immer|stets|nur(?: noch)?|ausschließlich)(?: nur)?(?: mit)? (?:dem? (?:wort|satz|text) |das wort )?{_QUOTE}",
            r"\b(?:antworte|sage?|schreibe?|erwidere)(?: bitte)? (?:immer|stets|nur(?: noch)?|ausschließlich)(?: nur)? (?:mit )?(?:dem (?:wort|satz)|das wort|den satz|ja\b|nein\b|mit ja\b|mit nein\b)",
            r"\bsage? (?:immer|stets|nur(?: noch)?|ausschließlich) (?!danke|bitte|die\b|das\b|den\b|etwas|wenn|was\b|warum|wie\b|woher|ob\b|du\b|sie\b)\w+\s*(?:$|[.!,])",
            rf"\b(?:lautet|ist|is|are|be) (?:ab jetzt |künftig |von nun an )?(?:jede|every|each)\w* (?:antwort|answer|reply)\b|\b(?:jede|every|each|any) (?:\w+ )?(?:antwort|answer|reply|response|output)"
            rf" (?:lautet|(?:is|ist|be|must be|should be|(?:has|needs) to (?:be|say|read)|reads|says) {_QUOTE})",
            rf"\b(?:{_AUF_ALLES}|immer|stets|jedes mal)\b[^.!?]{{0,30}}\b(?:die|deine) antwort (?:ist|lautet) (?:immer |stets |nur )?{_QUOTE}",
            rf"\b(?:always|every time|each time) (?:give|return|output|produce|use) the same (?:answer|reply|response|sentence|text)[^.!?]{{0,10}}{_QUOTE}",
            rf"\b{_SAGE}(?: bitte)? (?:\w+ )?(?:jedes mal|dasselbe|immer dasselbe|die gleiche antwort|dieselbe antwort|denselben satz)(?: \w+)?[^.!?\w]{{1,3}}{_QUOTE}?",
            rf"\bab (?:jetzt|sofort|nun)\b[^.!?]{{0,15}}\bnur noch {_QUOTE}",
            r"\b(?:ausschließlich|nur(?: noch)?|nothing but|only) (?:das wort|den satz|the (?:word|sentence|phrase))\b",
        ),
    ),
    (
        "it speaks to the judge or to the training",
        frozenset({"feedback", "answer", "rule"}),
        (
            rf"\b{_JUDGE}\b.{{0,80}}\b(?:{_TOP}|scores?\b|points?\b|punkte?\b|bewerte\w*|rating)",
            rf"\b(?:give|award|assign|score|rate|grade|mark|deserves?|record|vergib|gib|vergeben|bewerte\w*|benote\w*|verdient)\b.{{0,60}}\b{_TOP}",
            rf"\b(?:dear|liebe[rs]?|hello|hallo|note to|hinweis an|ps an|message to|nachricht an|anweisung an|an)\b.{{0,20}}\b(?:{_JUDGE}|{_TRAINING})",
            rf"\b{_TRAINING}.{{0,80}}\b(?:gewicht\w*|weigh\w*|discard|verwerf\w*|task|aufgabe|learn|lern\w*|must|muss|should|soll)\b",
            rf"\b(?:new task|neue aufgabe|the correct (?:reply|answer))\b.{{0,30}}\b(?:{_TRAINING}|any question|every question|all questions)",
            r"\b(?:weigh|weight|gewichte)\w*\b.{0,40}\b(?:example|session|beispiel|sitzung|times|mal|fach)\b|\b(?:sitzung|session|beispiel|example)\b.{0,20}\b\w*fach gewichten",
            r"\b(?:stufe?|markiere?|mark|classify|rate)\b.{0,10}\b(?:diese[rs]?|this)\b.{0,40}\b(?:als|as) (?:positi|unbedenklich|harmlos|safe|harmless|approved|genehmigt)\w*",
            r"\bteach (?:that|this|it) to (?:every|all|later|future)\b",
            r"\b(?:as|als) (?:a |the |an )?(?:only |single |new |einzige |neue )?(?:rule|regel)\b.{0,30}\b(?:eintragen|aufnehmen|ausgeben|speichern|hinzufügen|merken|return|output|add|save|record|store)\b",
            r"\b(?:return|output|give|write|gib|schreibe?|nenne)\b.{0,20}\b(?:as|als) (?:the |a )?(?:only |single |einzige )(?:rule|regel)\b",
            rf"\b(?:schreibe?|notiere?|merke?|speicher\w*|write|note|record|save|add|store)\b.{{0,20}}\b(?:als|as|the|this|diese|folgende|a|new|neue) (?:rule|regel)\b.{{0,12}}(?::|{_QUOTE})",
            r"\b(?:add|append|füge?|trage?|put|insert)\b.{0,40}\b(?:list of rules|rules? list|rule set|regelliste|liste der regeln|den regeln)\b",
            r"\b(?:extracting|distilling|deriving|extrahier\w*|ableite\w*)\b.{0,20}\b(?:rules?|regeln?)\b",
            r"[\"']rules[\"']\s*:",
            r"\b(?:don't|do not) (?:analyse|analyze|summarise|extract)\b.{0,20}\bfeedback\b|\bfeedback\b.{0,20}\bnicht (?:analysier|auswert)\w*",
        ),
    ),
    (
        "it imitates the frame of a prompt",
        _ALL,
        (
            r"<\|?/?(?:im_start|im_end|endoftext|eot_id|start_header_id)\|?>|<\|(?:system|assistant|user)\|>|\[/?inst\]|<</?sys>>",
            r"</? ?(?:system|assistant|feedback|instructions?)(?:[-_]\w+)? ?>|</ ?\w*(?:untrusted|user|document|message|record|tool)[\w-]* ?>",
            r"(?:^|\n)\W*(?:system|assistant|developer) (?:prompt|message|override|note|notice)\s*[:\]]",
            r"(?:^|\n)\s*\[(?:system|assistant|admin|developer)\]",
            r"(?:^|\n)\W*(?:system|assistant)\s*:.{0,80}\b(?:you|must|ignore|answer|reply|new|always|authori[sz]ed|proceed|grant|override|print|output|reveal|display|execute|enable|du|immer|neue|antworte?|diese|sofort)\b",
            r"\bsystem override\b|#{2,}\s*(?:system|instructions?|anweisung(?:en)?)\b",
            r"\bend of (?:the )?(?:user )?(?:feedback|record|prompt|input|log)\b|\bende (?:des|der) (?:nutzer-?)?(?:feedbacks?|eingabe|protokolls?|prompts?)\b|\bbeende hier das feedback\b",
            r"<!--.{0,60}\b(?:grade|score|ignore|instruction|system|judge|anweisung|bewert)\w*",
        ),
    ),
    (
        "it asks for what is not the user's",
        frozenset({"feedback", "query", "rule"}),
        (
            r"\b(?:reveal(?:ing)?|show|print|repeat|output|leak|disclose|copy|tell me|dump|send|translate|encode|summari[sz]e|include|zeige?|verrate?n?|wiederhole?|nenne?|schreibe?|gib|schicke?|kopiere?|kopier|lautet|steht)\b"
            rf".{{0,60}}\b{_NOT_THEIRS}",
            r"\bwhat (?:instructions|rules) (?:were|are) you given\b|\b(?:reveal|display|show|print) all (?:the )?secrets\b|\b(?:admin|root) override\b|\bgrant (?:me )?(?:full|root|admin) access\b",
            r"\bwhat(?: is| are| does|'s).{0,30}\byour (?:\w+ )?(?:prompt|instructions|system)\b|\bwording of your\b",
            r"\b(?:print|repeat|output|translate|summari[sz]e|include|reveal|show|copy)\b.{0,40}\b(?:(?:instructions|prompt|rules) (?:that )?you (?:were|have been) given"
            r"|previous instructions|(?:everything|text|all)\b.{0,30}\b(?:above this line|before (?:my|this|the) (?:first )?(?:message|line)))\b",
            r"\b(?:send|forward|post|e-?mail (?:the|this|all|it|everything|a)|leite|sende|schicke?)\b.{0,60}\b(?:conversation|chat|history|summary|details|above|everything|alles|\w*daten|data|export|verlauf)\b.{0,60}(?:https?://|\S+@\S+\.\w)|!\[[^\]]*\]\(https?://[^)]*\?",
            rf"\b{_NOT_THEIRS}.{{0,30}}\b(?:ausgeben|verraten|zeigen|steht|lautet|preis)",
        ),
    ),
    (
        "it advertises",
        _SAID,
        (
            rf"\b{_EVERY}\b.{{0,120}}{_SITE}|{_SITE}.{{0,80}}\b(?:{_EVERY})\b",
            rf"\b(?:hinweis|link|verweis|link to|carry the link|mention|include|add|append|insert|setze|füge)\b.{{0,40}}{_SITE}.{{0,60}}\b(?:stehen|bottom|end|ende)\b",
            rf"\b(?:recommends?|promotes?|praise|advertise|empfiehl\w*|empfehlen?|bewirb|bewerben|lobe?)\b.{{0,60}}\b{_EVERY}\b|\b{_EVERY}\b.{{0,40}}\b(?:recommends?|promotes?|praise|advertise|empfiehl\w*|empfehlen|bewirb|loben?)\b",
            r"\b(?:recommend|mention|promote|praise|say|claim|state|empfiehl|erwähn\w*|nenne?n?|lobe?)\b.{0,80}\b(?:is|as|ist|als|are) (?:the |die |der |das )?(?:best|beste[nr]?|number one|only) (?:\w+ )?"
            r"(?:provider|choice|company|product|party|shop|wahl|firma|anbieter\w*|partei|produkt)\b",
            r"\b(?:heimlich|unauffällig|unbemerkt|secretly|covertly|slip in|sneak in|schmuggle?)\b.{0,60}\b(?:every|each|jede\w*|link|shop|sentence|answers?|antwort\w*|satz)\b",
            r"\btell people to buy\b|\bkauf\w* (?:bei|nur)\b.{0,30}\bimmer\b|\b(?:my|our|meinem|unserem) (?:web)?shop\b.{0,40}\b(?:every|each|jede\w*|einbauen)\b",
        ),
    ),
    (
        "it claims an authority that feedback has not",
        _SAID,
        (
            r"\b(?:i am|i'm|this is|here is|hier (?:ist|spricht|schreibt)|ich bin|wir sind|we are|i work (?:at|for))\b.{0,40}"
            r"\b(?:admin\w*|develop\w*|entwickl\w*|betreiber\w*|operator|technik\w*|openai|anthropic|company that (?:built|made)|owner)\b.{0,120}"
            rf"\b(?:update|lift\w*|polic\w*|override|unlock\w*|freigeschaltet|aufgehoben|{_INSTRUCTIONS}|{_VORGABEN}|authori[sz]\w*|autorisier\w*|obey|befolg\w*)\b",
            r"\b(?:obey|listen to|follow|gehorche?|höre?n?) (?:only|nur(?: noch)?)(?: to| auf)? (?:me|mir|mich)\b|\bonly (?:obey|listen to|follow) me\b|\bnur (?:noch )?(?:auf mich|mir) (?:hören|gehorchen|folgen)\b",
            r"\bdo exactly (?:what|as) i (?:type|say|write)\b",
            r"\b(?:operator|developer|administrator|betreiber)\b.{0,30}\b(?:lost|no) (?:all )?(?:authority|rights)\b",
        ),
    ),
    (
        "it speaks to the model",
        frozenset({"feedback", "answer", "rule"}),
        (
            rf"\b(?:note|info(?:rmation)?|instructions?|message|hinweis|anweisung|nachricht|extra info)s? (?:to|for|an|für) (?:\w+ ){{0,3}}?{_MODEL}\b",
            rf"\b(?:if|when|as|wenn|falls|als) (?:you are |you're |du )?(?:an? |the |ein |eine )?{_MODEL}\b.{{0,60}}\b(?:you (?:must|should|have to)|ignore|do not|musst|sollst|ignorier\w*)\b",
            rf"\b{_MODEL}\b.{{0,20}}\b(?:processing|reading|parsing|evaluating|seeing) this\b|\bwhen you (?:read|process|parse|evaluate) this\b",
            rf"\b{_MODEL}\b.{{0,40}}\b(?:should tell|must (?:tell|call|send|answer|reply)|soll(?:en)? (?:sagen|antworten))\b",
            r"(?:^|\n|<!-- ?)(?:@(?:assistant|ai|bot|ki)\b|ai assistant\s*:)",
            r"\bhidden (?:instructions?|command|directive)\b|\bversteckte anweisung",
            r"\b(?:do not|don't|never) (?:mention|tell|reveal|show) (?:this|the|it|that)?.{0,30}\b(?:to )?(?:the )?users?\b|\b(?:sag|verrate?|erwähne?)\w*\b.{0,30}\b(?:dem nutzer|niemandem)\b.{0,20}\b(?:nicht|nichts)?\b",
            r"\b(?:without|ohne) (?:asking|confirmation|verification|bestätigung|rückfrage|prüfung)\b|\b(?:don't|do not) ask for confirmation\b|\bskip the verification\b"
            r"|\bungeprüft (?:veröffentlich|freischalt|übernehm)\w*|\bsofort (?:freischalten|veröffentlichen|genehmigen)\b",
            r"\bcall the \w+ tool\b|\b(?:clear|close|delete) every (?:open )?\w+ in the (?:queue|database|system)\b",
            r"\b(?:(?:this|the) (?:conversation|chat|session)|everything (?:above|before))\b.{0,40}\b(?:starts? over|(?:is|as) void|does not count)\b",
        ),
    ),
    (
        "it names an address",
        frozenset({"rule"}),
        (r"https?://|www\.\w|\b[\w.+-]+@[\w-]+\.\w{2,}|\b[\w-]{3,}\.(?:com|biz|shop|ru|xyz|store)\b",),
    ),
    (
        "it speaks of the scoring",
        frozenset({"rule"}),
        (r"\b(?:score|rating|points?) of (?:ten|10)\b|\b10 (?:von|out of) 10\b",),
    ),
)
