"""Evaluation: from completions to metrics with intervals, and from several models to a paired comparison.

Pure: it knows no engine and no trainer. Whoever has completions (any object with `text` and `finished`) calls

    evaluation = evaluate(cases, taxonomy, greedy=..., sampled=..., controls={"no_image": ...})
    evaluation.write(folder)
    comparison = compare({"base": ..., "sft": ..., "grpo": evaluation}, seconds={...})
"""

from skinrl.evaluation.cases import Case, case_of
from skinrl.evaluation.chart import comparison_svg
from skinrl.evaluation.compare import compare, write_comparison
from skinrl.evaluation.evaluate import Evaluation, evaluate, read_evaluation
from skinrl.evaluation.predictions import Prediction, Reply
from skinrl.evaluation.seeds import read_runs, seeds_table, write_seeds
from skinrl.evaluation.tables import comparison_tables, print_comparison, print_seeds

__all__ = [
    "Case",
    "Evaluation",
    "Prediction",
    "Reply",
    "case_of",
    "compare",
    "comparison_svg",
    "comparison_tables",
    "evaluate",
    "print_comparison",
    "print_seeds",
    "read_evaluation",
    "read_runs",
    "seeds_table",
    "write_comparison",
    "write_seeds",
]
