"""The diagnostic report: the one output format of all stages, rendered and parsed here and nowhere else.

    <think>
    Findings: a dark plaque with three colours
    Differential: 1. melanoma: for irregular border; against no ulceration 2. melanocytic naevus: for ...
    Reasoning: three colours and an irregular border favour melanoma
    </think>
    <answer>
    Diagnosis: melanoma
    Malignancy: malignant
    Confidence: 80
    </answer>

``Diagnosis`` is a name, ``undetermined``, or an option where the question offers options. ``Malignancy`` is one of
`BEHAVIOURS`, or ``undetermined``. ``Confidence`` may be absent. The thinking block may be empty, never missing, and
is never searched for the answer.


The parser is total: every string gives a `ParsedReport`, none an exception. It accepts the variants that stand in the
tables at the top of ``answer_block.py``, and nothing else. Standard library only.
"""

from skinrl.report.answer_block import BEHAVIOUR_VARIANTS, FIELD_VARIANTS, OPTION_VARIANTS
from skinrl.report.parse import OUTCOMES, ParsedReport, listed_names, looks_cut, parse_report
from skinrl.report.render import (
    BEHAVIOURS,
    STYLES,
    UNDETERMINED,
    DiagnosticReport,
    DifferentialItem,
    option_letter,
    prefill,
)

__all__ = [
    "BEHAVIOURS",
    "BEHAVIOUR_VARIANTS",
    "FIELD_VARIANTS",
    "OPTION_VARIANTS",
    "OUTCOMES",
    "STYLES",
    "UNDETERMINED",
    "DiagnosticReport",
    "DifferentialItem",
    "ParsedReport",
    "listed_names",
    "looks_cut",
    "option_letter",
    "parse_report",
    "prefill",
]
