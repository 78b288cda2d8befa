"""A small valid cohort folder as text, which tests break on purpose."""

from __future__ import annotations

from pathlib import Path

TABLES = {
    "patients": (
        "patient_id,site,age_y,sex,product,prior_lines,cns_involvement,comorbidities\n"
        "P1,Basel,61.5,female,axi-cel,2,false,hypertension\n"
        'P2,"Z\u00fcrich, Uni",47,male,liso-cel,3,true,"asthma; ""old"" stroke"\n'
        "P3,Basel,8,female,tisa-cel,,,\n"
    ),
    "measurements": (
        "patient_id,time_h,available_h,analyte,matrix,value,unit,censor,limit,assay\n"
        "P1,-2.5,-1,crp,serum,12.3,mg/L,none,,\n"
        "P1,24,26.25,ferritin,serum,850,ng/mL,none,,\n"
        "P1,24,26.25,il_6,plasma,,pg/mL,left,1.5,Luminex\n"
        "P2,0,1,temperature,vital,37.1,Cel,none,,\n"
        "P2,12,13,ferritin,serum,,ng/mL,right,40000,\n"
        "P2,36,37,crp,serum,,mg/L,none,,\n"
    ),
    "treatments": (
        "patient_id,time_h,duration_h,drug,amount,unit,route\n"
        "P1,0,0.5,car_t,200000000,{cells},iv\n"
        "P1,30.1,1,tocilizumab,560,mg,iv\n"
        "P2,0,,car_t,,,iv\n"
    ),
    "assessments": (
        "patient_id,time_h,item,value,attributable\n"
        "P1,48,ice_total,7,true\n"
        "P1,48,rass,-2,\n"
        "P1,48,seizure,none,yes\n"
        "P2,50,fever,yes,false\n"
    ),
    "grades": (
        "patient_id,time_h,toxicity,scheme,grade,source,lower_bound\n"
        "P1,48,ICANS,ASTCT,1,delivered,false\n"
        "P2,50,CRS,ASTCT,1.5,delivered,\n"
    ),
    "events": "patient_id,time_h,event,detail\nP1,400,discharge,home\nP2,900,death,unknown cause\n",
    "recordings": "patient_id,time_h,kind,path\nP1,47,eeg,eeg/p1.edf\n",
}


def write_valid(folder: Path, **replaced: str) -> Path:
    """Write the tables into ``folder`` (made if absent); ``replaced`` gives other text for a table."""
    folder.mkdir(exist_ok=True)
    for name, text in {**TABLES, **replaced}.items():
        (folder / f"{name}.csv").write_bytes(text.encode())
    return folder


def swap(table: str, old: str, new: str) -> dict[str, str]:
    """One table with one passage replaced (it must be there once)."""
    assert TABLES[table].count(old) == 1, (table, old)
    return {table: TABLES[table].replace(old, new)}
