"""A fit as the files that readers of NONMEM and nlmixr2 results know.

``<name>.ext`` (estimates, standard errors, what is fixed), ``.cov`` and ``.cor`` (of the estimates), ``.phi`` (random
effects of each subject and their covariance), ``sdtab`` (a row an observation) and ``<name>_parameters.csv`` (a table
of parameters as nlmixr2 prints it).

THETA: typical values (natural scale), effects of covariates, and parameters of observations that are no SDs. OMEGA:
covariance of ``eta``, then of ``kappa`` (one occasion). SIGMA: squares of the SDs of residual errors (``a`` and ``b``
of :mod:`icans.population.nlme.observed`). ``<name>_names.csv`` says which is which. Standard errors are those of the
fit by the delta method. Nothing is written that the fit does not have.

References
----------
Layout of the files: the NONMEM 7.5 output of the example ``pheno`` of pharmpy, which these readers are tested on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.files import write_text
from icans.population.diagnose.effects import shrinkage
from icans.population.fit.result import Fit, Z
from icans.population.nlme.population import Population, packing
from icans.population.nlme.records import Records

Array = npt.NDArray[np.float64]

#: Rows of an .ext file: estimates, standard errors, square roots of variances (correlations off the diagonal), fixed.
FINAL, ERRORS, ROOTS, FIXED = -1000000000, -1000000001, -1000000004, -1000000006
#: What NONMEM writes where there is no standard error.
NO_ERROR = 1e10
SDTAB = {"id": "ID", "time_h": "TIME", "value": "DV", "pred": "PRED", "ipred": "IPRED", "res": "RES", "ires": "IRES",
         "iwres": "IWRES", "wres": "WRES", "cwres": "CWRES"}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """Names of THETA, SIGMA and OMEGA in the order of the files, and what each is."""

    theta: tuple[str, ...]
    sigma: tuple[str, ...]
    omega: tuple[str, ...]

    def columns(self) -> list[str]:
        """Column names as in an .ext file: thetas, the lower triangle of SIGMA, that of OMEGA."""
        out = [f"THETA{i + 1}" for i in range(len(self.theta))]
        for word, size in (("SIGMA", len(self.sigma)), ("OMEGA", len(self.omega))):
            out += [f"{word}({i + 1},{j + 1})" for i in range(size) for j in range(i + 1)]
        return out


def layout_of(fit: Fit) -> Layout:
    """What the columns of the files are."""
    model, pack = fit.model, packing(fit.model, fit.population)
    theta = [p.name for p in model.parameters] + [f"{e.covariate} on {e.parameter}" for e in model.effects]
    theta += [e.name for e in pack.layout if e.field not in ("a", "b")]
    if model.mixture is not None:
        theta += [f"share {c}" for c in model.mixture.classes]
        theta += [f"{model.mixture.classes[c]} on {model.names[p]}" for c, p in pack.shifts]
    omega = [f"eta {model.names[i]}" for i in model.varying] + [f"kappa {model.names[i]}" for i in model.occasional]
    return Layout(tuple(theta), tuple(e.name for e in pack.layout if e.field in ("a", "b")), tuple(omega))


def _lower(matrix: Array) -> Array:
    return np.asarray(matrix[np.tril_indices(len(matrix))])


def _numbers(fit: Fit, population: Population) -> Array:
    """The numbers of an .ext row."""
    model, pack = fit.model, packing(fit.model, fit.population)
    theta = [float(q.scale.back(population.typical[p])) for p, q in enumerate(model.parameters)]
    theta += population.effects.tolist()
    spread = np.array([e.field in ("a", "b") for e in pack.layout], dtype=bool)
    theta += population.errors[~spread].tolist()
    if model.mixture is not None:
        theta += population.shares.tolist() + [population.shifts[c, p] for c, p in pack.shifts]
    sigma = np.diag(population.errors[spread] ** 2)
    d, e = len(population.omega), len(population.gamma)
    omega = np.zeros((d + e, d + e))
    omega[:d, :d], omega[d:, d:] = population.omega, population.gamma
    return np.concatenate([np.array(theta), _lower(sigma), _lower(omega)])


def _slopes(fit: Fit) -> Array:
    """Derivatives of the numbers by the packed vector, (numbers, packed): central differences of smooth formulas."""
    pack = packing(fit.model, fit.population)
    vector, step = pack.pack(fit.population), 1e-5
    out = np.zeros((len(_numbers(fit, fit.population)), len(vector)))
    for j in range(len(vector)):
        moved = np.zeros(len(vector))
        moved[j] = step
        high, low = (_numbers(fit, pack.unpack(vector + sign * moved)) for sign in (1.0, -1.0))
        out[:, j] = (high - low) / (2.0 * step)
    return out


def write_nonmem_tables(
    fit: Fit, folder: Path | str, records: Records | None = None, *, name: str = "icans",
    objectives: Sequence[float] | None = None,
) -> list[Path]:  # fmt: skip
    """Write a fit as NONMEM-like files and an nlmixr2-like table; what was written.

    ``records``: of the fit, for ``sdtab``. ``objectives``: of each subject, for the column OBJ of ``.phi``. Files of
    the covariance are written where the fit has one.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    layout, slopes = layout_of(fit), _slopes(fit)
    covariance = None if fit.covariance is None else slopes @ fit.covariance @ slopes.T
    free = np.abs(slopes).max(axis=1, initial=0.0) > 0.0
    files = {
        f"{name}.ext": _ext(fit, layout, covariance, free), f"{name}.phi": _phi(fit, layout, objectives),
        f"{name}_names.csv": _names(layout), f"{name}_parameters.csv": parameter_table(fit).to_csv(index=False),
    }  # fmt: skip
    if covariance is not None:
        sd = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        outer = np.outer(sd, sd)
        correlation = np.divide(covariance, outer, out=np.zeros_like(outer), where=outer > 0.0)
        np.fill_diagonal(correlation, sd)
        files[f"{name}.cov"] = _matrix(fit, layout, covariance)
        files[f"{name}.cor"] = _matrix(fit, layout, correlation)
    if records is not None:
        files["sdtab"] = _sdtab(fit, records)
    for file, text in files.items():
        write_text(folder / file, text)
    return [folder / file for file in files]


