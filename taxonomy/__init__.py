"""The disease hierarchy: nodes, credit on the hierarchy, label maps of public datasets.

>>> from skinrl.taxonomy import load_taxonomy
>>> taxonomy = load_taxonomy()
>>> taxonomy.resolve("Naevi").node
'melanocytic_nevus'

Research data, not medical advice: see docs/taxonomy.md.
"""

if __name__ != "skinrl.taxonomy":  # `import taxonomy` from the repository root would make a second copy of every class
    raise ModuleNotFoundError("import skinrl.taxonomy instead of taxonomy", name=__name__)

from skinrl.taxonomy.graph import BEHAVIOURS, MORPHOLOGY_KEYS, Differential, Match, Node, Taxonomy
from skinrl.taxonomy.label_map import LabelMap, load_label_map
from skinrl.taxonomy.loader import load_taxonomy

__all__ = [
    "BEHAVIOURS",
    "MORPHOLOGY_KEYS",
    "Differential",
    "LabelMap",
    "Match",
    "Node",
    "Taxonomy",
    "load_label_map",
    "load_taxonomy",
]
