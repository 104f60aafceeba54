"""K7, K9 and K11: words that make others strange, words that sell, and what is not for children. English and German.

Two strengths in K7: words that are never a neutral description of people, and words (`mysterious`, `timeless`) that count
only where the text is about a culture, a people or a place of one.
"""

from __future__ import annotations

from goldsmith.gates.phrases import compiled, found

_PEOPLES_EN = (
    r"(?:african?|asian|arab(?:ian|ic)?|oriental|eastern|indian|chinese|japanese|korean|tibetan|persian|turkish|ottoman|moroccan|egyptian|bedouin"
    r"|berber|native(?: american)?|aboriginal|indigenous|polynesian|hawaiian|caribbean|latin|mexican|mayan?|aztec|incan?|andean|amazonian|brazilian|cuban"
    r"|romani|roma|jewish|yoruba|zulu|maasai|masai|tuareg|tuvan|mongol(?:ian)?|siberian|inuit|balinese|javanese|thai|vietnamese|hindu\w*|muslim|islamic|buddhist|balkan|slavic|ukrainian|russian|gypsy)"
)
_PEOPLES_DE = (
    r"(?:afrikanisch|asiatisch|arabisch|orientalisch|fernöstlich|östlich|indisch|chinesisch|japanisch|koreanisch|tibetisch|persisch|türkisch|osmanisch|marokkanisch|ägyptisch"
    r"|indigen|polynesisch|hawaiianisch|karibisch|lateinamerikanisch|mexikanisch|andin|brasilianisch|kubanisch|jüdisch|tuwinisch|mongolisch|sibirisch|balinesisch|javanisch|thailändisch"
    r"|vietnamesisch|hinduistisch|muslimisch|islamisch|buddhistisch|balkanisch|slawisch|ukrainisch|russisch)\w*"
)
_PLACES = (
    r"(?:africa|asia|orient|india|china|japan|korea|tibet|persia|arabia|morocco|marrakesh|egypt|sahara|amazon|himalaya\w*|the (?:near |middle |far )?east|siberia|bali|java|africa's"
    r"|afrika|asien|orients?|indien|arabien|marokko|marrakesch|ägypten|amazonas|(?:nahe[nr]?|mittlere[nr]?|ferne[nr]?) ostens?|sibirien)"
)
_CULTURE = (
    r"(?:bazaars?|souks?|caravans?|temples?|shrines?|mosques?|pagodas?|monks?|dervish\w*|shamans?|geishas?|samurais?|sheikhs?|harems?|rituals?|ceremon\w+|ancestors?|ancestral|tribes?|villagers?"
    r"|tribal|folklore|cultures?|civili[sz]ations?|nomads?|masks?|kimonos?|saris?|sitars?|gongs?|drummers?|drumming|incense|spices?|traditions?|foreigners?|strangers?|healers?|elders?|dancers?"
    r"|basare?s?|karawanen?|tempels?|schreine?|moscheen?|pagoden?|mönche?n?|derwische?n?|schaman\w+|stämme\w*|stammes\w*|ritu\w+|zeremonien?|ahnen|vorfahren|dorfbewohner\w*|kultur(?:en)?|zivilisation\w*"
    r"|nomad\w+|masken?|trommler\w*|weihrauch|gewürz\w*|tradition(?:en)?|fremden?|heiler\w*|ältesten?|tänzerin(?:nen)?)"
)
_ABOUT_PEOPLE = rf"(?:{_PEOPLES_EN}|{_PEOPLES_DE}|{_PLACES}|{_CULTURE})"

