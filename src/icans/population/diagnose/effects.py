"""What random effects tell: shrinkage, covariates, correlation, outliers, influential subjects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from icans.population.fit.result import Fit
from icans.population.nlme.records import Records

Array = npt.NDArray[np.float64]
#: Shrinkage beyond which plots of random effects mislead (Savic & Karlsson 2009, AAPS J 11:558,
#: doi 10.1208/s12248-009-9133-0).
MISLEADING = 0.3


def effect_names(fit: Fit) -> list[str]:
    """Names of the random effects between subjects."""
    return [f"eta {fit.model.parameters[i].name}" for i in fit.model.varying]


def effects_frame(fit: Fit) -> pd.DataFrame:
    """Random effects between subjects (EBEs): one row a subject, a column an effect, and their SDs (``se ...``)."""
    d = len(fit.model.varying)
    sd = np.sqrt(np.maximum(np.diagonal(fit.effects.covariance, axis1=1, axis2=2)[:, :d], 0.0))
    names = effect_names(fit)
    frame = pd.DataFrame(fit.effects.mode[:, :d], columns=names, index=pd.Index(fit.subjects, name="id"))
    return frame.join(pd.DataFrame(sd, columns=[f"se {n}" for n in names], index=frame.index)).reset_index()


def shrinkage(fit: Fit, residuals: pd.DataFrame | None = None) -> pd.DataFrame:
    """Shrinkage of random effects, ``1 - SD(eta) / omega`` and by variances, and of residuals, ``1 - SD(iwres)``.

    Columns ``name, sd_shrinkage, var_shrinkage, misleading``. ``residuals``: as of
    :func:`~icans.population.diagnose.predictions.predictions`.
    """
    rows = []
    for j, name in enumerate(effect_names(fit)):
        omega = float(np.sqrt(fit.population.omega[j, j]))
        sd = float(fit.effects.mode[:, j].std(ddof=0))
        part = 1.0 - sd / omega if omega > 0.0 else np.nan
        rows.append((name, part, 1.0 - (sd / omega) ** 2 if omega > 0.0 else np.nan, part > MISLEADING))
    if residuals is not None:
        for name, group in residuals.dropna(subset=["iwres"]).groupby("observable", sort=False):
            sd = float(group["iwres"].std(ddof=0))
            rows.append((f"residual {name}", 1.0 - sd, 1.0 - sd**2, 1.0 - sd > MISLEADING))
    return pd.DataFrame(rows, columns=["name", "sd_shrinkage", "var_shrinkage", "misleading"])


def effect_covariates(fit: Fit, records: Records, covariates: Sequence[str]) -> pd.DataFrame:
    """Random effects against covariates: slope per SD of the covariate, Spearman's rho, p value (Holm), n.

    Shrunken effects hide relations: rows with a shrinkage above 0.3 are marked ``misleading``.
    """
    small = shrinkage(fit).set_index("name")["misleading"]
    rows = []
    for j, name in enumerate(effect_names(fit)):
        eta = fit.effects.mode[:, j]
        for covariate in covariates:
            x = records.covariate(covariate)
            at = np.isfinite(x)
            if at.sum() < 5 or np.ptp(x[at]) == 0.0:
                continue
            line = stats.linregress((x[at] - x[at].mean()) / x[at].std(), eta[at])
            rho = stats.spearmanr(x[at], eta[at])
            rows.append((name, covariate, int(at.sum()), line.slope, line.stderr, float(rho.statistic),
                         float(rho.pvalue), bool(small[name])))  # fmt: skip
    columns = ["effect", "covariate", "n", "slope_per_sd", "se", "spearman", "p", "misleading"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(p_holm=_holm(table["p"].to_numpy(float)))


def _holm(p: Array) -> Array:
    order = np.argsort(p)
    out = np.empty_like(p)
    out[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))))
    return out


def outlying_subjects(fit: Fit, residuals: pd.DataFrame | None = None) -> pd.DataFrame:
    """Subjects by how unusual they are: Mahalanobis distance of the EBEs with its chi-squared p, largest |iwres|.

    EBEs are shrunken, so that the p value is on the safe side (too large).
    """
    d = len(fit.model.varying)
    eta = fit.effects.mode[:, :d]
    inverse = np.linalg.pinv(fit.population.omega)
    distance = np.einsum("ni,ij,nj->n", eta, inverse, eta)
    table = pd.DataFrame({"id": list(fit.subjects), "distance2": distance, "p": stats.chi2.sf(distance, max(d, 1))})
    if residuals is not None:
        largest = residuals.assign(size=residuals["iwres"].abs()).groupby("id")["size"].max()
        table["largest_iwres"] = table["id"].map(largest)
    return table.sort_values("p", ignore_index=True)


def influence(fit: Fit, scores: Array) -> pd.DataFrame:
    """What leaving each subject out would do, to first order: Cook's distance, and the most moved estimate in SEs.

    ``scores``: derivatives of each subject's log-likelihood by the packed vector, (N, free). Needs ``fit.covariance``
    (inverse information). One-step deletion: ``d theta_i = -C s_i`` (Cook & Weisberg 1982, Residuals and Influence).
    """
    if fit.covariance is None:
        raise ValueError("influence needs a covariance of the estimates: fit with standard errors first")
    from icans.population.nlme.population import packing

    names = packing(fit.model, fit.population).names
    move = -scores @ fit.covariance
    se = np.sqrt(np.diag(fit.covariance))
    cook = np.einsum("ni,ij,nj->n", move, np.linalg.pinv(fit.covariance), move) / len(names)
    relative = move / se
    most = np.abs(relative).argmax(axis=1)
    return pd.DataFrame({
        "id": list(fit.subjects), "cook": cook, "most_moved": [names[j] for j in most],
        "moved_se": relative[np.arange(len(most)), most],
    }).sort_values("cook", ascending=False, ignore_index=True)  # fmt: skip
