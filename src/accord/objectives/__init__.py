"""Objectives: pure functions from tensors to `Terms`, one module a paper family.

What an objective names is what it needs (`vocabulary`), keyword-only parameters are its hyperparameters, and
`OBJECTIVES` is the list of them all. Adding one is a function, a test and a line in `registry`.

How the field is cut. Let rho be the log-ratio of policy to reference of a response, and m = beta (rho_i - rho_j) the
margin of a pair:

- another loss of m is a choice: `gpo --link`; `dpo`, `robust_dpo`, `exo`, `ipo`, `discopop` have papers of their own;
- another reward in place of beta rho: `f_dpo` (divergences), `ld_dpo` (length), `simpo`, `cpo`, `slic`, `orpo` (no
  reference);
- an offset that the data sets: `r_dpo`, `odpo`, `shaped_dpo`, `modpo`;
- a weight of the pair that the policy or the annotators set: `wpo`, `group_dpo`;
- a loss of each response instead of their difference: `nca`, `apo`, `sppo`, and for single labels `kto`, `bco`,
  `apo_unpaired`;
- a whole list: `plackett_luce`, `soft_listwise`, `lipo`; its pairs one by one are any of the above;
- a whole optimiser step: `aot`, `aot_unpaired` (quantiles), `beta_dpo`, `adaptive_dpo`, `constrained_dpo`, `cost_dpo`
  and `group_dpo` (numbers carried from step to step);
- likelihood with weights: `sft`, `rwr`, `awr`; reward models: `bradley_terry`, `cost_model`, of several values
  `multi_bradley_terry`, `reward_regression`, of steps `process_reward`, of what is permitted `inverse_constraint`.

What differs by data alone is no objective: label noise and ties are weights of `prefer`, rankings are pairs of a group,
SPIN, stepwise DPO, iterative DPO and RS-DPO are `dpo` on data made by a recipe, best-of-n and RAFT are `sft` on
selected responses, and TR-DPO is `dpo` while the reference follows the policy (`--reference-every`).
"""

from accord.objectives.hyperparameters import Range
from accord.objectives.monitors import Metric, monitors
from accord.objectives.registry import OBJECTIVES, resolve, validate
from accord.objectives.terms import Terms
from accord.objectives.vocabulary import VOCABULARY, Hyperparameter, Objective, Signature, signature_of

__all__ = [
    "OBJECTIVES",
    "VOCABULARY",
    "Hyperparameter",
    "Metric",
    "Objective",
    "Range",
    "Signature",
    "Terms",
    "monitors",
    "resolve",
    "signature_of",
    "validate",
]
