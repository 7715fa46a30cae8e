"""Words around the name of a disease: those that change what is said, and those that do not."""

from __future__ import annotations

from skinrl.taxonomy.text import normal_token

# A text with one of these says something other than "it is this disease". It is read only as a name that holds the
# same word ("malignant melonoma"), never around it.
_REFUSED = """
no not non nor neither never none without absent absence lack lacks denies denied negative exclude excluded excludes
excluding exclusion unlikely doubtful rule ruled out rather instead against cannot can t isn isnt dont or and versus vs
either both with plus also but except than unlike like mimic mimics mimicking resembling resembles simulating history
previous prior former risk free possible possibly maybe perhaps question unclear uncertain unknown undetermined
indeterminate differential diagnoses multiple combination i am im sure unsure may might could would should if because
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
hereditary inherited isolated spontaneous inflamed irritated infected healing old exudative black brown red
1 2 3 4 5 ii iii iv
"""
# Places on the body, which sometimes make another disease of it: asked after the fillers.
_SITES = """
scalp face facial cheek nose nasal ear lip eyelid eye forehead temple chin neck trunk chest back abdomen shoulder arm
forearm elbow wrist hand finger palm leg thigh knee shin ankle foot toe sole buttock limb extremity body
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(map(normal_token, text.split()))


REFUSED = _words(_REFUSED)
FILLER = _words(_FILLER)
HARMLESS = FILLER | _words(_SITES)