def _title(fit: Fit) -> str:
    return f"TABLE NO.     1: {fit.method} (icans): Problem=1 Subproblem=0 Superproblem1=0 Iteration1=0 " + (
        "Superproblem2=0 Iteration2=0"
    )


def _row(first: str, numbers: Sequence[float], last: float | None = None) -> str:
    cells = " ".join(f"{x:12.5E}" for x in numbers)
    return f"{first:>13} {cells}" + ("" if last is None else f"    {last:.16g}")


def _head(first: str, columns: Sequence[str]) -> str:
    return f" {first:<12} " + " ".join(f"{c:<12}" for c in columns).rstrip()


def _ext(fit: Fit, layout: Layout, covariance: Array | None, free: npt.NDArray[np.bool_]) -> str:
    numbers = _numbers(fit, fit.population)
    goal = "Goal Function=MINUS TWICE THE LOG-LIKELIHOOD WITHOUT N LN(2 PI)"
    lines = [_title(fit).replace("(icans):", f"(icans, {fit.likelihood}): {goal}:")]
    lines.append(_head("ITERATION", [*layout.columns(), "OBJ"]))
    lines.append(_row(str(FINAL), numbers.tolist(), fit.objective_nonmem))
    if covariance is not None:
        se = np.where(free, np.sqrt(np.maximum(np.diag(covariance), 0.0)), NO_ERROR)
        lines.append(_row(str(ERRORS), se.tolist(), 0.0))
    t, s, o = len(layout.theta), len(layout.sigma), len(layout.omega)
    roots = np.zeros(len(numbers))
    for start, size in ((t, s), (t + s * (s + 1) // 2, o)):
        matrix = np.zeros((size, size))
        matrix[np.tril_indices(size)] = numbers[start : start + size * (size + 1) // 2]
        sd = np.sqrt(np.diag(matrix))
        outer = np.outer(sd, sd)
        matrix = np.divide(matrix, outer, out=np.zeros_like(outer), where=outer > 0.0)
        np.fill_diagonal(matrix, sd)
        roots[start : start + size * (size + 1) // 2] = _lower(matrix)
    lines.append(_row(str(ROOTS), roots.tolist(), 0.0))
    lines.append(_row(str(FIXED), (~free).astype(float).tolist(), 0.0))
    return "\n".join(lines) + "\n"


def _matrix(fit: Fit, layout: Layout, matrix: Array) -> str:
    columns = layout.columns()
    lines = [_title(fit), _head("NAME", columns)]
    lines += [f" {c:<12} " + " ".join(f"{x:12.5E}" for x in row) for c, row in zip(columns, matrix, strict=True)]
    return "\n".join(lines) + "\n"


def _phi(fit: Fit, layout: Layout, objectives: Sequence[float] | None) -> str:
    d = len(fit.model.varying)
    columns = ["ID", *(f"ETA({i + 1})" for i in range(d))]
    columns += [f"ETC({i + 1},{j + 1})" for i in range(d) for j in range(i + 1)]
    columns += [] if objectives is None else ["OBJ"]
    lines = [_title(fit), _head("SUBJECT_NO", columns)]
    for n, subject in enumerate(fit.subjects):
        numbers = [*fit.effects.mode[n, :d], *_lower(fit.effects.covariance[n][:d, :d])]
        own = _number(subject, n)
        last = None if objectives is None else float(objectives[n])
        lines.append(_row(str(n + 1), [], None) + f"{own:>12} " + _row("", numbers, last).lstrip())
    return "\n".join(lines) + "\n"


def _number(subject: str, place: int) -> str:
    """ID as a number (these files have no texts): the subject's own where it is one, else its place."""
    try:
        return f"{float(subject):g}"
    except ValueError:
        return str(place + 1)


def _names(layout: Layout) -> str:
    columns = layout.columns()
    where = {f"THETA{i + 1}": n for i, n in enumerate(layout.theta)}
    where |= {f"SIGMA({i + 1},{i + 1})": f"{n} squared" for i, n in enumerate(layout.sigma)}
    for i, one in enumerate(layout.omega):
        for j in range(i + 1):
            other = layout.omega[j]
            where[f"OMEGA({i + 1},{j + 1})"] = f"variance of {one}" if i == j else f"covariance of {other} and {one}"
    rows = [(c, where[c]) for c in columns if c in where]
    return pd.DataFrame(rows, columns=["column", "meaning"]).to_csv(index=False)


def _sdtab(fit: Fit, records: Records) -> str:
    from icans.population.diagnose.predictions import predictions

    frame = predictions(fit, records)
    places = {s: n for n, s in enumerate(fit.subjects)}
    names = {o.name: k for k, o in enumerate(fit.model.observed, 1)}
    table = frame.rename(columns=SDTAB)[list(SDTAB.values())].fillna(0.0)
    table["ID"] = [float(_number(s, places[s])) for s in frame["id"]]
    table.insert(2, "DVID", frame["observable"].map(names).to_numpy())
    lines = ["TABLE NO.  1", " " + " ".join(f"{c:<12}" for c in table.columns).rstrip()]
    lines += [" " + " ".join(f"{x:12.5E}" for x in row) for row in table.to_numpy(float)]
    return "\n".join(lines) + "\n"


def parameter_table(fit: Fit) -> pd.DataFrame:
    """Parameters as nlmixr2 prints them.

    Columns ``Parameter``, ``Est.`` and ``SE`` (on the scale of estimation), ``%RSE``, ``Back-transformed``,
    ``CI Lower``, ``CI Upper`` (95 %), ``BSV(CV%)`` (log-normal parameters: 100 sqrt(exp(omega^2) - 1)), ``BSV(SD)``
    (others), ``Shrink(SD)%``.
    """
    model, pack = fit.model, packing(fit.model, fit.population)
    se = np.full(len(pack), np.nan)
    if fit.covariance is not None:
        se = np.sqrt(np.maximum(np.diag(fit.covariance), 0.0))
    free = {int(p): se[k] for k, p in enumerate(pack.typical)}
    shrunk = dict(zip(shrinkage(fit)["name"], shrinkage(fit)["sd_shrinkage"], strict=True))
    rows = []
    for p, q in enumerate(model.parameters):
        at, error = float(fit.population.typical[p]), free.get(p, np.nan)
        low, high = (float(q.scale.back(at + sign * Z * error)) for sign in (-1.0, 1.0))
        sd = 0.0
        if p in model.varying:
            j = model.varying.index(p)
            sd = float(np.sqrt(fit.population.omega[j, j]))
        cv = 100.0 * float(np.sqrt(np.expm1(sd**2))) if q.scale.kind == "log" and sd else np.nan
        rows.append((q.name, at, error, 100.0 * error / abs(at) if at else np.nan, float(q.scale.back(at)), low, high,
                     cv, sd if sd and q.scale.kind != "log" else np.nan,
                     100.0 * shrunk.get(f"eta {q.name}", np.nan)))  # fmt: skip
    table = fit.table()
    for other in table[table["kind"].isin(["effect", "observed", "class"])].itertuples():
        rows.append((other.name, other.value, other.se, other.rse_pct, other.value, other.low95, other.high95,
                     np.nan, np.nan, np.nan))  # fmt: skip
    columns = ["Parameter", "Est.", "SE", "%RSE", "Back-transformed", "CI Lower", "CI Upper", "BSV(CV%)", "BSV(SD)",
               "Shrink(SD)%"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)
