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
_ALWAYS += compiled(
    r"\b(?:animal|animalistic|feral|bestial|raw primal|animalische?[rnms]?|tierische?[rnms]?|urwüchsige?[rnms]?|ungebändigte?[rnms]?) (?:energy|passion|power|force|rhythms?|instincts?|magnetism|kraft|energie|leidenschaft|wucht|instinkte?n?|rhythm\w*)\b|\b(?:people|folk|volk|land|continent|kontinent|tribe|stamm) (?:without|ohne) (?:a )?(?:history|writing|past|geschichte|schrift|vergangenheit)\b",
    r"\b(?:own|have|possess|besitzen|haben|besitzt) (?:almost |fast |so )?(?:nothing|little|nichts|wenig|kaum etwas)\b,? (?:yet|still|but|and yet|doch|aber|trotzdem|dennoch|und)\b[^.!?]{0,30}\b(?:laugh\w*|smil\w+|happy|happier|content|joy\w*|sing|dance|lach\w+|lächel\w+|glücklich\w*|zufrieden\w*|fröhlich\w*|sing\w*|tanz\w*)\b",
    rf"\b(?:time|die zeit|zeit)\b[^.!?]{{0,40}}\b(?:no meaning|means nothing|does not matter|never (?:moves|passes)|keine (?:rolle|bedeutung)|bedeutungslos|nichts bedeutet)\b(?=[^.!?]*{_ABOUT_PEOPLE})|\b{_ABOUT_PEOPLE}\b[^.!?]{{0,40}}\b(?:time|die zeit|zeit)\b[^.!?]{{0,30}}\b(?:no meaning|means nothing|keine (?:rolle|bedeutung)|bedeutungslos)\b|\btime has no meaning in this (?:{_PEOPLES_EN})\b|\bzeit spielt in diese[mr] (?:{_PEOPLES_DE}) \w+ keine rolle\b",
    rf"\b(?:{_PEOPLES_EN}|{_PEOPLES_DE}) (?:sage|guru|wise (?:m[ae]n|wom[ae]n)|mystic|seer|weise[rn]?|seher(?:in)?|mystiker(?:in)?|magier|zauberer)\b|\bspeaks? (?:only )?in riddles\b|\bspricht in rätseln\b",
    r"\b(?:roma|sinti|romani|gypsies|bedouins?|nomads?|nomaden|beduinen?|tuareg|travellers)\b[^.!?]{0,30}\b(?:free (?:from|of) (?:all |any )?(?:rules|laws?|worries|care)|without (?:rules|laws|worries|a care)|frei von (?:allen |jeder |jeglichen )?(?:regeln|gesetzen|sorgen|zwängen)|ohne (?:regeln|gesetze|sorgen)|sorglos\w*|carefree|proud and (?:silent|free|wild)|stolz und (?:frei|schweigsam|wild|still))",
    rf"\b(?:spells|curses|magic|superstition|ghosts|demons|zauber|flüche|magie|aberglaube|geister|dämonen)\b[^.!?]{{0,30}}\b(?:rules?|govern\w*|fills?|beherrsch\w*|regier\w*|bestimm\w*)\b(?=[^.!?]*\b{_ABOUT_PEOPLE})|\b(?:from|of|aus) (?:a|an|another|einer?) (?:strange|foreign|unknown|distant|other|fremden|anderen|fernen|unbekannten) (?:world|welt|land)\b(?=[^.!?]*\b{_ABOUT_PEOPLE})",
    r"\bnatur(?:kind|mensch|bursche|mädchen|geschöpf|völkchen)(?:er|en|es|s|e)?\b|\b(?:child|children|son|daughter)(?:ren)? of (?:the )?(?:nature|jungle|wild|forest|plains|steppe|savannah?)\b|\b(?:kind|sohn|tochter) (?:der|des) (?:natur|dschungels|wildnis|steppe|savanne|urwalds)\b",
    r"\b(?:instin[ck]ts?|senses?|sinne?|anmut|grace|eyes?|augen) (?:of|eine[sr]|wie ein\w*) (?:an? )?(?:\w+ )?(?:animals?|beasts?|jaguars?|panthers?|leopards?|wol(?:f|ves)|wolfes|tiere?s?|raubtier\w*|raubkatze|löwen|predators?|hawk|gazell\w+)\b",
    r"\b(?:schlicht|einfach|bescheiden|genügsam|simple|humble|modest|gentle|innocent|unspoil(?:ed|t)|primitive|wild|scheu|shy|sanftmütig|kindlich|naiv)\w* (?:\w+ )?(?:\w*volk\w*|völkchen|\w*völker\w*|tribes?|tribesm[ae]n|tribespeople|natives?|villagers?|folk|hill people|mountain people|forest people|islanders?|nomads?|nomaden|inselbewohner\w*|waldmenschen|bergmenschen|dorfbewohner\w*)\b",
    r"\b(?:knows?|knowing|knew|heard|hears|understands?) (?:nothing|little|not much|not a thing) (?:of|about) (?:the )?(?:\w+ )?(?:civili[sz]ation|world|modern\w*|progress|technology|money|clocks?|time|cities|outside)\b|\bnever (?:seen|heard of|known|met) (?:an? |the )?(?:\w+ )?(?:civili[sz]ation|modern\w*|white m[ae]n|outside world|technology|machines?)\b|\b(?:nichts|nie etwas|wenig|noch nie) (?:von|vom) (?:\w+ ){0,2}?(?:zivilisation|modernen?|fortschritt|welt|technik|außenwelt|geld|uhren)\b[^.!?]{0,20}\b(?:wei(?:ß|ss)|wissen|ahn\w*|gehört|kennt|kennen|hält|versteh\w*)",
    r"\b(?:still |noch )?(?:live|lives|living|leben|lebt)\b[^.!?]{0,40}\b(?:as|like|wie) (?:their|ihre|die) (?:\w+ )?(?:ancestors|forefathers|ahnen|vorfahren|urahnen)\b|\b(?:despite|in spite of|for all) (?:their|the|his|her) (?:\w+ )?poverty\b|\btrotz (?:ihrer |der |aller |seiner )?(?:\w+ )?armut\b|\barm,? aber\b|\bpoor but\b",
    r"\b(?:at )?one with (?:the )?(?:nature|land|earth|jungle|forest|spirits)\b|\beins mit (?:der |dem )?(?:natur|wald|erde|dschungel|geistern)\b|\b(?:children|sons|daughters) of (?:the )?(?:nature|desert|jungle|steppe|sun)\b|\b(?:kinder|söhne|töchter) der (?:natur|wüste|steppe|sonne|wildnis)\b",
    r"\bheiße[ms]? blut\b|\bhot blood\b|\b(?:fahrende[nrsm]?|fahrendes) (?:volk|leute)\b|\bwandering (?:folk|people|tribe)\b|\bin their blood\b|\bliegt (?:ihnen|ihm|ihr) im blut\b",
    r"\b(?:like|wie) (?:in the |the |in |in der |zur )?(?:stone age|steinzeit)\b|\bwild und ursprünglich\b|\broh und ungezähmt\b|\b(?:wild|raw) and (?:untamed|primal|free-spirited)\b|\b(?:people|menschen)[^.!?]{0,40}\b(?:untouched|unberührt)\b|\bnaturmensch\w*",
    r"\bnatives\b(?! (?:speakers?|plants?))(?<!digital natives)|\b(?:poor|arm) (?:in|an) [^.,;!?]{1,25},? (?:but|yet|aber|doch) (?:rich|reich)\b|\b(?:culture|people|tradition|folk|way of life|kultur|volk|bräuche|lebensweise)\w*\b[^.!?]{0,30}\b(?:pure|rein|unverfälscht\w*|unspoil\w*|unberührt\w*|uncorrupted|unverdorben\w*)\b",
    r"\b(?:far|away|remote|fern|weit weg|abseits) (?:from|of|von|vom|der|aller) (?:\w+ ){0,4}?(?:modern world|civili[sz]ation|modernity|modernen? welt|zivilisation|moderne)\b|\b(?:live|lives|living|leben|lebt|wohnen)\b[^.!?]{0,60}\b(?:wie vor|as they did|as|like) (?:\w+ ){0,4}?(?:jahren|years ago|centuries ago|jahrhunderten|generations ago)\b|\b(?:still|noch) (?:believes? in|an) (?:magic|spirits|zauberei|geister|magie)\b|\bglauben noch an\b",
    r"\bland (?:of|der|des) (?:the )?(?:\w+ )?(?:sheikhs?|sheiks?|maharaj\w+|sultans?|geishas?|samurai|rising sun|shamans?|genies?|scheichs?|maharadschas?|sultane?|aufgehenden sonne|schamanen|dschinn\w*)\b|\b(?:veiled|dark-eyed|verschleierte|dunkeläugige|schwarzäugige)[nr]? (?:beaut(?:y|ies)|maiden|schönheit|schöne)\w*|\bmorgenl[aä]nd\w*",
    r"\b(?:redskins?|rothäute?|chinam[ae]n|half-naked|halbnackte?[nr]?|barfüßige[nr]? (?:eingeborene\w*|wilde\w*)|submissive|unterwürfig\w*|savage (?:beauty|rhythms?|drums?)|jungle (?:rhythms?|beats?|people)|urwald(?:rhythm\w*|menschen|volk)|buschtrommel\w*|voodoo-?\w*|schrumpfk[oö]pf\w*|shrunken heads?|war paint|kriegsbemalung)\b",
    r"\b(?:spicy|sensual|mysterious|veiled|obedient|verschleierte|sinnliche|anmutige) (?:\w+ )?(?:latina|latino|orientalin|asiatin|geisha|asian|arab|eastern|exotin|harem)\w*\b|\bexotin\w*\b",
    r"\b(?:childlike|naive|innocent|simple-minded|carefree|unschuldig\w*|naiv\w*|kindlich\w*|unbekümmert\w*|sorglos\w*) (?:\w+ )?(?:natives?|villagers?|islanders?|tribes?people|indigenous|nomads?|einheimische\w*|dorfbewohner\w*|inselbewohner\w*|ureinwohner\w*|völkchen|indios?|afrikaner\w*)\b",
    r"\b(?:secret|forbidden|dark|ancient|geheime[nrs]?|verbotene[nrs]?|dunkle[nrs]?|uralte[nrs]?) (?:tribal |stammes)?(?:rites?|ritual\w*|riten|zeremonien?|bräuche|customs?)\b|\b(?:trance|ecstasy|ekstase) (?:of|der) (?:\w+ )?(?:drums?|tribe|trommeln?)\b",
    r"\b(?:no|without|ohne|keine?) (?:\w+ )?(?:knowledge|idea|ahnung|wissen) (?:of|von) (?:the )?(?:\w+ )?(?:modern|outside|modernen|zivilisation|civili[sz]ation|außenwelt)\b|\b(?:stone[- ]age|steinzeitlich\w*) (?:people|tribe|life|volk|stamm|leben)\b|\blike (?:in|from) (?:another|a bygone) (?:age|century|time)\b",
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
    r"\b(?:unmatched|unrivall?ed|unparalleled|unsurpassed|peerless|matchless|flawless|immaculate|pin-sharp|tack-sharp|razor-sharp|unvergleichlich|unübertroffen|makellos|gestochen scharf|messerscharf|hinreißend|umwerfend|traumhaft schön|bildschön|wunderschön|überwältigend|atemberaubend|meisterlich|meisterhaft|sensationell|phänomenal|spektakulär|stunning|gorgeous|spectacular|phenomenal|sensational|mesmeri[sz]ing|awe-inspiring|jaw-dropping)(?:e[nrsm]?|ly)?\b",
    r"\b(?:finest|greatest|best|most beautiful|prettiest|coolest|schönste|tollste|beste|großartigste|herrlichste|coolste)[nrsm]? (?:[\w-]+ )?(?:\w+ )?(?:ever|of all time|in the world|you have ever seen|you've ever seen|imaginable|aller zeiten|der welt|das man je|den man je|die man je|weit und breit)\b",
    r"\b(?:[48] ?k|16k|uhd|hdr|4k uhd)\b(?! (?:run|race|lauf))|\b(?:ultra|hyper|super|highly|incredibly|extremely|insanely|unglaublich|extrem|äußerst|hoch)[- ]?(?:detail\w*|realist\w*|auflösend\w*|sharp|scharf|high[- ]res\w*)",
    r"\b(?:photo|foto)-?realis\w*|\bhyperrealis\w*|\bultrarealis\w*|\b(?:high|highest|best|top|finest|superb|premium|hoh|höchst|best)e?[nr]?[- ](?:quality|resolution|qualität|auflösung)\b|\bhigh-res\w*|\bhochauflösend\w*",
    r"\bmasterpieces?\b|\bmasterful\w*|\bmeisterwerk\w*|\bmeisterhaft\w*|\baward[- ]winning\b|\bpreisgekrönt\w*|\btrending on\b|\bartstation\b|\bdeviantart\b|\bunreal engine\b|\boctane render\w*|\bvolumetric light\w*|\bray[- ]?trac\w+|\bvray\b",
    r"\bbreathtaking\w*|\batemberaubend\w*|\bstunning(?:ly)?\b|\bawe-inspiring\b|\bjaw-dropping\b|\bspectacular(?:ly)?\b|\bspektakulär\w*|\bmesmeri[sz]ing\w*|\bexquisite(?:ly)?\b|\bgorgeous(?:ly)?\b|\bmagnificent(?:ly)?\b|\bphänomenal\w*|\bgrandios\w*|\btraumhaft(?:e[nrsm]?)?\b|\bwunderschön\w*|\bbildschön\w*|\bbezaubernd\w*|\bunvergleichlich\w*",
    r"\b(?:tack|razor)[- ]sharp\b(?= (?:focus|detail|down|image))|\bgestochen scharf\w*|\bsharp focus\b|\bprofessional (?:photo\w*|lighting|quality)\b|\bprofessionelle\w* (?:foto\w*|beleuchtung|qualität)\b|\bintricate detail\w*|\bcinematic (?:light\w*|shot|masterpiece|quality)\b|\bperfect (?:composition|lighting)\b|\bperfekte\w* (?:komposition|beleuchtung)\b|\bepic (?:scene|composition|lighting|masterpiece)\b|\bbest quality\b",
    r"\bbeautiful,|, beautiful\b|\bmost beautiful\b|\bschönste[nrsm]? (?:bild|foto|aller)\w*|\b(?:absolutely|truly|simply) (?:beautiful|perfect|amazing|wonderful)\b|\beinzigartig schön\w*",
)


