"""From a cohort to SDTM domains: native variables first, the rest as supplemental qualifiers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from icans.cohort import clock, codes, extras, schema, vocabulary
from icans.cohort.cohort import Cohort
from icans.cohort.sdtm_codes import LABEL_LENGTH, qnam, written_codes
from icans.cohort.sdtm_files import words
from icans.cohort.sdtm_read import AVAILABLE_PARAMETER, FIRST_STUDY_DAY, SYNTHETIC_PARAMETER, ZERO_QNAM
from icans.cohort.sdtm_rows import READERS, person

SUPP_COLUMNS = ["STUDYID", "RDOMAIN", "USUBJID", "IDVAR", "IDVARVAL", "QNAM", "QLABEL", "QVAL", "QORIG"]
EPOCH_PARAMETER = "ICANSEPO"

Columns = dict[str, object]


def domains(cohort: Cohort, epoch: dt.datetime | None) -> dict[str, pd.DataFrame]:
    """Every domain that has records, by lower-case name."""
    study = cohort.name
    zeros = clock.time_zeros(cohort.patients, epoch)
    found = {"ts": _trial_summary(cohort, epoch), **_demographics(cohort, zeros, study)}
    for domain, truth in _split(cohort).items():
        if not len(truth):
            continue
        truth = truth.reset_index(drop=True)
        frame = _frame(domain, truth, zeros, study)
        found[domain] = frame
        supp = _supplement(domain, frame, truth, study)
        if len(supp):
            found[f"supp{domain}"] = supp
    return found


def _split(cohort: Cohort) -> dict[str, pd.DataFrame]:
    """The rows of each table by the domain they belong to."""
    labs = cohort.measurements
    vital = labs["analyte"].isin(written_codes("vs")) & labs["matrix"].eq("vital")
    cells = cohort.treatments["drug"].eq(codes.CELLS)
    grades = cohort.grades
    adverse = grades["toxicity"].isin(codes.toxicity_terms()) & grades["grade"].isin([1.0, 2.0, 3.0, 4.0, 5.0])
    return {
        "lb": labs[~vital], "vs": labs[vital], "ex": cohort.treatments[cells], "cm": cohort.treatments[~cells],
        "qs": cohort.assessments, "ae": grades[adverse], "fa": grades[~adverse], "ce": cohort.events,
        "zr": cohort.recordings,
    }  # fmt: skip


def _frame(domain: str, truth: pd.DataFrame, zeros: pd.Series, study: str) -> pd.DataFrame:
    p = domain.upper()
    zero = pd.Series(zeros.reindex(truth["patient_id"]).array)
    instant = clock.instants(truth["time_h"], zero)
    start, day = clock.text(instant, zone=False), _study_day(instant, zero)
    columns: Columns = {
        "STUDYID": study, "DOMAIN": p, "USUBJID": truth["patient_id"],
        f"{p}SEQ": (truth.groupby("patient_id").cumcount() + 1).astype("float64"),
        **_BUILDERS[domain](truth, zero, domain),
    }  # fmt: skip
    if domain in ("ex", "cm", "ae", "ce"):
        columns |= {f"{p}STDTC": start, f"{p}STDY": day}
    else:
        columns |= {f"{p}DTC": start, f"{p}DY": day}
    frame = pd.DataFrame(columns, index=truth.index)
    for name in frame.columns:
        if not pd.api.types.is_numeric_dtype(frame[name]):
            frame[name] = _plain(frame[name])
    return frame


def _study_day(instant: pd.Series, zero: pd.Series) -> pd.Series:
    """--DY: 1 on the calendar day of time zero (RFSTDTC), -1 on the day before."""
    day = (instant.dt.floor("D") - zero.dt.floor("D")).dt.days.astype("float64")
    return day.where(day < 0, day + FIRST_STUDY_DAY)


def _plain(values: pd.Series) -> pd.Series:
    return values.astype("object").where(values.notna(), "").astype(str).astype("object")


def _findings(truth: pd.DataFrame, zero: pd.Series, domain: str) -> Columns:
    p = domain.upper()
    code = truth["analyte"].map(written_codes(domain))
    labels = {name: word.label for name, word in vocabulary.analytes().items()}
    label = _named(truth["analyte"], labels).str[:LABEL_LENGTH]
    limited = truth["censor"].isin(["left", "right"]) & truth["limit"].notna()
    number = truth["limit"].where(limited, truth["value"])
    sign = truth["censor"].map({"left": "<", "right": ">"}).fillna("").where(limited, "")
    column = schema.MEASUREMENTS.column("value")
    result = sign.astype("object") + extras.as_text(number, column).set_axis(truth.index)
    specimen = {matrix: entry[-1] for matrix, entry in codes.table()["specimens"].items()}
    columns: Columns = {
        f"{p}TESTCD": code, f"{p}TEST": label, f"{p}ORRES": result, f"{p}ORRESU": truth["unit"], f"{p}STRESC": result,
        f"{p}STRESN": number.where(~limited), f"{p}STRESU": truth["unit"],
        f"{p}STAT": np.where(number.isna(), "NOT DONE", ""),
    }  # fmt: skip
    if domain == "lb":
        columns |= {"LBSPEC": truth["matrix"].map(specimen), "LBMETHOD": truth["assay"]}
    else:
        columns |= {"VSTPT": truth["method"]}
    return columns


def _named(texts: pd.Series, names: Mapping[str, str]) -> pd.Series:
    """Each text by its name; a text without one stays, a missing one stays missing."""
    return texts.map(lambda text: names.get(text, text), na_action="ignore").astype(schema.TEXT)


def _treatments(truth: pd.DataFrame, zero: pd.Series, domain: str) -> Columns:
    p = domain.upper()
    routes = {short: entry[-1] for short, entry in codes.table()["routes"].items()}
    end = clock.text(clock.instants(truth["time_h"] + truth["duration_h"], zero), zone=False)
    return {
        f"{p}TRT": truth["drug"], f"{p}DOSE": truth["amount"], f"{p}DOSU": truth["unit"], f"{p}DOSFRQ": "ONCE",
        f"{p}ROUTE": _named(truth["route"], routes), f"{p}ENDTC": end,
    }  # fmt: skip


def _questionnaire(truth: pd.DataFrame, zero: pd.Series, domain: str) -> Columns:
    labels = {name: word.label for name, word in vocabulary.items().items()}
    label = _named(truth["item"], labels).str[:LABEL_LENGTH]
    return {
        "QSTESTCD": truth["item"].map(written_codes("qs")), "QSTEST": label, "QSCAT": "BEDSIDE ASSESSMENT",
        "QSORRES": truth["value"], "QSSTRESC": truth["value"],
        "QSSTAT": np.where(truth["value"].isna(), "NOT DONE", ""),
    }  # fmt: skip


def _adverse_events(truth: pd.DataFrame, zero: pd.Series, domain: str) -> Columns:
    term = truth["toxicity"].map(codes.toxicity_terms())
    return {"AETERM": term, "AEDECOD": term, "AETOXGR": truth["grade"].map("{:.0f}".format)}


def _findings_about(truth: pd.DataFrame, zero: pd.Series, domain: str) -> Columns:
    shown = extras.as_text(truth["grade"], schema.GRADES.column("grade")).set_axis(truth.index)
    return {
        "FATESTCD": "GRADE", "FATEST": "Toxicity Grade",
        "FAOBJ": _named(truth["toxicity"], codes.toxicity_terms()),
        "FAORRES": shown, "FASTRESC": shown, "FASTRESN": truth["grade"], "FAMETHOD": truth["scheme"],
    }  # fmt: skip


def _clinical_events(truth: pd.DataFrame, zero: pd.Series, domain: str) -> Columns:
    name = truth["event"].str.upper().str.replace("_", " ", regex=False)
    return {"CETERM": truth["detail"].fillna(name), "CEDECOD": name}


def _recordings(truth: pd.DataFrame, zero: pd.Series, domain: str) -> Columns:
    return {"ZRTESTCD": truth["kind"].str.upper(), "ZRTEST": "Recording", "ZRORRES": truth["path"]}


_BUILDERS: dict[str, Callable[[pd.DataFrame, pd.Series, str], Columns]] = {
    "lb": _findings,
    "vs": _findings,
    "ex": _treatments,
    "cm": _treatments,
    "qs": _questionnaire,
    "ae": _adverse_events,
    "fa": _findings_about,
    "ce": _clinical_events,
    "zr": _recordings,
}


def _supplement(domain: str, frame: pd.DataFrame, truth: pd.DataFrame, study: str) -> pd.DataFrame:
    """SUPP-- records: what the domain's own variables do not say."""
    reader, _ = READERS[domain]
    rows = reader(frame, domain)
    table_ = schema.TABLES[rows.table]
    seen = rows.frame.assign(available_h=truth["time_h"].to_numpy())
    different = extras.differences(seen, truth, table_, skip=("time_h", "duration_h"))
    at = different["row"].to_numpy()
    return pd.DataFrame(
        {
            "STUDYID": study, "RDOMAIN": domain.upper(), "USUBJID": words(frame, "USUBJID", na=False).to_numpy()[at],
            "IDVAR": f"{domain.upper()}SEQ",
            "IDVARVAL": frame[f"{domain.upper()}SEQ"].map("{:.0f}".format).to_numpy()[at],
            "QNAM": different["column"].map(qnam), "QLABEL": different["column"], "QVAL": different["value"],
            "QORIG": "Assigned",
        },
        columns=SUPP_COLUMNS,
    )  # fmt: skip