_ALWAYS = compiled(
    r"\bthe orient\b(?! express)|\b(?:der|des|dem|den|im) (?:\w+ )?orients?\b(?!-?express)",
    r"\b(?:simple|poor|arm|einfach|humble),? (?:but|aber|yet|doch|und doch) (?:happy|glücklich|zufrieden|content|joyful|fröhlich)\b|\b(?:dark|brown)-skinned\b|\bdunkelhäutig\w*|\b(?:stolze[nr]?|edle[nr]?|nackte[nr]?) wilde[nr]?\b|\bsultry (?:dancers?|wom[ae]n|beaut\w+)|\bschleiertänzerin\w*|\bharems?(?:damen)?\b|\bbauchtänzerin\w* wiegt?",
    r"\bexotic(?:ism|ally|a|s)?\b(?! (?:matter|particles?|atoms?|nuclei|quarks?|options?|spheres?|hadrons?|physics))|\bexotisch\w*\b(?! (?:materie|teilchen|atome?n?))|\bexotik\w*",
    r"\botherworldly\b|\bunearthly (?:wisdom|people)|\bancient (?:wisdom|secrets|mysteries|magic)\b|\bwisdom of the (?:east|orient|ancients|ancestors|elders)\b|\bage-old (?:wisdom|secrets)\b",
    r"\buralte\w* (?:weisheit|geheimnis|magie|wissen)\w*|\bweisheit (?:des (?:ostens|orients|fernen)|der (?:ahnen|alten|vorfahren))",
    r"\bmystical\b|\bmystic (?:east|orient|land|world|culture|people|monk|ritual)\w*|\bmysticism\b|\bmystisch\w*|\bmystik\b",
    r"\b(?:mysterious|mystic|inscrutable|magical|fabled|enchanted) (?:east|orient|africa|asia|india|far east)\b|\bland of (?:mystery|mysteries|a thousand and one nights)\b|\btausendundeiner? nacht\b|\b1001 nacht\b|\b(?:thousand and one|arabian) nights\b",
    r"\binscrutabl[ey]\b|\bunergründlich\w*",
    r"\bauthentic (?:life|lives|culture|people|tradition|tribal|native|african|asian|village|experience|indigenous|ethnic)\w*|\bauthentische\w* (?:leben|kultur|menschen|tradition|stamm|dorf|afrik|volk|erlebnis)\w*",
    r"\bsimple (?:and (?:\w+ )?)?(?:happy |humble |honest )?(?:li(?:fe|ves)|folk|people|villagers|natives)\b|\b(?:live|living|lead|leading) (?:a )?simpl[ey]\b|\beinfache\w* (?:leben|volk|menschen|leute|dorfbewohner)\b|\bleben\b[^.,;]{0,25}\beinfach und (?:glücklich|zufrieden|bescheiden)",
    rf"\b(?:{_PEOPLES_EN}) (?:aesthetic|mysticism|flair|spirit|magic|charm|mystique|soul|vibe|temperament|exotic)\w*",
    rf"\b(?:{_PEOPLES_DE}) (?:ästhetik|mystik|flair|zauber|magie|charme|seele|temperament|geheimnis|märchen)\w*",
    rf"\btypical(?:ly)? (?:{_PEOPLES_EN}|{_PLACES})\b|\btypisch (?:{_PEOPLES_DE}|\w+isch\w*)",
    r"\bunchanged (?:for|over|through|since) (?:\w+ )?(?:centur\w+|generations|millenni\w+|ages|time)|\bfor centuries (?:nothing|unchanged)|\b(?:seit|über) (?:jahrhunderten|generationen|jahrtausenden|urzeiten) (?:unverändert|gleich|nichts)|\bunverändert (?:seit|geblieben|über)\b",
    r"\bfrozen in time\b|\bwhere time (?:has stood|stands|stood|seems to stand) still\b|\bforgotten by time\b|\bwo die zeit (?:still|stehen)|\baus der zeit gefallen|\bvon der zeit vergessen",
    r"\btribal\b(?! (?:council|government|court|lands?|nation|law|college|member|members|police|chair\w*|authorit\w+|sovereignty))|\bstammes(?!rat|gericht|regierung|verwaltung|mitglied|gebiet|recht|baum|spieler)\w*",
    r"\bprimitives?\b(?! (?:shapes?|forms?|sol[iu]ds?|geometr\w+|cubes?|spheres?|cones?|cylinders?|circles?|types?|data|values?|roots?|polynomials?|functions?|recursi\w+|meshes|objects|elements|operations?|streak|rocks?))(?<!geometric primitives)(?<!geometric primitive)",
    r"\bprimitive?[nrsm]?\b(?! (?:form|formen|körper\w*|grundform\w*|würfel\w*|kugel\w*|kegel\w*|kreis\w*|daten\w*|typ\w*|wurzel\w*|funktion\w*|polynom\w*|rekurs\w*|objekt\w*|element\w*|shapes?|solids?|cubes?|types?|data|geometr\w*|forms?|spheres?|cones?|values?|roots?|functions?|recursi\w*|objects|elements|operations?|rocks?|streak|polynomials?|meshes|circles?|cylinders?))",
    r"\b(?:the|wild|friendly|savage|local|naked|dark-skinned) natives\b|\bnatives of\b|\beingeborene\w*|\bnoble savages?\b|\bsavages?\b|\bsavagely\b|\bedle\w* wilde\w*|\b(?:die|der|den|zwei|drei|viele) wilden (?=tanz|trommel|leb|steh|schau|lach|sitz|mit)|\bbarbari(?:c|ans?)\b|\bbarbar(?:en|isch\w*)\b",
    r"\b(?:untouched|unspoil(?:ed|t)|far|remote|removed) (?:\w+ )?(?:by|from) (?:\w+ )?(?:civili[sz]ation|modernity|progress|the modern world)|\bunspoil(?:ed|t) (?:culture|people|tribe|village)|\bunberührt\w* (?:vom? (?:(?:der )?(?:zivilisation|moderne)|modernen|fortschritt)|kultur|volk|völker|stamm|dorf)\w*|\bfern (?:der|von der|jeder) zivilisation\b|\b(?:backward|uncivili[sz]ed|rückständig\w*|unzivilisiert\w*)",
    r"\bin (?:perfect |deep |complete )?harmony with nature\b|\bim einklang mit der natur\b|\bchildlike (?:people|natives|innocence of)|\bnaturvölker\w*|\bnaturvolk\w*|\bnaturverbunden\w*",
    r"\brhythm (?:is )?in (?:his|her|their|the) blood\b|\brhythmus im blut\b|\b(?:fiery|hot|hot-blooded) (?:temperament|passion|latin\w*|gyps\w+|dancers?)|\bfeurig\w*|\bheißblütig\w*|\bhot-blooded\b",
    r"\bgyps(?:y|ies)\b|\bzigeuner\w*|\beskimos?\b|\bnegr?(?:o|oes|er|ern)\b|\bmohr(?:en)?\b(?!rüb)|\bsquaws?\b|\bhalf-?breeds?\b|\bcolou?red people\b|\bfarbige[nr]?\b (?:menschen|frau|mann|leute)|\bpick?aninn\w+|\bwitch ?doctors?\b|\bmedizinmann\w*|\burwaldtrommel\w*|\bjungle drums\b|\bbush(?:men|man)\b|\bbuschm(?:ann|änner)\w*|\bhottentot\w*|\bkannibal\w*|\bcannibals?\b",
    r"\b(?:dark|deepest|darkest) (?:continent|africa)\b|\b(?:schwarze[rnm]?|dunkle[rnm]?) (?:kontinent|erdteil)\w*|\b(?:tiefste[nm]?|schwärzeste[nm]?|wilden?) afrika\b|\bsun-kissed natives|\bdusky (?:maiden|beaut|women|skin)\w*|\bglutäugig\w*|\bmandeläugig\w*|\balmond-eyed\b|\bslit-eyed\b|\bschlitzäug\w*",
    r"\boriental(?:ism|s)?\b(?! (?:institute|studies|express|shorthair|plane|beetle|cat|rug trade))|\borientalisch\w*\b(?! (?:institut|philologie|kirche))|\bzauber des (?:orients|fernen|ostens)\b|\bfernöstlich\w* (?:mystik|weisheit|zauber|ruhe|gelassenheit|geheimnis)\w*",
    r"\b(?:discover|explore|uncover|unveil|unlock)(?:s|ing|ed)? (?:the )?(?:hidden |secret |ancient |lost |magical |untouched )*(?:secrets?|wonders|myster(?:y|ies)|treasures|magic|world) of\b|\b(?:entdeck\w*|erkunde\w*|enthüll\w*) (?:die |das |den )?(?:verborgenen? |uralten? |magischen? )*(?:geheimniss?e?|wunder|zauber|schätze|welt) (?:der|des|von)\b|\btauch(?:e|en sie|t)? ein in die (?:\w+ )?welt\b|\bentführt (?:uns|dich|sie|den betrachter)?\s*in (?:eine|die) (?:\w+ )?(?:welt|kultur|ferne)|\b(?:transports?|carries|takes) (?:us|you|the viewer) (?:in)?to (?:a|an|the) (?:\w+ )?(?:world|land|culture)",
    r"\b(?:tribes?|natives|villagers|islanders|nomads|stamm(?=\b.{0,12}\b(?:tanz|leb|trommel|feier|sing))|stammes|dorfbewohner|inselbewohner|nomaden)\b[^.!?]*\b(?:wild(?:ly)?|as (?:it|they) (?:has|have) always|as always|wie (?:er|sie|es) (?:es )?(?:schon )?immer)\b",
    r"\b(?:wise|weise[rn]?) (?:old |alte[rn]? )?(?:\w+ )?(?:gurus?|monks?|shamans?|indians?|chinaman|natives?|chiefs?|sages?|mystics?|mönch\w*|schaman\w*|häuptling\w*|indianer\w*|inder|chinese|medizinm\w*)\b",
    r"\b(?:lost|forgotten|hidden|vergessene[rn]?|verlorene[rn]?|verborgene[rn]?) (?:tribe|civili[sz]ation|world of|stamm|kultur|zivilisation)s?\b|\blost (?:tribe|civili[sz]ation|world of)s?\b|\bfaraway lands?\b|\bstrange (?:customs?|rites?|rituals?|peoples?)\b|\bfremdländisch\w*|\bfremdartig\w* (?:kultur|menschen|musik|bräuche|rituale?|volk|gewänder|klänge|düfte)\w*|\bseltsame\w* (?:bräuche|riten|rituale)|\bforeign-looking\b|\bcolou?rful (?:natives|locals|folk|tribes?)\b|\bfarbenfroh\w* (?:eingeborene|einheimische|völkchen|stamm)\w*",
)
_WEAK = (
    r"(?:mysterious(?:ly)?|mystery|mysteries|enigmatic\w*|timeless\w*|eternal|secretive|magical|enchanting|spellbinding|primal|primordial|pristine|untamed|wild rhythms?|foreign spices"
    r"|geheimnisvoll\w*|rätselhaft\w*|mysteriös\w*|zeitlos\w*|ewige?[nrsm]?|archaisch\w*|urtümlich\w*|ursprünglich\w*|magisch\w*|verzaubernd\w*|verwunschen\w*|ungezähmt\w*|fremden? gewürz\w*|betörend\w*)"
)
_WHERE_IT_MATTERS = compiled(
    rf"\b{_WEAK}\b(?=[^.!?]*\b{_ABOUT_PEOPLE}\b)",
    rf"\b{_ABOUT_PEOPLE}\b[^.!?]*\b{_WEAK}\b",
)
# The five that stand in every list of such words count with any noun for a person or a made thing close by.
_MYSTERY = compiled(
    r"\b(?:mysterious|timeless|enigmatic) (?:\w+ )?(?:beaut\w+|figures?|wom[ae]n|m[ae]n|people|strangers?|land|lands|culture|smile|eyes|gaze|soul|wisdom|charm|allure)\b",
    r"\b(?:geheimnisvoll|zeitlos|rätselhaft|mysteriös)e[nrsm]? (?:\w+ )?(?:schönheit|gestalt\w*|frau\w*|mann|männer|menschen|fremde[rn]?|land|länder|kultur|lächeln|augen|blick|seele|weisheit|zauber|reiz)\b",
)


