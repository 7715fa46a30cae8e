"""The report format: what is accepted, what is refused and why, and that nothing raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinrl.errors import DataError
from skinrl.report import (
    BEHAVIOURS,
    OUTCOMES,
    STYLES,
    DiagnosticReport,
    DifferentialItem,
    listed_names,
    looks_cut,
    option_letter,
    parse_report,
    prefill,
)

FULL = DiagnosticReport(
    diagnosis="melanoma",
    malignancy="malignant",
    confidence=80,
    findings="a dark plaque with three colours",
    differential=(
        DifferentialItem("melanoma", "irregular border", "no ulceration"),
        DifferentialItem("melanocytic naevus", evidence_against="three colours"),
        DifferentialItem("seborrhoeic keratosis"),
    ),
    reasoning="three colours and an irregular border favour melanoma",
)
OPTIONS = ("melanocytic naevus", "melanoma", "basal cell carcinoma", "wart")


def report(answer: str, think: str = "<think>\n</think>\n") -> str:
    return f"{think}<answer>\n{answer}\n</answer>"


def said(diagnosis: str) -> str:
    return report(f"Diagnosis: {diagnosis}\nMalignancy: malignant")


def test_rendering_is_the_text_of_the_design() -> None:
    assert FULL.render() == (
        "<think>\n"
        "Findings: a dark plaque with three colours\n"
        "Differential: 1. melanoma: for irregular border; against no ulceration "
        "2. melanocytic naevus: against three colours 3. seborrhoeic keratosis\n"
        "Reasoning: three colours and an irregular border favour melanoma\n"
        "</think>\n"
        "<answer>\n"
        "Diagnosis: melanoma\n"
        "Malignancy: malignant\n"
        "Confidence: 80\n"
        "</answer>"
    )


def test_a_rendered_report_is_parsed_back() -> None:
    parsed = parse_report(FULL.render())
    assert (parsed.outcome, parsed.reason, parsed.report, parsed.option) == ("ok", "", FULL, None)


def test_a_report_without_reasoning_or_malignancy_is_parsed_back() -> None:
    short = DiagnosticReport("melanocytic tumour")
    assert short.render() == (
        "<think>\n</think>\n<answer>\nDiagnosis: melanocytic tumour\nMalignancy: undetermined\n</answer>"
    )
    assert parse_report(short.render()).report == short


INVALID = [
    ("", "answer missing"),
    ("melanoma", "answer missing"),
    ("<think>\nDiagnosis: melanoma\nMalignancy: malignant\n</think>", "answer missing"),
    ("<think>\nthe answer", "answer missing"),
    (said("melanoma") + said("melanoma"), "answer doubled"),
    (said("melanoma") + "\n<answer>", "answer doubled"),
    (said("melanoma") + "\nI am sure.", "text after the answer"),
    ("Well. " + said("melanoma"), "text before the thinking block"),
    ("<think></think> so <answer>Diagnosis: wart\nMalignancy: benign</answer>", "text between the blocks"),
    ("<answer>\nDiagnosis: melanoma\nMalignancy: malignant\n</answer>", "thinking block missing"),
    ("<think><think></think><answer>Diagnosis: wart\nMalignancy: benign</answer>", "thinking block doubled"),
    ("<answer>Diagnosis: wart\nMalignancy: benign</answer><think></think>", "tags in the wrong order"),
    ("</think><think><answer>Diagnosis: wart\nMalignancy: benign</answer>", "tags in the wrong order"),
    (report("Diagnosis: melanoma\nDiagnosis: wart\nMalignancy: malignant"), "two Diagnosis lines"),
    (report("Diagnosis: melanoma\u2028Diagnosis: wart\nMalignancy: malignant"), "two Diagnosis lines"),
    (report("Diagnosis: melanoma\n**Diagnosis:** wart\nMalignancy: malignant"), "two Diagnosis lines"),
    (report("Diagnosis: melanoma\nMalignancy: benign\nMalignancy: malignant"), "two Malignancy lines"),
    (report("Malignancy: malignant"), "Diagnosis line missing"),
    (report("Diagnosis: melanoma"), "Malignancy line missing"),
    (report("Diagnosis:\nMalignancy: malignant"), "diagnosis empty"),
    (report("Diagnosis:\nmelanoma\nMalignancy: malignant"), "unknown line in the answer"),
    (report("Diagnosis: melanoma\nor a wart\nMalignancy: malignant"), "unknown line in the answer"),
    (report("diagnosis: melanoma\nMalignancy: malignant"), "unknown line in the answer"),
    (report("melanoma"), "unknown line in the answer"),
    (report("Diagnosis: melanoma\nMalignancy: bad"), "malignancy is not a class"),
    (report("Diagnosis: melanoma\nMalignancy: benign or malignant"), "malignancy is not a class"),
    (
        report("Diagnosis: melanoma\nMalignancy: malignant\nConfidence: high"),
        "confidence is not a number from 0 to 100",
    ),
    (
        report("Diagnosis: melanoma\nMalignancy: malignant\nConfidence: 101"),
        "confidence is not a number from 0 to 100",
    ),
    (report("Diagnosis: melanoma\nMalignancy: malignant\nConfidence: -1"), "confidence is not a number from 0 to 100"),
    (report("Diagnosis: melanoma\nMalignancy: malignant\nConfidence: ٣"), "confidence is not a number from 0 to 100"),
]


@pytest.mark.parametrize(("text", "reason"), INVALID)
def test_what_is_not_a_report_is_invalid_with_its_reason(text: str, reason: str) -> None:
    parsed = parse_report(text)
    assert (parsed.outcome, parsed.reason, parsed.report, parsed.option) == ("invalid", reason, None, None)


@pytest.mark.parametrize(
    "answer",
    [
        "Diagnosis: melanoma\nMalignancy: malignant\nConfidence: 80",
        "**Diagnosis:** melanoma\n**Malignancy:** malignant\n**Confidence:** 80",
        "**Diagnosis**: melanoma\n**Malignancy**: malignant\n**Confidence**: 80 %",
        "Malignancy: Malignant\n\n  Diagnosis:   melanoma.\nConfidence: 80%",
    ],
)
def test_the_accepted_variants_of_fields_give_the_same_report(answer: str) -> None:
    parsed = parse_report(f"\n {report(answer)} \n")
    assert parsed.report == DiagnosticReport("melanoma", "malignant", 80)


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_every_behaviour_class_is_read(behaviour: str) -> None:
    parsed = parse_report(report(f"Diagnosis: x\nMalignancy: {behaviour.upper()}"))
    assert parsed.report is not None
    assert parsed.report.malignancy == behaviour


@pytest.mark.parametrize("word", ["precancerous", "in situ", "precancerous in situ", "precancerous (in situ)"])
def test_the_words_for_precancerous_are_one_class(word: str) -> None:
    parsed = parse_report(report(f"Diagnosis: x\nMalignancy: {word}"))
    assert parsed.report is not None
    assert parsed.report.malignancy == "precancerous or in situ"


@pytest.mark.parametrize(
    "value",
    [
        "B",
        "B.",
        "B)",
        "B:",
        "(B)",
        "(B).",
        "B. melanoma",
        "B) Melanoma",
        "B: melanoma.",
        "(B) melanoma",
        "melanoma",
        "MELANOMA",
    ],
)
def test_the_accepted_variants_of_an_option_are_the_same_answer(value: str) -> None:
    parsed = parse_report(said(value), options=OPTIONS)
    assert (parsed.outcome, parsed.option) == ("ok", "B")
    assert parsed.report is not None
    assert parsed.report.diagnosis == "melanoma"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("E", "option not offered"),
        ("E. melanoma", "option not offered"),
        ("b", "option not offered"),
        ("psoriasis", "option not offered"),
        ("B or C", "option not offered"),
        ("B, C", "option not offered"),
        ("not melanoma", "option not offered"),
        ("(B", "option not offered"),
        ("B melanoma", "option not offered"),
        ("B. wart", "letter and name disagree"),
        ("(B) wart", "letter and name disagree"),
        ("B. melanoma or wart", "letter and name disagree"),
    ],
)
def test_an_option_that_is_not_one_option_is_invalid(value: str, reason: str) -> None:
    parsed = parse_report(said(value), options=OPTIONS)
    assert (parsed.outcome, parsed.reason) == ("invalid", reason)


def test_a_disease_that_begins_with_a_letter_of_an_option_is_no_letter() -> None:
    # The published parser reads "basal cell carcinoma" as option B.
    assert parse_report(said("basal cell carcinoma"), options=OPTIONS).option == "C"
    assert parse_report(said("benign tumour"), options=OPTIONS).reason == "option not offered"


def test_an_option_whose_name_is_a_letter_must_agree_with_the_letter() -> None:
    assert parse_report(said("A"), options=("B", "A")).reason == "letter and name disagree"
    assert parse_report(said("AK"), options=("AK", "BCC")).option == "A"


def test_two_options_of_one_name_need_the_letter() -> None:
    assert parse_report(said("wart"), options=("wart", "Wart")).reason == "several options have this name"
    assert parse_report(said("B. wart"), options=("wart", "Wart")).option == "B"


def test_undetermined_is_an_answer_to_both_kinds_of_question() -> None:
    for options in ((), OPTIONS):
        parsed = parse_report(said("Undetermined."), options=options)
        assert parsed.outcome == "ok"
        assert parsed.option is None
        assert parsed.report is not None
        assert parsed.report.diagnosis == "undetermined"


def test_a_letter_is_a_name_where_no_options_were_offered() -> None:
    parsed = parse_report(said("B"))
    assert parsed.option is None
    assert parsed.report is not None
    assert parsed.report.diagnosis == "B"


def test_option_letters_go_on_after_z() -> None:
    assert [option_letter(index) for index in (0, 1, 25, 26, 27, 52)] == ["A", "B", "Z", "AA", "AB", "BA"]
    many = [f"disease {index}" for index in range(40)]
    assert parse_report(said("AB. disease 27"), options=many).option == "AB"


def test_a_cut_completion_is_truncated_even_where_the_answer_is_complete() -> None:
    for text in (FULL.render(), FULL.render()[:60], ""):
        parsed = parse_report(text, finished=False)
        assert (parsed.outcome, parsed.report) == ("truncated", None)
        assert parsed.reason


def test_a_prefilled_think_tag_is_joined_before_parsing() -> None:
    rest = FULL.render().removeprefix(prefill())
    assert parse_report(rest, prefilled=prefill()).report == FULL
    assert parse_report(rest).reason == "thinking block missing"
    assert parse_report(FULL.render(), prefilled=prefill()).reason == "thinking block doubled"


def test_the_reasoning_is_never_searched_for_the_answer() -> None:
    think = "<think>\nDiagnosis: melanoma\nMalignancy: malignant\nFinal answer: B. melanoma\n</think>\n"
    parsed = parse_report(report("Diagnosis: wart\nMalignancy: benign", think))
    assert parsed.report is not None
    assert (parsed.report.diagnosis, parsed.report.malignancy) == ("wart", "benign")
    assert parse_report(report("Malignancy: benign", think)).reason == "Diagnosis line missing"


def test_looks_cut_sees_an_open_block() -> None:
    text = FULL.render()
    assert looks_cut(text[:40])
    assert looks_cut(text[: text.index("</answer>")])
    assert looks_cut("Findings: a", prefilled=prefill())
    assert not looks_cut(text)
    assert not looks_cut("no report at all")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("option", ["", "B"])
def test_every_style_carries_the_diagnosis_there_and_back(style: str, option: str) -> None:
    text = FULL.render(style, option=option, ancestors=("melanocytic tumour", "skin tumour"))
    parsed = parse_report(text, options=OPTIONS if option else (), style=style)
    assert parsed.report is not None
    assert parsed.report.diagnosis == "melanoma"
    assert parsed.report.malignancy == (None if style == "skingpt_r1" else "malignant")
    assert parsed.report.reasoning == FULL.reasoning
    assert parsed.report.differential == FULL.differential


def test_the_published_styles_have_the_published_tags() -> None:
    plain = DiagnosticReport("melanoma", "malignant")
    assert plain.render("skin_r1", option="B") == (
        "<thinking>\n</thinking>\n<final diagnosis>B. melanoma (malignant)</final diagnosis>"
    )
    assert plain.render("skin_r1_sft", ancestors=("melanocytic tumour",)) == (
        "<thinking>\n</thinking>\n<diagnosis>melanoma. Subtype of melanocytic tumour, "
        "generally classified as malignant.</diagnosis>"
    )
    assert plain.render("skingpt_r1") == "<think>\n</think>\n<answer>\nFinal Answer: melanoma\n</answer>"


@pytest.mark.parametrize(
    ("body", "diagnosis", "malignancy"),
    [
        ("B", "melanoma", None),
        ("B (malignant)", "melanoma", "malignant"),
        ("B. melanoma, precancerous (in situ)", "melanoma", "precancerous or in situ"),
        ("\nB\nbenign\n", "melanoma", "benign"),
        ("melanoma; malignant.", "melanoma", "malignant"),
    ],
)
def test_skin_r1_answers_give_option_and_malignancy(body: str, diagnosis: str, malignancy: str | None) -> None:
    text = f"<thinking>x</thinking>\n<final diagnosis>{body}</final diagnosis>"
    parsed = parse_report(text, options=OPTIONS, style="skin_r1")
    assert parsed.report is not None
    assert (parsed.report.diagnosis, parsed.report.malignancy) == (diagnosis, malignancy)


def test_skin_r1_answers_are_as_strict_as_ours() -> None:
    for body in ("basal cell carcinoma or B", "B benign malignant", "A\nB", "Answer: B", ""):
        text = f"<thinking>x</thinking>\n<final diagnosis>{body}</final diagnosis>"
        assert parse_report(text, options=OPTIONS, style="skin_r1").outcome == "invalid", body


def test_skingpt_r1_wants_one_final_answer_at_the_end() -> None:
    def text(body: str) -> str:
        return f"<think></think><answer>{body}</answer>"

    assert parse_report(text("Seen: a plaque.\nFinal Answer: wart"), style="skingpt_r1").outcome == "ok"
    assert parse_report(text("wart"), style="skingpt_r1").reason == "Final Answer line missing"
    assert parse_report(text("Final Answer: wart\nor not"), style="skingpt_r1").outcome == "invalid"
    assert parse_report(text("Final Answer: wart\nFinal Answer: acne"), style="skingpt_r1").outcome == "invalid"


def test_an_unknown_style_is_an_error_of_the_settings() -> None:
    with pytest.raises(DataError, match="unknown report style 'free'; expected one of: report"):
        parse_report("", style="free")


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"diagnosis": " "}, "one line of text"),
        ({"diagnosis": "a\nb"}, "one line of text"),
        ({"diagnosis": "wart", "malignancy": "bad"}, "unknown malignancy 'bad'"),
        ({"diagnosis": "wart", "confidence": 101}, "from 0 to 100"),
    ],
)
def test_a_report_that_cannot_be_is_refused(fields: dict, match: str) -> None:
    with pytest.raises(DataError, match=match):
        DiagnosticReport(**fields)


def test_a_report_with_a_tag_in_its_text_is_not_rendered() -> None:
    with pytest.raises(DataError, match="must not contain the tag </think>"):
        DiagnosticReport("wart", reasoning="so </think> it is").render()


TAGS = ["<think>", "</think>", "<answer>", "</answer>", "<thinking>", "</thinking>", "<diagnosis>", "</diagnosis>"]
PIECES = st.sampled_from(
    [
        *TAGS,
        *("<final diagnosis>", "</final diagnosis>", "Diagnosis:", "**Diagnosis:**", "Malignancy:", "Confidence:"),
        *(
            " melanoma",
            " B",
            " B. melanoma",
            "\n",
            " malignant",
            " 80",
            "1. a: for b; against c",
            "Differential:",
            ".",
        ),
        *("Final Answer:", ". Subtype of x, generally classified as benign", " (malignant)", "undetermined"),
    ]
)
TEXTS = st.one_of(st.text(), st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=25).map("".join))


@given(
    TEXTS, st.sampled_from(STYLES), st.lists(st.text(), max_size=4), st.booleans(), st.sampled_from(["", "<think>\n"])
)
def test_no_text_raises(text: str, style: str, options: list[str], finished: bool, prefilled: str) -> None:
    parsed = parse_report(text, options=options, finished=finished, prefilled=prefilled, style=style)
    assert parsed.outcome in OUTCOMES
    assert (parsed.report is not None) == (parsed.outcome == "ok") == (not parsed.reason)
    assert parsed.option is None or parsed.outcome == "ok"
    if parsed.report is not None:  # what was read is never checked again, so it must be what may stand in a report
        assert DiagnosticReport(**vars(parsed.report)) == parsed.report
    bare = parse_report(text, options=options, finished=finished, prefilled=prefilled, style=style, thinking=False)
    assert bare.whole() == parsed
    if parsed.report is not None:
        assert listed_names(bare.thoughts, 3) == [item.name for item in parsed.report.differential[:3]]


NAMES = st.text(st.characters(codec="utf-8", categories=("Ll", "Lu", "Nd")), min_size=1, max_size=12).map("x".__add__)
ITEMS = st.builds(DifferentialItem, NAMES, st.one_of(st.just(""), NAMES), st.one_of(st.just(""), NAMES))


@given(
    st.builds(
        DiagnosticReport,
        NAMES,
        st.one_of(st.none(), st.sampled_from(BEHAVIOURS)),
        st.one_of(st.none(), st.integers(0, 100)),
        st.one_of(st.just(""), NAMES),
        st.lists(ITEMS, max_size=3).map(tuple),
        st.one_of(st.just(""), NAMES),
    )
)
def test_any_plain_report_is_parsed_back(report: DiagnosticReport) -> None:
    assert parse_report(report.render()).report == report


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("filler", ["1. " + " " * 200_000, "(" * 200_000, ", " * 100_000, "subtype of " * 20_000])
def test_a_very_long_text_is_read_in_linear_time(style: str, filler: str) -> None:
    # A pattern that backtracks over one of these would hang for hours; that is how this test fails.
    before, after = DiagnosticReport("wart").render(style).split("wart")
    assert parse_report(f"{before}wart{filler}{after}", style=style).outcome in ("ok", "invalid")
    think = before.replace("\n", f"\nDifferential: {filler}\n", 1)
    assert parse_report(f"{think}wart{after}", style=style).outcome == "ok"
