"""Rewards on a disease hierarchy, for TRL's `GRPOTrainer`, stock or ours. No torch here.

>>> from skinrl.rewards import get_hierarchy_reward
>>> from skinrl.taxonomy import load_taxonomy
>>> reward = get_hierarchy_reward(load_taxonomy())
>>> reward.__name__
'hierarchy_reward'

0 means wrong, None means that the prompt cannot be scored, an exception means that the code is broken.
See docs/rewards.md.
"""

if __name__ != "skinrl.rewards":  # `import rewards` from the repository root would make a second copy of every class
    raise ModuleNotFoundError("import skinrl.rewards instead of rewards", name=__name__)

from skinrl.rewards.base import AnswerReward, Row, builtin_rewards, score_rows
from skinrl.rewards.contract import check_reward
from skinrl.rewards.controls import GroundingControl, grounding_control
from skinrl.rewards.differential import get_consistency_reward, get_differential_reward
from skinrl.rewards.finding import Finding
from skinrl.rewards.grounding import get_grounding_reward
from skinrl.rewards.hierarchy import get_hierarchy_reward, score_hierarchy
from skinrl.rewards.length import get_length_reward, get_repetition_reward
from skinrl.rewards.malignancy import get_malignancy_reward, gold_behaviour, score_malignancy
from skinrl.rewards.report_format import get_report_format_reward, report_format_reward
from skinrl.rewards.samples import sample_rows
from skinrl.rewards.skin_r1 import get_skin_r1_reward, score_skin_r1

__all__ = [
    "AnswerReward",
    "Finding",
    "GroundingControl",
    "Row",
    "builtin_rewards",
    "check_reward",
    "get_consistency_reward",
    "get_differential_reward",
    "get_grounding_reward",
    "get_hierarchy_reward",
    "get_length_reward",
    "get_malignancy_reward",
    "get_repetition_reward",
    "get_report_format_reward",
    "get_skin_r1_reward",
    "gold_behaviour",
    "grounding_control",
    "report_format_reward",
    "sample_rows",
    "score_hierarchy",
    "score_malignancy",
    "score_rows",
    "score_skin_r1",
]