def red_flags(text: str, typed: str) -> str | None:
    said = found((*_ALWAYS, *_MYSTERY), text, typed)
    if said is not None:
        return said
    for pattern in _WHERE_IT_MATTERS:
        for match in pattern.finditer(text):
            weak = found(compiled(rf"\b{_WEAK}\b"), match[0], typed)
            if weak is not None:
                return weak
    return None


_SUPERLATIVES = compiled(
    r"\b(?:[48] ?k|16k|uhd|hdr|4k uhd)\b(?! (?:run|race|lauf))|\b(?:ultra|hyper|super|highly|incredibly|extremely|insanely|unglaublich|extrem|äußerst|hoch)[- ]?(?:detail\w*|realist\w*|auflösend\w*|sharp|scharf|high[- ]res\w*)",
    r"\b(?:photo|foto)-?realis\w*|\bhyperrealis\w*|\bultrarealis\w*|\b(?:high|highest|best|top|finest|superb|premium|hoh|höchst|best)e?[nr]?[- ](?:quality|resolution|qualität|auflösung)\b|\bhigh-res\w*|\bhochauflösend\w*",
    r"\bmasterpieces?\b|\bmasterful\w*|\bmeisterwerk\w*|\bmeisterhaft\w*|\baward[- ]winning\b|\bpreisgekrönt\w*|\btrending on\b|\bartstation\b|\bdeviantart\b|\bunreal engine\b|\boctane render\w*|\bvolumetric light\w*|\bray[- ]?trac\w+|\bvray\b",
    r"\bbreathtaking\w*|\batemberaubend\w*|\bstunning(?:ly)?\b|\bawe-inspiring\b|\bjaw-dropping\b|\bspectacular(?:ly)?\b|\bspektakulär\w*|\bmesmeri[sz]ing\w*|\bexquisite(?:ly)?\b|\bgorgeous(?:ly)?\b|\bmagnificent(?:ly)?\b|\bphänomenal\w*|\bgrandios\w*|\btraumhaft(?:e[nrsm]?)?\b|\bwunderschön\w*|\bbildschön\w*|\bbezaubernd\w*|\bunvergleichlich\w*",
    r"\b(?:tack|razor)[- ]sharp\b(?= (?:focus|detail|down|image))|\bgestochen scharf\w*|\bsharp focus\b|\bprofessional (?:photo\w*|lighting|quality)\b|\bprofessionelle\w* (?:foto\w*|beleuchtung|qualität)\b|\bintricate detail\w*|\bcinematic (?:light\w*|shot|masterpiece|quality)\b|\bperfect (?:composition|lighting)\b|\bperfekte\w* (?:komposition|beleuchtung)\b|\bepic (?:scene|composition|lighting|masterpiece)\b|\bbest quality\b",
    r"\bbeautiful,|, beautiful\b|\bmost beautiful\b|\bschönste[nrsm]? (?:bild|foto|aller)\w*|\b(?:absolutely|truly|simply) (?:beautiful|perfect|amazing|wonderful)\b|\beinzigartig schön\w*",
)


