"""What the records of an SDTM domain say, as rows of the cohort with times still as text; whole columns at a time.

The reader uses this to read; the writer uses it to see what its own records would be understood as, and puts the
difference into supplemental qualifiers (:mod:`icans.cohort.extras`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from icans.cohort import clock, codes, vocabulary
from icans.cohort.extras import exact
from icans.cohort.sdtm_codes import meanings, table
from icans.cohort.sdtm_files import numbers, words

_RESULT = r"^(?P<sign><=|>=|<|>)?\s*(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)$"

NOTE_UNIT = ("sdtm.unit", "CDISC spelling of the unit written in UCUM")
NOTE_WORDS = ("sdtm.words", "result in words, kept as missing")
NOTE_EQUAL = ("sdtm.comparator", "'<=' and '>=' read as '<' and '>'")
NOTE_REPEATED = (
    "sdtm.repeated", "a dosing interval, not one administration: its start is kept, no length is given")  # fmt: skip


@dataclass
class Understood:
    """Rows of one table (index: position in the domain), their times as text, what each record was, and notes."""

    table: str
    frame: pd.DataFrame
    start: pd.Series
    end: pd.Series | None = None
    label: pd.Series | None = None
    notes: list[tuple[tuple[str, str], str, int]] = field(default_factory=list)


def findings(frame: pd.DataFrame, prefix: str) -> Understood:
    """Results of LB or VS."""
    p = prefix.upper()
    code = words(frame, f"{p}TESTCD").str.upper()
    analyte = code.map(meanings(prefix))
    notes: list[tuple[tuple[str, str], str, int]] = []
    value, unit, sign = _results(frame, p, analyte.notna(), notes)
    censor = sign.str[:1].map({"<": "left", ">": "right"}).fillna("none")
    known = {name: word.matrix for name, word in vocabulary.analytes().items()}
    matrix = words(frame, f"{p}SPEC").str.upper().map(codes.specimens())
    matrix = matrix.mask(matrix.isna() & words(frame, f"{p}CAT").str.upper().eq("URINALYSIS"), "urine")
    in_csf = analyte.map(table()["csf"]).where(matrix.eq("csf"))
    analyte = in_csf.where(in_csf.notna(), analyte)
    parts = [words(frame, f"{p}NAM"), words(frame, f"{p}METHOD")]
    method = _joined([words(frame, f"{p}POS"), words(frame, f"{p}TPT")], "; ")
    rows = pd.DataFrame(
        {
            "analyte": analyte, "matrix": matrix.where(matrix.notna(), analyte.map(known)), "value": value,
            "unit": unit.where(unit.ne("")), "censor": censor, "limit": value.where(censor.ne("none")),
            "assay": _joined(parts, " / "), "method": method,
        }
    )  # fmt: skip
    label = code + " (" + words(frame, f"{p}TEST") + ")"
    return Understood("measurements", rows, words(frame, f"{p}DTC"), None, label, notes)


def _results(
    frame: pd.DataFrame, p: str, known: pd.Series, notes: list[tuple[tuple[str, str], str, int]]
) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Value, unit and comparator: the standardised result, else the original one."""
    standard, original = words(frame, f"{p}STRESC"), words(frame, f"{p}ORRES")
    parsed, raw = standard.str.extract(_RESULT), original.str.extract(_RESULT)
    number = numbers(frame, f"{p}STRESN")
    from_text = number.isna() & parsed["number"].notna()
    value = number.where(~from_text, exact(parsed["number"]))
    from_original = value.isna() & raw["number"].notna() & standard.eq("")
    value = value.where(~from_original, exact(raw["number"]))
    value = value.where(np.isfinite(value))
    done = words(frame, f"{p}STAT").str.upper().ne("NOT DONE")
    value = value.where(done)
    sign = parsed["sign"].where(parsed["sign"].notna(), raw["sign"]).where(value.notna()).fillna("")
    units, original_units = words(frame, f"{p}STRESU"), words(frame, f"{p}ORRESU")
    units = units.where(~(from_original | units.eq("")), original_units)
    mapped = units.map(table()["units"]).where(lambda s: s.notna(), units)
    for old, count in units[mapped.ne(units) & known].value_counts().items():
        notes.append((NOTE_UNIT, f"{old} = {table()['units'][old]}", int(count)))
    wordy = known & done & value.isna() & (standard.ne("") | original.ne(""))
    equal = known & sign.isin(["<=", ">="])
    for note, mask in ((NOTE_WORDS, wordy), (NOTE_EQUAL, equal)):
        if mask.any():
            notes.append((note, "", int(mask.sum())))
    return value, mapped, sign


def _joined(parts: list[pd.Series], between: str) -> pd.Series:
    a, b = parts
    both = a + between + b
    text = both.where(a.ne("") & b.ne(""), a + b)
    return text.where(text.ne(""))