def _demographics(cohort: Cohort, zeros: pd.Series, study: str) -> dict[str, pd.DataFrame]:
    truth = cohort.patients.reset_index(drop=True)
    zero = pd.Series(zeros.reindex(truth["patient_id"]).array)
    stamp = clock.text(zero, zone=False)
    deaths = cohort.events[cohort.events["event"].eq("death")].groupby("patient_id")["time_h"].min()
    died = clock.text(clock.instants(truth["patient_id"].map(deaths), zero), zone=False)
    sexes = {"female": "F", "male": "M", "other": "UNDIFFERENTIATED"}
    frame = pd.DataFrame(
        {
            "STUDYID": study, "DOMAIN": "DM", "USUBJID": truth["patient_id"], "SUBJID": truth["patient_id"],
            "RFSTDTC": stamp, "RFXSTDTC": stamp, "DTHDTC": died, "DTHFL": np.where(died.eq(""), "", "Y"),
            "SITEID": _plain(truth["site"]), "AGE": truth["age_y"],
            "AGEU": np.where(truth["age_y"].isna(), "", "YEARS"), "SEX": truth["sex"].map(sexes).fillna("U"),
            "RACE": _plain(truth["race"]), "ETHNIC": _plain(truth["ethnicity"]),
        }
    )  # fmt: skip
    frame = frame.assign(**{c: _plain(frame[c]) for c in frame.columns if c != "AGE"})
    different = extras.differences(person(frame), truth, schema.PATIENTS)
    at = different["row"].to_numpy()
    ids = truth["patient_id"].astype("object").to_numpy()
    supp = pd.DataFrame(
        {"USUBJID": np.concatenate([ids, ids[at]]),
         "QNAM": [ZERO_QNAM] * len(ids) + different["column"].map(qnam).tolist(),
         "QLABEL": ["Time zero (infusion)"] * len(ids) + different["column"].tolist(),
         "QVAL": np.concatenate([stamp.to_numpy(dtype=object), different["value"].to_numpy(dtype=object)])}
    )  # fmt: skip
    supp = supp.assign(STUDYID=study, RDOMAIN="DM", IDVAR="", IDVARVAL="", QORIG="Assigned")[SUPP_COLUMNS]
    return {"dm": frame, "suppdm": supp.sort_values("USUBJID", kind="stable", ignore_index=True)}


def _trial_summary(cohort: Cohort, epoch: dt.datetime | None) -> pd.DataFrame:
    """TS: title, and what must be known of these data (simulated; dates that mean nothing)."""
    rows = [("TITLE", "Trial Title", cohort.name), (AVAILABLE_PARAMETER, "Known at once unless SUPP-- says when", "Y")]
    if cohort.synthetic:
        rows.append((SYNTHETIC_PARAMETER, "Simulated data", "Y"))
    if cohort.patients["infusion_date"].isna().any():
        moment = clock.as_utc(epoch or clock.EPOCH).isoformat()
        rows.append((EPOCH_PARAMETER, "Time zero where no date may be kept", moment))
    frame = pd.DataFrame(rows, columns=["TSPARMCD", "TSPARM", "TSVAL"])
    frame.insert(0, "TSSEQ", np.arange(1.0, len(frame) + 1))
    frame.insert(0, "DOMAIN", "TS")
    frame.insert(0, "STUDYID", cohort.name)
    return frame


def labels() -> dict[str, str]:
    """Labels of the variables that need one beyond their name."""
    return {"QVAL": "Data Value", "QNAM": "Qualifier Variable Name", "USUBJID": "Unique Subject Identifier"}
