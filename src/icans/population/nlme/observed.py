"""What is observed: measured values with their error, and outcomes (grades, counts, events).

The likelihood of each, with its derivatives, is in :mod:`~icans.population.nlme.rows`. Error models, f the prediction:

==================  ======================================================================================
``additive``        y ~ N(f, a^2)
``proportional``    y ~ N(f, (b f)^2)
``combined``        y ~ N(f, a^2 + (b f)^2)
``combined1``       y ~ N(f, (a + b |f|)^2), as in saemix and Monolix's "combined1"
``lognormal``       ln y ~ N(ln f, a^2)
``student``         (y - f) / a ~ t with ``df`` degrees of freedom
``logstudent``      (ln y - ln f) / a ~ t with ``df`` degrees of freedom
==================  ======================================================================================

Values beyond a limit: ``M1`` leaves them out, ``M2`` conditions the others on being above the limit, ``M3`` takes the
probability to lie beyond it, ``M4`` that between 0 and the limit given that values are positive (Beal 2001, J
Pharmacokinet Pharmacodyn 28:481, doi 10.1023/A:1012299115260).
"""

from __future__ import annotations

from dataclasses import dataclass

ERRORS = ("additive", "proportional", "combined", "combined1", "lognormal", "student", "logstudent")
CENSORING = ("M1", "M2", "M3", "M4")
#: Parameters that each error model has.
ERROR_PARAMETERS = {
    "additive": ("a",), "proportional": ("b",), "combined": ("a", "b"), "combined1": ("a", "b"), "lognormal": ("a",),
    "student": ("a",), "logstudent": ("a",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Observation:
    """A measured quantity.

    ``name``: as in the records. ``output``: of the structural model. ``a`` (unit of the value, or SD of ln) and ``b``
    (part of the prediction) are starts. ``floor``: added to the prediction inside logarithms and proportional errors'
    SD, so that a prediction of 0 has a likelihood (unit of the value). ``batches``: assays or centres whose values
    differ from those of the reference by a constant factor, ``exp`` of an estimated parameter with an N(0,
    ``batch_sd``^2) prior.
    """

    name: str
    output: str
    error: str = "proportional"
    a: float = 1.0
    b: float = 0.1
    df: float = 4.0
    censoring: str = "M3"
    floor: float = 0.0
    fixed: bool = False
    batches: tuple[str, ...] = ()
    batch_sd: float = 0.5
    unit: str = "1"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A grade, a count or an event that the structural model drives; x = link of the output, plus the frailty.

    ``kind``:

    * ``"ordinal"``: P(grade >= k) = expit(slope x - cuts[k - 1] + memory * previous grade), proportional odds, grades
      0 to len(cuts); the previous grade (0 at first) is the last one recorded before, when ``memory`` is not None.
    * ``"count"``: Poisson with mean exp(cuts[0] + slope x) or, with ``dispersion``, negative binomial (variance
      mean + dispersion mean^2).
    * ``"event"``: hazard per hour exp(cuts[0] + slope x); one record a subject, value = time to the event (censor
      none) or to the end of observation (censor right); the hazard is integrated over time from ``start_h``.

    ``link``: how the output enters: ``"identity"``, or ``"log"`` (ln(output + ``floor``)). ``frailty``: an individual
    parameter (normal scale) added to x. ``slope``, ``cuts``, ``memory``, ``dispersion`` are starts.
    """

    name: str
    output: str
    kind: str = "ordinal"
    cuts: tuple[float, ...] = (0.0,)
    slope: float = 1.0
    link: str = "identity"
    floor: float = 1e-6
    frailty: str | None = None
    memory: float | None = None
    dispersion: float | None = None
    start_h: float = 0.0
    step_h: float = 12.0
    fixed: bool = False


OUTCOMES = ("ordinal", "count", "event")
LINKS = ("identity", "log")