_SUPERLATIVES += compiled(
    r"\b(?:unbeatable|unschlagbar\w*|umwerfend\w*|ultimative[nrsm]?|ultimate (?:\w+ )?(?:solo|song|picture|image|scene|experience|masterpiece)|meisterstücke?s?|hochwertig\w*|herrlichste[nrsm]?|prächtigste[nrsm]?|vollendete[nr]? schönheit|erlesenste[nrsm]?|top-qualität|spitzenqualität|superlativ\w*)\b",
    r"\b(?:most \w+|\w{3,}est|best|\w{3,}ste[nrsm]?) (?:\w+,? ){0,3}?(?:that |which |den |die |das |der )?(?:you|one|man|ich|we|wir|anyone|jemand|die welt|the world)(?: have| has|'ve| hat)? (?:ever|je|jemals)\b",
    r"\b(?:flawless|unparalleled|unmatched|unrivall?ed|world-class|top-notch|state[- ]of[- ]the[- ]art|extraordinary|unforgettable|sensational|phenomenal|marvell?ous|amazing|incredible|wonderful|fantastic(?! (?:creature|beast|animal|being)s?)|awesome|brilliantly executed|superb|sublime|outstanding|dazzlingly beautiful|picture-perfect|one of a kind)(?:ly)?\b",
    r"\b(?:makellos|unübertroffen|unvergesslich|überwältigend|sensationell|hinreißend|wundervoll|unglaublich (?:schön|toll)|unbeschreiblich|weltklasse|erstklassig|fabelhaft|großartig|fulminant|brillant(?! geschliffen)|zauberhaft|außergewöhnlich (?:schön|gut)|überirdisch schön|einmalig schön)(?:e[nrsm]?)?\b",
    r"\b(?:the )?(?:most|best|greatest|finest) (?:\w+ )?(?:\w+ )?(?:ever (?:made|seen|painted|heard|created|written)|of all time|in the (?:whole )?world|imaginable)\b|\b(?:schönste|beste|größte|tollste|perfekteste)[nrsm]? (?:\w+ )?(?:\w+ )?(?:der welt|aller zeiten|überhaupt|das es gibt|die es gibt|der es gibt|ever)\b",
    r"\bperfect (?:picture|image|song|piece|shot|moment|harmony|scene|beauty|masterpiece|lighting|details?|anatomy)\b|\bperfekte?[nrsm]? (?:bild|song|lied|stück|werk|moment|harmonie|szene|schönheit|aufnahme|komposition|licht|details?|anatomie)\b|\bso beautiful (?:that|it)\b|\bso schön,? dass\b|\b(?:visual|visuelles|musical|musikalisches) (?:feast|treat|masterpiece|erlebnis|feuerwerk)\b|\beine? (?:augenweide|ohrenschmaus|wahre[rs]? genuss)\b|\bfeast for the (?:eyes|ears)\b",
    r"\b(?:ultra|super|full|mega)[- ]?hd\b|\b(?:1080|2160|4320)p\b|\bdslr\b|\bbokeh masterpiece\b|\b(?:studio|museum|gallery|magazine)[- ]quality\b|\bmuseumsreif\w*|\bhit[- ]?(?:verdächtig\w*|single quality)|\bradio[- ]ready\b|\bchart-?topping\b|\bviral\b|\bdetailreichste\w*|\bhyper-?detail\w*|\bhöchste[rnm]? (?:detail\w*|qualität|auflösung|präzision)\b",
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


_UNSAFE += compiled(
    r"\b(?:push(?:es|ed)?|throws?|threw|shoves?|hurls?|stößt|stoßen|wirft|schubst|stürzt) (?:\w+ ){1,4}?(?:off|from|out of|vom|von|aus|in) [^.!?]{0,25}\b(?:to (?:his|her|their|its) death|in den tod|zu tode)\b|\b(?:never (?:to )?wake|nie (?:mehr|wieder) auf(?:zu)?wach\w*|for good end it all|allem ein ende)\b|\b(?:swallows?|takes?|schluckt|nimmt)\b[^.!?]{0,25}\b(?:all (?:his|her|the) pills|handful of pills|overdose|alle tabletten|eine handvoll (?:tabletten|pillen))\b",
    r"\b(?:snort\w*|sniffs?|zieht|schnupft)\b[^.!?]{0,25}\b(?:powder|pulver|line|lines)\b|\bdrinks? (?:\w+ )?(?:beer|wine|booze|alcohol)\b[^.!?]{0,30}\b(?:throw|threw|vomit\w*|puk\w+|collaps\w*|pass(?:es|ed)? out)\b|\b(?:kotz\w*|puking|pukes|bier\w* (?:\w+ )?kotz\w*)\b",
    r"\b(?:kicks?|beats?|punch\w*|stomp\w*|tritt|treten|prügel\w*|schläg\w*|schlagen)\b[^.!?]{0,50}\b(?:until|till|bis) (?:he|she|they|it|er|sie|es) (?:\w+ ){0,2}?(?:stops?|is|are|lies|mehr|sich nicht|bewegungslos|bewusstlos|tot|nicht mehr|liegen)\b[^.!?]{0,20}",
    r"\b(?:poison(?:s|ed|ing)|vergifte[tn]?|drown(?:s|ed|ing)|ertränk\w*|suffocat(?:es|ed|ing)|erstick(?:t|te) (?:ihn|sie|das|den)) (?:(?:his|her|their|the|a|him|them|ihn|sie|seine?n?|ihre?n?|den|die|das|eine?n?) )(?:\w+ )?(?:neighbou?rs?|wife|husband|kittens?|pupp(?:y|ies)|child(?:ren)?|baby|man|woman|dog|cat|king|enemy|brother|sister|nachbar\w*|frau|mann|kätzchen|welpen?|kinde?r?|baby|hund|katze|könig|bruder|schwester|feind)\b|\b(?:watch(?:es|ing)? (?:him|her|them|it) die|beim sterben zu)\b",
    r"\b(?:moans?|moaning|groans?) (?:\w+ )?(?:in|on|under|with) (?:\w+ )?(?:bed|pleasure|lust|sheets|ecstasy)\b|\b(?:stöhn\w*) (?:\w+ )?(?:im|vor|unter) (?:bett|lust|erregung)\b|\b(?:filthy|dirty|stinking|verdammte[nr]?|dreckige[nr]?|stinkende[nr]?|scheiß-?) ?(?:foreigners?|immigrants?|refugees?|jews?|muslims?|blacks?|arabs?|ausländer\w*|flüchtling\w*|juden|moslems?|türken|araber)\b|\bgo back to where you came from\b|\bgeht? (?:doch )?(?:dahin )?zurück,? (?:wo|woher) (?:ihr|du)\b",
    r"\b(?:schlinge|strick|noose|rope)\b[^.!?]{0,20}\b(?:um (?:den|seinen|ihren|dem|die)|around (?:his|her|their|the)) (?:hals|nacken|kehle|neck|throat)\b|\b(?:am (?:strick|galgen|seil) (?:häng|baumel)|erhäng|aufgeknüpft|gehängt(?:e[nr]?)? (?:mann|frau|bauer|körper|leiche))\w*|\b(?:hangs?|hanging|dangl(?:es|ing)|swings) (?:lifeless|dead|from the (?:gallows|noose))\b",
    # violence against people
    r"\b(?:sword|knife|dagger|spear|blade|axe|bullet|arrow|schwert|messer|dolch|speer|klinge|axt|kugel|pfeil)s?\b[^.!?]{0,40}\b(?:into|through|in|durch)\b[^.!?]{0,20}\b(?:belly|chest|heart|throat|neck|stomach|skull|eye|guts|bauch|brust|herz|hals|kehle|magen|schädel|auge)s?\b",
    r"\b(?:blood (?:pours|runs|flows|drips|trickles|pools|streams|seeps|splashes)|blut (?:quillt|fließt|rinnt|läuft|tropft|klebt|sickert|rann|floss)|until (?:he|she|it|they) bleeds?|bis (?:er|sie|es) blute\w*|bleeding (?:wound|body|man|woman|corpse|to death)|klaffende wunde\w*|gaping wounds?|offene[rn]? bruch)\b",
    r"\b(?:shoots?|shot|shooting|fires at|gunned down|guns down) (?:an? |the |his |her |their )?(?:\w+ )?(?:prisoner|man|men|woman|women|boy|girl|king|guard|soldier|cop|policeman|teacher|child|children|dog|cat|enemy|hostage|crowd|classmate|neighbou?r)s?\b(?! (?:an? |the |out|with a camera|into space))|\b(?:schießt|schoss|schießen|feuert)\b[^.!?]{0,40}\b(?:in den|in die|ins|in das) (?:hinter)?(?:kopf|brust|rücken|herz|gesicht|genick|bein|menge)\b",
    r"\b(?:hits|beats|slaps|punches|kicks|whips|strangles) (?:his|her|the|a) (?:\w+ )?(?:wife|husband|child|children|son|daughter|girlfriend|boyfriend|mother|slave|prisoner|pupil)s?\b|\b(?:beats|beaten) (?:him|her|them|up|bloody|to death)\b|\b(?:schlägt|prügelt|peitscht|tritt|würgt|misshandelt) (?:seine?n?|ihre?n?|den|die|das|eine?n?) (?:\w+ )?(?:frau|mann|kind|kinder|sohn|tochter|freundin|freund|mutter|sklaven?|gefangenen?|schüler\w*)\b|\b(?:ver)prügelt\b|\btotgeschlagen|\berschlägt\b|\berschlagen(?:e[nr]?)? (?:mann|frau|körper)\w*",
    r"\b(?:cuts?|cutting|slices?|carves?) (?:into )?(?:his|her|their|my) (?:own )?(?:arm|wrist|skin|leg|thigh|vein)s?\b|\bschneidet sich\b[^.!?]{0,40}\b(?:arme?n?|handgelenke?|haut|puls\w*|beine?|ader\w*)\b|\bausgestochen\w* auge\w*|\beyes? (?:pecked|gouged) out\b|\baugen? ausge(?:hackt|stochen|kratzt)",
    r"\b(?:takes?|taking|pulls?) off (?:all )?(?:of )?(?:his|her|their) (?:clothes|bra|pants|underwear|panties|bikini)\b|\blies? (?:down )?on top of (?:him|her)\b|\bundress(?:es|ed|ing) (?:him|her|slowly|completely)\w*|\b(?:kisses|küsst) (?:\w+ ){0,3}?(?:leidenschaftlich|passionately|brüste|breasts)\b|\bohne kleider (?:auf|im|in) (?:ihm|ihr|bett)\b",
    r"\b(?:sniff(?:s|ing)?|huff(?:s|ing)?) (?:glue|petrol|gasoline|paint thinner|solvents?)\b|\bschnüffel\w* (?:\w+ )?(?:klebstoff|kleber|lösungsmittel|benzin|lack)\w*|\b(?:pours|drinks?|downs|chugs|gulps|swigs?|sips)\b[^.!?]{0,20}\b(?:gin|rum|liquor|booze|bourbon|absinthe|moonshine)\b|\b(?:kippt|trinkt|trinken|schluckt|gießt)\b[^.!?]{0,20}\b(?:gin|rum|likör|absinth|korn|fusel)\b|\b(?:beer after beer|bier um bier|bier nach bier)\b",
    r"\b(?:stab(?:s|bed|bing) (?:him|her|them|the|his|a)|stabbed|shoot(?:s|ing)? (?:him|her|them|a man|a woman|people|someone|dead)|shot (?:dead|in the (?:head|chest|face))|murder(?! of crows)(?:s|ed|er|ers|ing|ous)?|kill(?:s|ed|ing)? (?:his|her|him|them|every\w*|people|a (?:man|woman|child|boy|girl|guard|knight))|strangl\w+|chok(?:es|ed|ing) (?:him|her|the)|executioners?|executed by|lynch(?:ed|ing|es)|lynch mob|hanged (?:him|her|them|from|by the neck)|impal\w+|slaughter(?:s|ed|ing)? (?:him|her|them|the (?:people|villagers|enem\w+))|(?:severed|cut-off|hacked-off|chopped-off|torn-off) (?:leg|head|hand|arm|limb|finger|foot|ear)s?|ragged flesh|splintered bones?|blood-?soaked|blood-?stained|covered in blood|pools? of blood|bloodied|bleeding out|bleeds? to death|rips? (?:off|out) (?:his|her|their|the) (?:\w+ )?(?:head|heart|arm|leg|eye|gut)s?|tears? (?:his|her|their) (?:\w+ )?(?:head|arm|leg|flesh)\w*|chops? off|brains? (?:splatter|spill|on the)|flesh (?:hangs|rots|tears|peels)|rotting (?:bod|flesh|corpse)\w*|dead bod(?:y|ies)|skinned alive|burn(?:s|ed|t|ing)? alive|gun (?:to|at|against) (?:his|her|their|the|a) (?:\w+ )?(?:head|temple|face)|bomb vest|suicide bomb\w*|school shooting|terror attack|beheading)\b",
    r"\b(?:ersticht|erstochen|erschießt|erschossen|ermorde\w*|mörder\w*|mord(?:et|en)?|tötet (?:ihn|sie|den|die|das|alle|seine\w*|ihre\w*|einen?)|erwürg\w*|erdrossel\w*|hinricht\w*|hingerichtet|gehenkt|gelyncht|(?:abgeschnitten|abgehackt|abgerissen|abgeschlagen|abgetrennt)\w* (?:kopf|köpfe|hand|hände|arm\w*|bein\w*|finger|ohr\w*|glied\w*|zunge|zeh\w*)|abgeschlachtet|schlachtet (?:menschen|ihn|sie|die leute)|blutüberström\w*|blutverschmier\w*|blutlachen?|blutgetränkt\w*|blutrünstig\w*|voller blut|in seinem blut|in ihrem blut|verblutet|reißt (?:ihm|ihr|ihnen) (?:\w+ ){0,2}?(?:kopf|herz|arm|bein|zunge|augen?)\w*|hackt (?:ihm|ihr|ihnen)|hackt \w+ (?:kopf|arm|bein|hand)|gehirn spritzt|hirn spritzt|fleischfetzen|verwes\w+|kadaver|tote körper|toter körper|lebendig (?:verbrannt|begraben|gehäutet)|sprengstoffgürtel|selbstmordattent\w*|amoklauf\w*|hält (?:ihm|ihr) (?:\w+ )?(?:pistole|waffe|messer) an)\b",
    # sex
    r"\b(?:lingerie|(?:wom[ae]n|girls?|m[ae]n|boys?|dancers?)[^.!?]{0,30}\bin (?:\w+ )?(?:underwear|panties|thongs?)|stripp(?:er|ers|ing|tease)|striptease|strips naked|lap ?dance\w*|pole ?danc\w+|brothels?|prostitut\w+|hookers?|escort girl|masturbat\w+|orgy|orgies|ejaculat\w+|bare breasts?|her breasts|nipples?|fully (?:nude|naked)|stark naked|naked (?:on|in|and|except|before|together|under)|make(?:s)? love|making love|made love|have sex|having sex|has sex|had sex|fondl\w+|grop(?:es|ed|ing)|aroused|lustful\w*|kinky|bdsm|hentai|onlyfans)\b",
    r"\b(?:reizwäsche|dessous|(?:frau\w*|mädchen|männer|mann|tänzer\w*)[^.!?]{0,30}\bin (?:\w+ )?unterwäsche|stripper\w*|strip(?:pt|tease)\w*|zieht sich (?:langsam )?(?:nackt |ganz )?aus|tabledance|bordell\w*|puffmutter|prostituier\w*|nutten?|masturb\w+|onanier\w*|orgien?|ejakul\w*|erigiert\w*|brüste|brustwarzen|nippel|busen|splitter(?:faser)?nackt|völlig nackt|ganz nackt|nackt (?:auf|im|in|und|vor|miteinander|unter|sex)|hat(?:ten)? sex|haben sex|sex (?:mit|auf|haben|im|vor)|liebesspiel|begrapscht|befummelt|erregt (?:stöhn|reib|beweg)\w*|lüstern\w*|geil(?:e[nrsm]?)?)\b",
    # drugs and drink
    r"\b(?:marijuana|cannabis|hashish|hash pipe|crack (?:pipe|cocaine|rocks|den)|meth|lsd|mdma|ecstasy|ketamine|opium|opioids?|fentanyl|amphetamines?|speed pills|magic mushrooms|cocaine|coke lines?|(?:lights?|smok(?:es?|ing|ed)|rolls?|shares?|passes) (?:a |an |his |her |another |up )?(?:joints?|blunts?|spliffs?|crack|weed|pot|dope)|(?:gets?|getting|is|are|was|completely|dead|blind) (?:stoned|drunk|wasted|high on (?:drugs|weed|pills|coke))|drunken(?:ly)?|drunk (?:on|with|and|men|man|driver|clown)|vodka|whisk(?:e)?y|tequila|shots of (?:rum|gin|schnapps)|(?:chain-?)?smok(?:es|ing) (?:a |an |his |her )?(?:cigarettes?|cigars?)|syringe(?:s)? (?:in|into) (?:his|her|their|the|an) (?:\w+ )?arm|drug (?:dealer|lord|cartel)s?|drugs)\b",
    r"\b(?:kiff\w+|bekifft\w*|cannabis|marihuana|haschisch|gras (?:rauch\w+|geraucht)|rauchen? (?:gras|einen joint|crack|haschisch)|raucht (?:gras|einen joint|eine tüte|crack|bong)|(?:einen?|den|seinen|ihren|dicken?) joints?|crystal meth|lsd|mdma|ecstasy\w*|ecstasy-\w+|opium|ketamin|amphetamin\w*|drogen\w*|drogendealer\w*|kokain\w*|heroin\w*|zugedröhnt|high von|spritze in (?:den|die|seinen|ihren) (?:arm|vene)|setzt sich (?:eine spritze|einen schuss)|besoffen\w*|betrunken\w*|sturzbetrunken\w*|besäuft sich|betrinkt sich|wodka\w*|whisk(?:e)?y\w*|tequila|schnaps(?!idee)\w*|zieht (?:sich )?eine line|raucht (?:eine )?zigarette\w*|zigaretten? raucht|qualmt eine)\b",
    # self-harm, hate
    r"\b(?:cut(?:s|ting)? (?:him|her|my|their)sel(?:f|ves)|(?:slit|cut)s? (?:his|her|their) wrists?|overdos\w+|noose|end(?:s|ed)? (?:his|her|their) (?:own )?life|jumps? to (?:his|her) death|nazis? (?:march|flag|parade|salute)|gas chambers?|ethnic cleansing|nigg(?:er|a)s?|kikes?|gooks?|wetbacks?|towelheads?|ragheads?|trann(?:y|ies)|retards?|fagg?(?:ot)?s?)\b",
    r"\b(?:schneidet sich (?:in |die )|ritzt (?:sich|ihre\w*|seine\w*) (?:arme?|haut|pulsadern)?|überdosis|galgenstrick|nimmt sich das leben|in den tod (?:springt|gestürzt)|springt in den tod|(?:dreckige[nr]? |scheiß)?(?:kanak\w+|kanax|polacken?|itaker|schlitzaugen?|kümmeltürken?|judensau\w*|saujud\w*|schwuchtel\w*|spast(?:i|is|en)|missgeburt\w*|mongo(?:s|loid\w*)|krüppel|neger\w*|bimbo(?:s)?|untermensch\w*|asylanten(?:pack|schwein\w*))|vergas\w+|gaskammer\w*|ausländer raus|nazi(?:s|fahne|gruß|parole\w*)?)\b",
)


def unsafe(text: str, typed: str) -> str | None:
    return found(_UNSAFE, text, typed)