def superlatives(text: str, typed: str) -> str | None:
    return found(_SUPERLATIVES, text, typed)


_UNSAFE = compiled(
    r"\b(?:slit|slits|slitting|slash(?:es|ed)?|cuts?) (?:[\w']+ ){0,3}?(?:throat|wrist)s?\b|\bblood (?:spurts?|sprays?|gushes|splatters?|drips from)|\b(?:gore|gory|entrails|disembowel\w*|decapitat\w*|behead\w*|dismember\w*|mutilat\w*|corpses?|torture[ds]?|bloodbath|massacre\w*|severed (?:head|hand|arm|limb)s?)\b|\bguts (?:lie|spill|hang)",
    r"\b(?:kehle|gurgel|pulsadern?)\b[^.]{0,20}\b(?:auf|durch)\w*|\b(?:aufgeschlitzt|schlitzt)\b|\bblut (?:spritzt|läuft aus|tropft aus|strömt)|\b(?:gedärme|eingeweide|enthaupt\w*|verstümmel\w*|leichen?|gefoltert|foltert|blutbad|massaker|abgetrennte\w* (?:kopf|hand|arm|glied)\w*|zerstückel\w*)\b",
    r"\b(?:naked|nude|topless) (?:\w+ )?(?:wom[ae]n|m[ae]n|girl|boy|bod(?:y|ies)|child\w*|teenager)s?\b|\b(?:nackt|entblößt)e?[nrsm]? (?:\w+ )?(?:frau\w*|mann|männer|mädchen|junge\w*|körper\w*|kind\w*|brüste)\b|\b(?:porn\w*|orgasm\w*|erotic\w*|erotisch\w*|genitals?|penis|vagina|breasts exposed|sex(?:ual\w*|uell\w*|y)?|moans? (?:with|in) pleasure|stöhnt vor|fellatio|rape[ds]?|raping|vergewaltig\w*)\b",
    r"\b(?:cocaine|heroin|crystal meth|methamphetamine|ecstasy pills|snorts? (?:cocaine|coke|a line)|shoots? up|kokain|kokst|gekokst|koksen|heroin|crack pipe|joints? (?:smoken|geraucht)|sich einen schuss)\b",
    r"\b(?:suicide|kills? (?:him|her|them)self|hangs? (?:him|her)self|self-harm|selbstmord|suizid|bringt sich um|erhängt sich|ritzt sich)\b|\b(?:nazi salute|hitlergruß|heil hitler|sieg heil|swastika|hakenkreuz\w*|white power|ku klux klan)\b",
    r"\b(?:fuck\w*|shit(?:ty)?|bitch(?:es)?|whore|cunt|nigger\w*|faggot\w*|scheiß\w*|fick\w*|hure\w*|wichser\w*|arschloch\w*|fotze\w*|schlampe\w*|hurensohn\w*)\b",
)


def unsafe(text: str, typed: str) -> str | None:
    return found(_UNSAFE, text, typed)
