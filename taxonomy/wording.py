"""Words around the name of a disease: those that change what is said, and those that do not."""

from __future__ import annotations

import re

from skinrl.taxonomy.text import normal_token

# A text with one of these says something other than "it is this disease". It is read only as a name that holds the
# same word ("malignant melonoma"), never around it.
_REFUSED = """
no not non nor neither never none without absent absence lack lacks denies denied negative exclude excluded excludes
excluding exclusion unlikely doubtful rule ruled out rather instead against cannot can t isn isnt dont or and versus vs
either both with plus also but except than unlike like mimic mimics mimicking resembling resembles simulating history
previous prior former risk free possible possibly maybe perhaps question unclear uncertain unknown undetermined
indeterminate differential diagnoses combination i am im sure unsure may might could would should if because
confirm confirmed needs need due secondary benign malignant pre post para pseudo anti hyper hypo
"""
# These may stand beside a name without another disease being meant, or then a kind of the same one.
_FILLER = """
of the a an on in at to by over from its this that is it for most very highly likely probable probably consistent
suggestive classic classical typical early late mild moderate severe active localized local generalized widespread
extensive acute subacute chronic recurrent idiopathic familial sporadic solitary single small large left right
bilateral upper lower patient lesion type variant form subtype skin cutaneous disease diagnosis adult childhood
pediatric condition resolving nos unspecified autosomal dominant recessive case
treatment therapy cryotherapy laser surgery removal infestation outbreak flare
juvenile senile infantile infant neonatal elderly peripheral distal central primary persistent refractory relapsing
continuous diffuse disseminated scattered unilateral symmetric symmetrical common ordinary seasonal occupational
obvious obviously definite definitely evident evidently certainly clearly
hereditary inherited isolated spontaneous inflamed irritated infected healing old exudative black brown red yellow
purple fluid filled watery weeping oozing itchy itching painful epidermal epidermic circumferential punctate patch
patchy spot area stage phase category manifestation presentation appearance symptom newborn baby infectious
pregnancy related infection rash eruption papule vesicle pustule bump growth white grade multiple several numerous
ruptured suspected suspect consider considering
1 2 3 4 5 ii iii iv
"""
# Places on the body, which sometimes make another disease of it: asked after the fillers.
_SITES = """
scalp face facial cheek nose nasal ear lip eyelid eye forehead temple chin neck trunk chest back abdomen shoulder arm
forearm elbow wrist hand finger palm leg thigh knee shin ankle foot toe sole buttock limb extremity body
mouth armpit axilla groin toenail fingernail calf waist breast
"""
# Organs in front of a name: the disease is none of the skin.
_ELSEWHERE = """
meningeal leptomeningeal uveal ocular intraocular choroidal retinal corneal cerebral brain spinal pulmonary lung
pleural bronchial tracheal laryngeal esophageal gastric intestinal colonic colorectal hepatic liver renal kidney
bladder cardiac heart bone thyroid pancreatic splenic ovarian uterine prostatic pituitary adrenal sinonasal
"""


# Harmless around the name of one disease; before "keratosis" and "nevus" they make another one of it.
_OF_A_KIND = "epidermal epidermic circumferential punctate patchy yellow purple white fluid filled infectious"


def _words(text: str) -> frozenset[str]:
    return frozenset(map(normal_token, text.split()))


REFUSED = _words(_REFUSED)
FILLER = _words(_FILLER)
ELSEWHERE = _words(_ELSEWHERE)
OF_A_KIND = _words(_OF_A_KIND)
HARMLESS = FILLER | _words(_SITES)

# ---- cues in free text: small letters, no apostrophes