def treatments(frame: pd.DataFrame, prefix: str) -> Understood:
    """Administrations of EX or CM."""
    p = prefix.upper()
    name = words(frame, f"{p}DECOD")
    name = name.where(name.ne(""), words(frame, f"{p}TRT"))
    drug = name.map({n: codes.drug(n) for n in name.unique()})
    route = words(frame, f"{p}ROUTE")
    short = route.str.upper().map(codes.routes())
    unit = words(frame, f"{p}DOSU")
    start, end = words(frame, f"{p}STDTC"), words(frame, f"{p}ENDTC")
    frequency = words(frame, f"{p}DOSFRQ").str.upper()
    repeated = frequency.ne("") & frequency.ne("ONCE") & end.ne("") & end.ne(start)
    timed = clock.parse(start)["precision"].eq("time") & clock.parse(end)["precision"].eq("time")
    notes = (
        [(NOTE_REPEATED, ", ".join(sorted(frequency[repeated].unique())[:5]), int(repeated.sum()))]
        if repeated.any()
        else []
    )
    rows = pd.DataFrame(
        {
            "drug": drug.where(drug.ne("")), "amount": numbers(frame, f"{p}DOSE"), "unit": unit.where(unit.ne("")),
            "route": short.where(short.notna(), route).where(route.ne("")),
        }
    )  # fmt: skip
    return Understood("treatments", rows, start, end.where(timed & ~repeated, ""), name, notes)


def questionnaire(frame: pd.DataFrame, prefix: str = "qs") -> Understood:
    """Bedside items of QS."""
    code = words(frame, "QSTESTCD").str.upper()
    value = words(frame, "QSSTRESC")
    value = value.where(value.ne(""), words(frame, "QSORRES")).where(
        words(frame, "QSSTAT").str.upper().ne("NOT DONE"), ""
    )
    rows = pd.DataFrame({"item": code.map(meanings("qs")), "value": value.where(value.ne(""))})
    return Understood("assessments", rows, words(frame, "QSDTC"), None, code + " (" + words(frame, "QSTEST") + ")")


def adverse_events(frame: pd.DataFrame, prefix: str = "ae") -> Understood:
    """Grades of AE, at the start of each event: AETOXGR of the toxicities that the schema knows."""
    term = words(frame, "AEDECOD")
    term = term.where(term.ne(""), words(frame, "AETERM"))
    toxicity = term.map({t: codes.toxicity(t) for t in term.unique()})
    graded = words(frame, "AETOXGR").str.upper().str.removeprefix("GRADE").str.strip()
    grade = exact(graded.where(graded.str.fullmatch(r"[0-5](?:\.5|\.0)?")))
    rows = pd.DataFrame({"toxicity": toxicity, "scheme": "CTCAE5", "grade": grade, "source": "delivered",
                         "lower_bound": grade.isna()})  # fmt: skip
    return Understood("grades", rows, words(frame, "AESTDTC"), None, term)


def findings_about(frame: pd.DataFrame, prefix: str = "fa") -> Understood:
    """Grades of FA (FATESTCD ``GRADE``, FAOBJ the toxicity, FAMETHOD the scheme)."""
    term = words(frame, "FAOBJ")
    mine = words(frame, "FATESTCD").eq("GRADE")
    toxicity = term.map({t: codes.toxicity(t) for t in term.unique()}).where(mine)
    scheme = words(frame, "FAMETHOD")
    rows = pd.DataFrame({"toxicity": toxicity, "scheme": scheme.where(scheme.ne("")),
                         "grade": numbers(frame, "FASTRESN"), "source": "delivered", "lower_bound": False})  # fmt: skip
    return Understood("grades", rows, words(frame, "FADTC"), None, words(frame, "FATESTCD") + " of " + term)


def clinical_events(frame: pd.DataFrame, prefix: str = "ce") -> Understood:
    """Events of CE (CEDECOD the event, CETERM its detail)."""
    from icans.cohort.schema import EVENTS

    event = words(frame, "CEDECOD")
    lowered = event.str.lower().str.replace(" ", "_", regex=False)
    rows = pd.DataFrame({"event": lowered.where(lowered.isin(EVENTS))})
    detail = words(frame, "CETERM")
    rows["detail"] = detail.where(detail.ne("") & detail.str.upper().ne(event.str.upper()))
    return Understood("events", rows, words(frame, "CESTDTC"), None, event)


def recordings(frame: pd.DataFrame, prefix: str = "zr") -> Understood:
    """Recordings of ZR, a sponsor-defined findings domain (ZRTESTCD the kind, ZRORRES the path)."""
    kind, path = words(frame, "ZRTESTCD").str.lower(), words(frame, "ZRORRES")
    rows = pd.DataFrame({"kind": kind.where(kind.isin(["eeg", "mri"])), "path": path.where(path.ne(""))})
    return Understood("recordings", rows, words(frame, "ZRDTC"), None, kind)


#: Domain, reader, and the column without which a record has no place in the cohort.
READERS: dict[str, tuple[Callable[[pd.DataFrame, str], Understood], str]] = {
    "lb": (findings, "analyte"),
    "vs": (findings, "analyte"),
    "ex": (treatments, "drug"),
    "cm": (treatments, "drug"),
    "qs": (questionnaire, "item"),
    "ae": (adverse_events, "toxicity"),
    "fa": (findings_about, "toxicity"),
    "ce": (clinical_events, "event"),
    "zr": (recordings, "kind"),
}


def person(frame: pd.DataFrame) -> pd.DataFrame:
    """Covariates of DM (or of ADSL)."""
    age = numbers(frame, "AGE")
    factor = words(frame, "AGEU").str.upper().map(table()["years"]).astype("float64")
    sex = words(frame, "SEX").str.upper().map(table()["sex"])
    text = {
        name: words(frame, column) for name, column in (("site", "SITEID"), ("race", "RACE"), ("ethnicity", "ETHNIC"))
    }
    return pd.DataFrame(
        {"age_y": np.where(factor.notna(), age * factor.fillna(1.0), age), "sex": sex,
         **{name: column.where(column.ne("")) for name, column in text.items()}},
        index=frame.index,
    )  # fmt: skip
