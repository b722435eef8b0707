"""Figures of statsmodels and mne for the cases on standard input; JSON in, JSON out.

The interpreter needs `pip install statsmodels mne`; it does not import causaltest.
"""
# pyright: reportMissingImports=false

import json
import sys

import numpy as np
from mne.stats import permutation_t_test
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import ttost_paired


def equivalence(values, margin):
    """P-value of two one-sided t-tests."""
    return ttost_paired(np.array(values), np.zeros(len(values)), -margin, margin)[0]


def adjusted(method, p_values):
    """P-values adjusted by Holm or Benjamini-Hochberg."""
    return multipletests(p_values, method=method)[1].tolist()


def largest_t(values, permutations):
    """P-values of the largest absolute t over columns, by joint sign flips."""
    rng = np.random.default_rng(0)
    found = permutation_t_test(np.array(values), n_permutations=permutations, rng=rng, verbose=0)
    return found[1].tolist()


def power(d, n, alpha):
    """Power of a one-sided paired t-test."""
    return float(TTestPower().power(d, n, alpha, alternative="larger"))


def random_effects(effects, variances):
    """Variance between units by DerSimonian and Laird, and the share of it in the total.

    statsmodels leaves a negative estimate as it is; DerSimonian and Laird set it to 0.
    """
    found = combine_effects(np.array(effects), np.array(variances), method_re="dl")
    return [max(0.0, float(found.tau2)), max(0.0, float(found.i2))]


def discordant(gained, lost):
    """P-value of McNemar's exact test."""
    return float(mcnemar([[0, gained], [lost, 0]], exact=True).pvalue)


def interval(method, successes, n):
    """Interval of a rate at 95 %."""
    return [float(limit) for limit in proportion_confint(successes, n, method=method)]


QUESTIONS = (equivalence, adjusted, largest_t, power, random_effects, discordant, interval)

if __name__ == "__main__":
    asked = json.load(sys.stdin)
    known = {question.__name__: question for question in QUESTIONS}
    json.dump({name: [known[name](*case) for case in asked[name]] for name in asked}, sys.stdout)
