"""The optional package behind EEG files and electrode positions."""

from __future__ import annotations

from typing import Any

from icans.core.errors import IcansError

INSTALL = "pip install 'icans[eeg]'"


def need_mne() -> Any:
    """The package MNE; IcansError with the command that installs it where it is missing."""
    try:
        import mne
    except ImportError as error:
        raise IcansError(f"EEG needs the package MNE, which is not installed: {INSTALL}") from error
    return mne
