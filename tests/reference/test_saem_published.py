"""SAEM against other people's numbers, on real data. The whole table: benchmarks/results/reference_fits.md."""

import numpy as np
import pytest

from icans.population.fit.focei import FoceiSettings, fit_focei
from icans.population.fit.saem import SaemSettings, fit_saem
from icans.population.nlme.population import start
from nlme_cases import synthetic_oral, theophylline, wang2007, warfarin

QUICK = SaemSettings(importance=0, standard_errors="none", final=20)


def values(fit):
    return fit.table().set_index("name")["value"]


def test_theophylline_is_that_of_pynlme_and_nlmixr(data_folder):
    """pynlme 0.5.1 (Lindstrom-Bates ML, computed) within 2 % and 10 %; standard errors of nlmixr2's README."""
    fit = fit_saem(*theophylline(data_folder), seed=3)
    got = values(fit)
    for name, value in (("ka", 1.5627), ("V", 31.476), ("CL", 2.7691), ("cp a", 0.697)):
        assert got[name] == pytest.approx(value, rel=0.02)
    for name, value in (("ka", 0.3863), ("V", 0.01826), ("CL", 0.0701)):
        assert got[f"omega {name}"] ** 2 == pytest.approx(value, rel=0.10)
    table = fit.table().set_index("name")
    for name, value in (("ka", 0.195), ("V", 0.0447), ("CL", 0.085)):
        assert table.loc[name, "rse_pct"] / 100.0 == pytest.approx(value, rel=0.1)


def test_warfarin_volume_and_clearance_are_those_of_saemix(data_folder):
    """saemix 3.4, computed; its combined error is a + b f."""
    got = values(fit_saem(*warfarin(data_folder, error="combined1"), seed=1, settings=QUICK))
    for name, value in (("V", 7.946), ("CL", 0.1324), ("omega V", 0.220), ("omega CL", 0.292)):
        assert got[name] == pytest.approx(value, rel=0.02)


def test_censored_values_are_not_taken_for_observed_ones(data_folder):
    """Wang 2007 with values under 6 censored: SAEM and FOCEI agree, which a wrong M-step breaks (nlmixr2est #916)."""
    model, records = wang2007(data_folder, below=6.0)
    assert (records.frame()["censor"] == "left").sum() == 3
    ours = values(fit_saem(model, records, seed=1, settings=QUICK))
    other = values(fit_focei(model, records, settings=FoceiSettings(covariance="none")))
    assert ours["y b"] == pytest.approx(other["y b"], rel=0.05)
    assert ours["ke"] == pytest.approx(other["ke"], rel=0.05)


def test_the_variance_between_occasions_is_not_shrunk():
    """Four synthetic sets of 40 subjects (benchmarks/iov_bias.py has forty): the mean variance, within 3 SE."""
    found = []
    for replicate in range(4):
        model, records = synthetic_oral(40, 2000 + replicate, iov=0.2)
        found.append(fit_saem(model, records, seed=replicate, settings=QUICK).population.gamma[0, 0])
    truth = start(model).gamma[0, 0]
    # The SD of one estimate is a fifth of the truth in the forty replicates.
    assert np.mean(found) == pytest.approx(truth, abs=3 * 0.2 * truth / 2)
