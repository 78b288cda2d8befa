"""What cells can sense and do: the signals and behaviours that rules speak of, and their places in the arrays.

The names are those of PhysiCell's rules where PhysiCell has one (Johnson et al. 2025, Human interpretable grammar
encodes multicellular systems biology models, DOI 10.1016/j.cell.2025.06.048; recalled); those of vessels are our own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches

# Signals that do not depend on the substances and kinds of cell, in the order of the array.
SIGNALS = (
    "pressure", "volume", "damage", "dead", "time", "trait", "contact with live cell", "contact with dead cell",
    "attached", "barrier loss", "pericyte loss", "plugged", "perfusion", "age", "held", "apoptotic", "necrotic",
)  # fmt: skip
PRESSURE, VOLUME, DAMAGE, DEAD, TIME, TRAIT, LIVE_CONTACT, DEAD_CONTACT, ATTACHED, BARRIER_LOSS, PERICYTE_LOSS = range(
    11
)
PLUGGED, PERFUSION, AGE, HELD, APOPTOTIC, NECROTIC = range(11, 17)

# Behaviours that do not depend on them, with unit and value where a kind says nothing.
BEHAVIOURS = {
    "migration speed": ("um/min", 0.0),
    "migration bias": ("1", 0.0),
    "migration persistence time": ("min", 1.0),
    "cell-cell adhesion": ("um/min", 0.4),
    "cell-cell repulsion": ("um/min", 10.0),
    "relative maximum adhesion distance": ("1", 1.25),
    "cycle entry": ("1/min", 0.0),
    "apoptosis": ("1/min", 0.0),
    "necrosis": ("1/min", 0.0),
    "kill rate": ("1/min", 0.0),
    "cell detachment rate": ("1/min", 0.0),
    "attack damage rate": ("1/min", 0.0),
    "damage rate": ("1/min", 0.0),
    "damage repair rate": ("1/min", 0.0),
    "immunogenicity": ("1", 1.0),
    "phagocytose dead cell": ("1/min", 0.0),
    "barrier loss rate": ("1/min", 0.0),
    "barrier repair rate": ("1/min", 0.0),
    "pericyte loss rate": ("1/min", 0.0),
    "pericyte repair rate": ("1/min", 0.0),
    "plugging rate": ("1/min", 0.0),
    "unplugging rate": ("1/min", 0.0),
    "prey attraction": ("1/min", 0.0),
}
(SPEED, BIAS, PERSISTENCE, ADHESION, REPULSION, REACH, CYCLE, APOPTOSIS, NECROSIS, KILL, DETACH, ATTACK_DAMAGE,
 DAMAGE_RATE, REPAIR, IMMUNOGENICITY, EAT, BARRIER_DOWN, BARRIER_UP, PERICYTE_DOWN, PERICYTE_UP, PLUG,
 UNPLUG, PREY) = range(23)  # fmt: skip

# For each substance: BioFVM's four ways of exchange, the exchange with plasma, and the pull on motion.
PER_SUBSTANCE = {
    "{} secretion": ("1/min", 0.0),
    "{} secretion target": ("pg/mL", 1.0),
    "{} uptake": ("1/min", 0.0),
    "{} export": ("pg/min", 0.0),
    "{} exchange": ("um3/min", 0.0),
    "chemotactic response to {}": ("1", 0.0),
}
# For each kind of cell.
PER_KIND = {
    "attack {}": ("1/min", 0.0),
    "transform to {}": ("1/min", 0.0),
    "extravasation of {}": ("uL/min", 0.0),
}
#: Spellings of PhysiCell that mean the same here.
SAME = {
    "cycle entry": ("exit from cycle phase 0", "cycle rate", "division rate"),
    "apoptosis": ("apoptosis rate", "death"),
    "necrosis": ("necrosis rate",),
    "phagocytose dead cell": ("phagocytose apoptotic cell", "phagocytose necrotic cell", "phagocytose other dead cell"),
    "cell detachment rate": ("spring detachment rate",),
}


@dataclass(frozen=True)
class Names:
    """The signals and behaviours that substances and kinds of cell give, with their index in the arrays."""

    substances: tuple[str, ...]
    kinds: tuple[str, ...]
    signals: dict[str, int] = field(init=False)
    behaviours: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        signals = [*SIGNALS, *self.substances, *(f"{s} gradient" for s in self.substances)]
        signals += [f"plasma {s}" for s in self.substances]
        signals += [f"contact with {k}" for k in self.kinds] + [f"circulating {k}" for k in self.kinds]
        behaviours = list(BEHAVIOURS)
        for pattern in PER_SUBSTANCE:
            behaviours += [pattern.format(s) for s in self.substances]
        for pattern in PER_KIND:
            behaviours += [pattern.format(k) for k in self.kinds]
        object.__setattr__(self, "signals", {name: i for i, name in enumerate(signals)})
        object.__setattr__(self, "behaviours", {name: i for i, name in enumerate(behaviours)})

    def signal_block(self, which: str) -> int:
        """First index of a block of signals: ``level``, ``gradient``, ``plasma``, ``contact``, ``circulating``."""
        at = ("level", "gradient", "plasma", "contact", "circulating").index(which)
        s, k = len(self.substances), len(self.kinds)
        return len(SIGNALS) + (0, s, 2 * s, 3 * s, 3 * s + k)[at]

    def behaviour_block(self, pattern: str) -> int:
        """First index of a block of behaviours, named by its pattern."""
        patterns = list(PER_SUBSTANCE)
        if pattern in patterns:
            return len(BEHAVIOURS) + patterns.index(pattern) * len(self.substances)
        after = len(BEHAVIOURS) + len(patterns) * len(self.substances)
        return after + list(PER_KIND).index(pattern) * len(self.kinds)

    def behaviour(self, name: str) -> int | None:
        """Index of a behaviour, known spellings of PhysiCell included; None where there is none."""
        if name in self.behaviours:
            return self.behaviours[name]
        for ours, others in SAME.items():
            if name in others:
                return self.behaviours[ours]
        return None

    def defaults(self) -> list[float]:
        """Value of every behaviour where a kind says nothing."""
        values = [value for _, value in BEHAVIOURS.values()]
        for _, value in PER_SUBSTANCE.values():
            values += [value] * len(self.substances)
        for _, value in PER_KIND.values():
            values += [value] * len(self.kinds)
        return values


def nearest(name: str, known: dict[str, int]) -> str:
    """A remedy: the names that look most like this one."""
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    return f"Nearest: {', '.join(close)}." if close else f"Known: {', '.join(list(known)[:12])} …"