# These hold a negation and deny nothing.
HELD = re.compile(
    r"\b(?:not|cannot|cant|couldnt|wouldnt|shouldnt|dont|never|unable to|hard to|difficult to|without|nor)"
    r"(?: \w+){0,3}? (?:exclud\w+|rul(?:e|ed|ing) (?:it )?out)\b"
    r"|\b(?:not|cannot|cant|couldnt|unable to|hard to|difficult to) (?:\w+ )?"
    r"(?:tell|say|determine|confirm|judge|identify|diagnose|clear|certain|sure|known)\b"
    r"|\b(?:not|dont|never) (?:\w+ )?(?:forget|overlook|miss|ignore|neglect|underestimate)\b"
    r"|\b(?:not|wouldnt|dont) (?:\w+ ){0,2}?surprised\b"
    r"|\bnot (?:\w+ )?(?:unlikely|impossible|implausible|inconsistent|incompatible|unlike)\b"
    r"|\b(?:no|not) (?:very |much |so )?different (?:from|to|than)\b|\b(?:nothing|none) (?:else )?(?:but|other than)\b"
    r"|\bno (?:\w+ ){0,2}?(?:treatment|therapy|cure)\b"
    r"|\bno (?:doubt|question|problem|worry|worries|wonder)\b|\bno need\b(?! to (?:think|consider|suspect|be afraid))"
    r"|\bnot (?:only|just|necessarily|uncommon|rare|all|every|always)\b"
    r"|\bwithout (?:a |any )?doubt\b|\bwhether or not\b|\bis or is not\b"
    r"|\b(?:not|cannot|cant|hard to|difficult to) (?:be )?(?:\w+ )?(?:differentiat|distinguish)\w*"
    r"(?: \w+){0,3}? (?:from|with)\b"
    r"|^\W*(?:isnt|is (?:it|this|that) not|could (?:it|this) not|why (?:not|isnt|is not|cant|couldnt)"
    r"|(?:couldnt|wouldnt|shouldnt|cant|doesnt|dont) (?:it|this|that|these|you|we))\b(?=.*\?)"  # asks for a yes
)
# What follows one of these is said not to be the disease.
_NOT = (
    r"(?:not|doesnt|dont|didnt)(?: \w+){0,2}? (?:looks?|seems?|appears?)(?: to be| like)?"
    r"|(?:not|dont|didnt|cannot|cant|never) (?:\w+ )?(?:think|believe|feel|consider|considering|suspect)"
    r"(?: that)?(?: (?:it|this|that)(?: is)?)?|(?:i|we) doubt(?: that)?(?: (?:it|this|that) is)?"
    r"|no|not|without|never|neither|nor|isnt|arent|wasnt|doesnt|dont|didnt|cannot|cant|shouldnt|wouldnt|hardly|scarcely"
    r"|how (?:could|can|would) (?:it|this|that) (?:possibly )?be"
    r"|if (?:it|this|that|they) (?:were|was|had been)"
    r"|(?:compared|in comparison) (?:to|with)|nothing (?:to )?(?:suggest|indicat)\w*|atypical (?:for|of)"
    r"|unlikely|less (?:likely|like|typical of)|impossible|rather than|instead of|as opposed to|unlike"
    r"|(?:different|distinct) (?:from|to|than)|in contrast (?:to|with)|contrary to|inconsistent with"
    r"|(?:speaks?|argues?|evidence|rules?) against"
    r"|(?:low|little|small|slim) (?:possibility|probability|likelihood|chance|suspicion) (?:of|for)"
)
# What follows one of these is denied, or spoken of for another reason.
BEFORE = re.compile(
    rf"\b(?:{_NOT}|exclud(?:e|es|ed|ing)|rul(?:e|es|ed|ing) out|r/o|negative for|absence of"
    r"|lack(?:s|ing)?(?: of)?|free (?:of|from)|denies|exclusion of|rul(?:e|ed|ing)(?= [^.]*\bout\b)"
    r"|other than|except(?: for)?"
    r"|(?:misdiagnosed|mistaken|confused|mixed up) (?:for|as|with)|mimic(?:s|k\w+)?"
    r"|(?:differentiat|distinguish)\w* (?:\w+ ){0,3}?(?:from|with)"
    r"|(?:check|test|screen)(?:ed|ing|s)? (?:(?!available)\w+ )?(?:for|on)"
    r"|family history of|risk of|prevents?|preventing|avoid|avoiding"
    r"|(?:vaccinat|immuni|protect)\w* (?:against|from|for)"
    r"|(?:any|is there|was there|have you|has (?:he|she)|do you|did you) (?:\w+ ){0,3}?history of(?: any)?"
    r"|have you (?:ever )?had|did you (?:ever )?have|(?:is|are|was|were) there any(?! (?:possib|chance|likel))"
    r"|(?:moisturi[sz]|soften|sooth|hydrat)\w*|until(?= (?:\w+ ){0,3}?#+ (?:(?:is|are) seen|appear|form|develop|grow))"
    r"|(?:may|can|could|might|will) (?:\w+ )?(?:turn into|progress to|develop into|evolve into|leave)|leav(?:es|ing)"
    r"|(?:may|can|could|might|will) (?:\w+ )?(?:lead to|be complicated by)|complications? (?:include|are|such as)"
    r"|differences? between|prone to"
    r"|(?:know|ask|see|check) (?:if|whether) there (?:is|was|are|were)"
    # Somebody else has it.
    r"|(?:mother|father|brother|sister|sibling|parent|relative|family member|aunt|uncle|cousin|friend"
    r"|neighbou?r|wife|husband|someone|someone else|somebody|pet|dog|cat)s? (?:who )?(?:also )?(?:has|have|had|with)"
    r"|worried about|afraid of)\b"
)
# What stands before one of these is denied.
AFTER = re.compile(
    r"\b(?:unlikely|less (?:likely|possible|probable)|not (?:very |so )?(?:likely|possible)|impossible|excluded"
    r"|ruled out|not considered|not supported|not present|negative|absent|(?:is|was|are|were) not(?= *$)"
    r"|(?:does not|doesnt|do not|dont) (?:fit|match)|(?:should|would) not|shouldnt|wouldnt"
    r"|(?:(?:does|do|did|will) not|doesnt|dont|didnt) (?:\w+ )?"
    r"(?:look|appear|present|feel|behave|happen|come|itch|occur)"
    r"(?= [^,]*\b(?:like (?:this|that)|this way|that way|so|here)\b)"
    r"|(?:(?:is|does) not|isnt|doesnt) (?:seem to be |appear to be )?the case"
    r"|no relation\w*|not related|nothing to do|(?:needs?|requires?) (?:\w+ )?(?:excluding|exclusion|ruling out)"
    r"|is (?:very |quite |relatively |rather )?(?:low|small|slim|remote|minimal|lacking|weak)"
    r"|is not (?:very |so |that )?(?:high|great|big|large))\b"
)
# Here the reach of a cue ends.
STOP = re.compile(
    r"\b(?:but|then|however|though|although|yet|whereas|while|because|as it|it is|its|this is|that is|looks like"
    r"|looks more like|more like|most likely|more likely|probably|considering"
    r"|(?<!no need to )(?:consider|suspect|think)"
    r"|rather(?! than)|instead(?! of))\b|\b(?:should|would) be\b(?! (?:\w+ )?(?:excluded|ruled out))"
    r"|, (?:only|just|simply)\b"
)
# Right before a name that is denied: not only in this place, or of this kind, but as the diagnosis.
REFUTED = re.compile(
    r"^(?!.*\bif\b).*\b(?:not|isnt|wasnt|arent|(?:not|doesnt|dont) (?:really )?(?:look|seem|appear)s?(?: like| to be)"
    r"|how (?:could|can|would) (?:it|this|that) be) (?:an? |the |\w+ly )?$"
)
# In the same clause before a name: it is the diagnosis, or may be.
CLAIMS = re.compile(
    r"\b(?:(?:it|this|that) is|consider\w*|suspect\w*|may|might|could|should|likely|probab\w+|possib\w+|looks?|seems?"
    r"|appears?|think|diagnos\w+)\b(?! not)[^,]*$"
)
# What is treated, awaited, or seen among other things.
NO_SIGN = re.compile(
    r"\b(?:control|reliev|reduc|stop|treat|for|anti|with|without)\w*\W+(?:the )?$|\b(?:if|when|whenever|till|until)\b"
    r"|\b(?:see|sees|saw|observed?|shows?|find|found)\b[^.]*,[^.]*$"
)
