"""A lenient reading of free answers, for models that never learnt the report. Never for the main number.

The rules, in order (docs/suites.md repeats them for people):

1. A completion that the strict reader takes is read by it.
2. The *final statement*: what stands behind the last closing thinking tag; in it the last answer block, boxed answer
   or line marked `Final answer:`, `Answer:`, `Diagnosis:` (`the answer is ...`, `the most likely diagnosis is ...`
   too); else the last paragraph. Thinking is never searched, nor is a text that was cut before it left the thinking
   that the chat template had opened.
3. With options: a letter that stands alone (`B`, `B.`, `(B)`, `**B**`, `Option B`, `B. name`), a capital and never the
   first letter of a word; else the one offered name that the statement holds (the longest at its place).
4. Without options, or where none is held: the one disease that the taxonomy reads in the statement. What is denied is
   not read; of several on one path the most specific counts.
5. Two answers that exclude each other are invalid; none at all is unresolved.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from skinrl.evaluation.cases import Case
from skinrl.evaluation.predictions import Prediction, Written, predict
from skinrl.report import option_letter
from skinrl.taxonomy import Taxonomy
from skinrl.taxonomy.similarity import expected_credit

_LONGEST = 600  # characters of a statement; the end counts
_CLOSED_THINKING = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_BLOCKS = (
    re.compile(r"<(answer|final diagnosis|diagnosis)>(?P<said>.*?)(?:</\1>|$)", re.IGNORECASE | re.DOTALL),
    re.compile(r"\\boxed\{(?:\\text\{)?(?P<said>[^{}]+)"),
    re.compile(
        r"^[\s*_#>-]*(?:final answer|answer|final diagnosis|(?:most likely |likely )?diagnosis)[*_]*"
        r"\s*(?::|is\b)[*_\s]*(?P<said>\S.*)$",
        re.IGNORECASE | re.MULTILINE,
    ),
    re.compile(
        r"\b(?:answer|correct option|correct choice|(?:most likely |likely )?diagnosis) is:?[\s*_]+(?P<said>[^\n]+)",
        re.IGNORECASE,
    ),
)
# A whole statement that is a letter, perhaps with a name behind it
_LETTER_FIRST = re.compile(r"[\s*_(\[]*(?:[Oo]ption\s+)?[(\[]?(?P<letter>[A-Z])(?:[)\].:,*_]|\s*$|\s+-\s)")
# A letter somewhere in a statement, told from the word "A" by what stands around it
_LETTER_INSIDE = re.compile(
    r"\b[Oo]ption\s+\(?(?P<letter>[A-Z])(?![A-Za-z])|\((?P<round>[A-Z])\)|\*\*(?P<bold>[A-Z])[.):]?\*\*"
)


def predict_leniently(case: Case, written: Written, taxonomy: Taxonomy) -> Prediction:
    """Read what was written for a case by the rules above; the outcome `ok` where an answer was found."""
    strict = predict(case, written, taxonomy)
    if strict.outcome == "ok":
        return strict
    # A text that was cut before it left the thinking that the template opened has said nothing yet; one that ended
    # there of itself took no notice of the template, and what it ends in saying counts.
    said = final_statement(written.text if written.finished else case.prefilled + written.text)
    if not said:
        outcome = "invalid" if written.finished else "truncated"
        return replace(strict, outcome=outcome, answer_node=None, raw="", malignancy=None, reason="no final statement")
    outcome, node, reason = _read(said, case, taxonomy)
    if outcome != "ok" and not written.finished:
        outcome, reason = "truncated", "cut off at the length limit"
    return replace(
        strict,
        raw=said,
        outcome=outcome,
        answer_node=node,
        malignancy=None,
        reason=reason,
        credit=expected_credit(taxonomy, node, case.gold, option_nodes=case.option_nodes or None),
    )


def final_statement(text: str) -> str:
    """What a completion ends in saying; see rule 2. Empty where nothing stands behind the thinking."""
    parts = _CLOSED_THINKING.split(text)
    if len(parts) == 1 and re.match(r"\s*<think(?:ing)?>", text, re.IGNORECASE):
        return ""  # never left the thinking
    said = parts[-1].strip()
    for pattern in _BLOCKS:
        found = [match["said"].strip() for match in pattern.finditer(said) if match["said"].strip()]
        if found:
            inner = found[-1]
            # a block may hold a marked line of its own
            return final_statement(inner) if pattern is _BLOCKS[0] and inner != said else inner[-_LONGEST:]
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", said) if part.strip()]
    return paragraphs[-1][-_LONGEST:] if paragraphs else ""


def _read(said: str, case: Case, taxonomy: Taxonomy) -> tuple[str, str | None, str]:
    """Outcome, node and reason of a statement."""
    if case.options:
        letters, named = _letters(said, len(case.options)), _offered_names(said, case.options)
        chosen = letters if len(letters) == 1 else named
        if len(letters) > 1 or len(named) > 1 or (letters and named and letters != named):
            return "invalid", None, "several options"
        if chosen:
            (index,) = chosen
            node = case.option_nodes[index] or None
            return ("ok", node, "") if node else ("unresolved", None, "the option has no node")
    node, reason = _disease(said, taxonomy)
    if reason:
        return ("invalid" if reason == "several diseases" else "unresolved"), None, reason
    if case.options and node not in case.option_nodes:
        return "invalid", None, "option not offered"
    return "ok", node, ""


def _letters(said: str, count: int) -> set[int]:
    known = {option_letter(index): index for index in range(min(count, 26))}
    found = {match["letter"] or match["round"] or match["bold"] for match in _LETTER_INSIDE.finditer(said)}
    first = _LETTER_FIRST.match(said)
    if first:
        found.add(first["letter"])
    return {known[letter] for letter in found if letter in known}


def _offered_names(said: str, options: Sequence[str]) -> set[int]:
    """Options whose whole name the statement holds, a name inside a longer one that is held left out."""
    text = " ".join(said.casefold().split())
    spans: list[tuple[int, int, int]] = []
    for index, name in enumerate(options):
        plain = " ".join(name.casefold().split())
        for match in re.finditer(rf"(?<!\w){re.escape(plain)}(?!\w)", text):
            spans.append((match.start(), match.end(), index))
    return {
        index
        for start, end, index in spans
        if not any(a <= start and end <= b and (b - a) > (end - start) for a, b, _ in spans)
    }


def _disease(said: str, taxonomy: Taxonomy) -> tuple[str | None, str]:
    """The node of a statement, or why there is none."""
    plain = said.strip(" *_.\n\"'")
    match = taxonomy.resolve(plain) if len(plain) <= 120 else None
    if match is not None:
        return match.node, ""
    found = taxonomy.asserted(said)
    lowest = [node for node in found if not any(taxonomy.is_ancestor(node, other) for other in found)]
    if len(lowest) == 1:
        return lowest[0], ""
    return None, "several diseases" if lowest else "no such disease in the taxonomy"
