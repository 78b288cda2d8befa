"""What is wrong with a recording or was done to it: flags that travel with every number made from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["note", "doubt", "unusable"]


@dataclass(frozen=True, slots=True)
class Flag:
    """One thing a reader of the numbers must know.

    ``note``: handled, the numbers stand; ``doubt``: the numbers may be wrong; ``unusable``: no number was made.
    ``where`` names channels or seconds.
    """

    code: str
    severity: Severity
    text: str
    where: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The flag as plain JSON values."""
        return asdict(self)
