"""Names of EEG channels: what a hospital writes, as positions of the 10-20 and 10-10 systems.

Names inside the package are those of the 10-10 system (American Clinical Neurophysiology Society 2016, guideline 2,
doi:10.1097/WNP.0000000000000316; recalled): T7, T8, P7 and P8 for the older T3, T4, T5 and T6.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["eeg", "ecg", "other"]

#: Older names of the 10-20 system by their 10-10 names.
OLDER = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}

#: Electrodes at the ears and mastoids: references, never signals of the cortex here.
EARS = frozenset({"A1", "A2", "M1", "M2", "TP9", "TP10"})

_ROWS = {
    "Fp": "z12", "AF": "z12345678", "F": "z12345678" + "90", "FT": "789", "FC": "z123456", "C": "z123456",
    "T": "78", "TP": "78", "CP": "z123456", "P": "z123456789", "PO": "z345678", "O": "z12", "I": "z12",
}  # fmt: skip
_EXTRA = ("F10", "FT10", "FT9", "P10", "T9", "T10", "AFz")
#: Every position known, by its name in upper case.
POSITIONS: dict[str, str] = {
    name.upper(): name
    for name in [*(row + place for row, places in _ROWS.items() for place in places if place != "0"), *_EXTRA]
}

_ECG = re.compile(r"\b(EKG|ECG)|^(EKG|ECG)", re.I)
_OTHER = re.compile(
    r"EOG|EMG|RESP|SPO2|SAO2|PHOTIC|STIM|TRIG|STATUS|EVENT|MARKER|ANNOT|PULSE|PLETH|BEAT|CHIN|LEG|NASAL|SNORE|THOR|"
    r"ABD|^DC ?\d|^X\d+$|^LOC$|^ROC$|^E[12]$|^HR$|^LAT$|^RAT$",
    re.I,
)
#: Words for a reference that stands behind the name of an electrode, e.g. ``Fp1-REF``.
_REFERENCE = r"REF\d?|LE|AR|AVG?|AVERAGE|AVGREF|CAR|G\d?|GND|A1\+?A2|A1|A2|M1|M2|CZREF|COMMON"


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of a file.

    ``name`` is an electrode (``Fp1``), or two with a hyphen where the file itself holds a derivation (``Fp1-F7``);
    ``label`` is what the file says. ``reference`` is the written reference, None where the file names none.
    """

    label: str
    name: str
    kind: Kind
    reference: str | None = None

    @property
    def bipolar(self) -> bool:
        """Whether the file holds the difference of two scalp electrodes."""
        return self.kind == "eeg" and "-" in self.name


def parse(label: str) -> Channel:
    """What a label means: its electrode or derivation, its reference, or that it is no EEG.

    >>> parse("EEG FP1-Ref").name, parse("T3").name, parse("EEG Fp2 - F8").name, parse("ECG1").kind
    ('Fp1', 'T7', 'Fp2-F8', 'ecg')
    """
    text = re.sub(r"\s+", " ", label.strip().strip(".")).strip()
    if _ECG.search(text):
        return Channel(label, "ECG", "ecg")
    bare = re.sub(r"^(EEG|E|POL)[\s_:.-]+", "", text, flags=re.I).strip().rstrip(".")
    position = electrode(bare)
    if position is not None:
        return Channel(label, position, "eeg")
    if _OTHER.search(bare):
        return Channel(label, bare, "other")
    parts = [part.strip() for part in re.split(r"\s*[-–_/]\s*|\s+", bare, maxsplit=1)]
    if len(parts) == 2:
        first, second = electrode(parts[0]), electrode(parts[1])
        if first is not None and re.fullmatch(_REFERENCE, parts[1].replace(" ", ""), re.I):
            return Channel(label, first, "eeg", parts[1])
        if first is not None and second is not None and first != second:
            if second in EARS:
                return Channel(label, first, "eeg", second)
            return Channel(label, f"{first}-{second}", "eeg", second)
        if first is not None and second is None and re.fullmatch(r"[A-Za-z]\w{0,5}", parts[1]):
            return Channel(label, first, "eeg", parts[1])
    return Channel(label, text, "other")


def electrode(text: str) -> str | None:
    """The 10-10 name of an electrode, None for anything else; ears count as electrodes.

    >>> electrode("fp1"), electrode("T5"), electrode("FPZ"), electrode("Sp1")
    ('Fp1', 'P7', 'Fpz', None)
    """
    plain = text.strip().upper()
    if plain in OLDER:
        return OLDER[plain]
    return plain if plain in EARS else POSITIONS.get(plain)


def parse_all(labels: Sequence[str]) -> tuple[list[Channel], list[str]]:
    """Channels in the order of the labels, and labels set aside because an earlier one has the same name.

    A name that comes twice keeps its first channel; the later one becomes ``other``, so that no electrode counts
    twice. Running numbers that readers add to equal labels (``Fp1-0``, ``Fp1-1``) are understood.
    """
    channels, doubles, seen = [], [], set()
    for label in labels:
        channel = parse(label)
        if channel.kind == "other" and (found := re.fullmatch(r"(.+)-(\d{1,2})", label)):
            bare = parse(found.group(1))
            channel = Channel(label, bare.name, bare.kind, bare.reference)
        if channel.kind == "eeg" and channel.name in EARS:
            channel = Channel(label, channel.name, "other")
        if channel.kind == "eeg" and channel.name in seen:
            doubles.append(label)
            channel = Channel(label, channel.name, "other")
        seen.add(channel.name)
        channels.append(channel)
    return channels, doubles


def side(name: str) -> Literal["left", "right", "middle"]:
    """The hemisphere of an electrode or of a derivation (of its first lateral electrode)."""
    for part in name.split("-"):
        digits = re.search(r"\d+$", part)
        if digits:
            return "left" if int(digits.group()) % 2 else "right"
    return "middle"


def mirror(name: str) -> str:
    """The same place on the other side: ``F3`` for ``F4``, ``Fp1-F7`` for ``Fp2-F8``; the midline is its own."""

    def one(part: str) -> str:
        digits = re.search(r"\d+$", part)
        if not digits:
            return part
        number = int(digits.group())
        return part[: digits.start()] + str(number + 1 if number % 2 else number - 1)

    return "-".join(one(part) for part in name.split("-"))
