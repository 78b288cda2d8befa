"""A first look at samples spread over a recording: units, mains, dead and flipped channels, before features are made.

Amplitudes: scalp EEG has a standard deviation of a few to some hundred microvolts. From 0.1 (the noise of an amplifier
on a silent brain) to 1000 (artefact) is taken as possible; a factor of a thousand or a million between what is read and
the usual is a wrong unit, everything else is told and left alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icans.signals.eeg import montage, prepare
from icans.signals.eeg.channels import mirror
from icans.signals.eeg.flags import Flag
from icans.signals.eeg.reading import Part, Recording

Array = npt.NDArray[np.float64]

#: Pieces looked at, and their length.
PIECES, PIECE_S = 10, 15.0
POSSIBLE_UV = (0.1, 1000.0)
USUAL_UV = (2.0, 150.0)
#: What turns an impossible amplitude into a usual one, and what the file must have meant.
_WRONG_UNITS = (
    (1e-6, "uV where the file says V"), (1e-3, "mV where the file says V, or uV where it says mV"),
    (1e3, "mV where the file says uV"), (1e6, "V where the file says uV"),
)  # fmt: skip
#: Share of power between 1 Hz and the end of the working band plus mains that mains may have. Above it the ends of a
#: recording, where mains stops in mid wave, begin to tell (slope of the spectrum, 30 clips with 50 uV of mains added).
MAINS_SHARE = 0.05
#: Mean correlation with the nearest electrodes at and below which a channel counts as flipped. On 30 clips no channel
#: lies there; of 570 that were turned round, 99 % do.
FLIPPED = -0.1
#: Gain in correlation with the neighbours, both channels together, from which an exchange is told.
EXCHANGED = 0.3
#: Correlation with the neighbours below which nothing can be said about polarity or place (a silent brain, for one).
UNCHECKED = 0.4
#: Share of equal neighbouring samples at and above which a channel counts as flat.
FLAT_SHARE = 0.5


@dataclass(frozen=True)
class Survey:
    """What the first look found.

    ``scale``: microvolts for one unit as read. ``names``: channels that features may use. ``left_out``: channel and
    reason. ``amplitude_uv``: median standard deviation of a channel.
    """

    names: tuple[str, ...]
    left_out: dict[str, str]
    scale: float
    amplitude_uv: float
    mains: dict[str, float]
    flags: tuple[Flag, ...]


def survey(recording: Recording) -> Survey:
    """Look at up to ten pieces of 15 s spread over the recording."""
    names = recording.eeg_names
    flat, mains, pieces = _pieces(recording)
    flags: list[Flag] = []
    left_out = {name: "flat" for name in names if flat[name] >= FLAT_SHARE}
    alive = [name for name in names if name not in left_out]
    if not alive:
        return Survey((), left_out, 1e6, 0.0, {}, (Flag("signal.none", "unusable", "every channel is flat"),))
    rows = [names.index(name) for name in alive]
    working = [piece[rows] * 1e6 for piece in pieces]
    spread = np.median([piece.std(axis=1) for piece in working], axis=0)
    scale, unit_flags = _scale(float(np.median(spread)))
    flags += unit_flags
    for name in flipped(alive, working):
        left_out[name] = "polarity reversed against its neighbours"
    left_out |= {name: "unlike its neighbours and far larger" for name in _disconnected(alive, working, spread)}
    remaining = [name for name in alive if name not in left_out]
    rest = _pick(working, alive, left_out)
    for pair in swapped(remaining, rest):
        flags.append(Flag("channel.swapped", "doubt", "these two seem to be exchanged", ", ".join(pair)))
    correlation = neighbour_correlation(remaining, rest)
    lone = [name for name, r in zip(remaining, correlation, strict=True) if abs(r) < UNCHECKED]
    if lone:
        text = "these share too little with their neighbours to tell whether they are exchanged or turned round"
        flags.append(Flag("channel.unchecked", "note", text, ", ".join(lone)))
    if left_out:
        where = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        flags.append(Flag("channel.left_out", "doubt", "channels were left out of every feature", where))
    loud = {name: share for name, share in mains.items() if share > MAINS_SHARE and name in alive}
    if loud:
        where = ", ".join(f"{name} {share:.0%}" for name, share in loud.items())
        flags.append(Flag("mains", "note", f"mains above {MAINS_SHARE:.0%} of the power; it is filtered out", where))
    missing = [name for name in montage.STANDARD if name not in alive or name in left_out]
    if missing:
        flags.append(Flag("montage.partial", "note", "electrodes of the 10-20 system are missing", ", ".join(missing)))
    kept = tuple(name for name in alive if name not in left_out)
    return Survey(kept, left_out, scale, float(np.median(spread) * scale / 1e6), mains, tuple(flags))


def _pick(working: list[Array], alive: list[str], left_out: dict[str, str]) -> list[Array]:
    rows = [i for i, name in enumerate(alive) if name not in left_out]
    return [piece[rows] for piece in working]


def _pieces(recording: Recording) -> tuple[dict[str, float], dict[str, float], list[Array]]:
    """Share of flat samples and of mains by channel, and working pieces in the units of the file."""
    names = recording.eeg_names
    count = int(np.clip(recording.seconds // PIECE_S, 1, PIECES))
    starts = np.linspace(0.0, max(0.0, recording.seconds - PIECE_S), count)
    flat: dict[str, list[float]] = {name: [] for name in names}
    mains: dict[str, list[float]] = {name: [] for name in names}
    pieces = [np.zeros((len(names), int(PIECE_S * prepare.RATE))) for _ in starts]
    for part in recording.parts:
        rows = [i for i, c in enumerate(part.channels) if c.kind == "eeg"]
        if not rows:
            continue
        for piece, start in zip(pieces, starts, strict=True):
            first = int(start * part.rate)
            raw, bad = prepare.mend(part.read(first, min(part.samples, first + int(PIECE_S * part.rate)))[rows])
            slow = prepare.working(raw, part.rate)[:, : piece.shape[1]]
            share = mains_share(raw, part.rate)
            still = still_share(raw, bad)
            for k, row in enumerate(rows):
                name = part.channels[row].name
                flat[name].append(still[k])
                mains[name].append(share[k])
                piece[names.index(name), : slow.shape[1]] = slow[k]
    return {n: float(np.mean(v)) for n, v in flat.items()}, {n: float(np.median(v)) for n, v in mains.items()}, pieces


def still_share(raw: Array, bad: npt.NDArray[np.bool_]) -> Array:
    """Share of samples, one a channel, that equal the one before, or are no numbers."""
    step = np.abs(np.diff(raw, axis=1))
    floor = 1e-9 * np.maximum(np.abs(raw).max(axis=1, keepdims=True), 1e-30)
    share: Array = ((step <= floor) | bad[:, 1:]).mean(axis=1)
    return share


def mains_share(raw: Array, rate: float) -> Array:
    """Power within 1 Hz of 50 or 60 Hz (the larger) over that plus the power from 1 to 40 Hz, one a channel."""
    from scipy.signal import welch

    frequency, power = welch(raw, rate, nperseg=min(raw.shape[1], int(2 * rate)), axis=1)
    body = power[:, (frequency >= 1) & (frequency <= 40)].sum(axis=1)
    worst = np.zeros(len(raw))
    for hz in (50.0, 60.0):
        if hz + 1 < rate / 2:
            line = power[:, np.abs(frequency - hz) <= 1].sum(axis=1)
            worst = np.maximum(worst, line / np.maximum(line + body, 1e-300))
    return worst


def _scale(spread_uv: float) -> tuple[float, list[Flag]]:
    """Microvolts for one unit as read, and what to say about it."""
    if POSSIBLE_UV[0] <= spread_uv <= POSSIBLE_UV[1]:
        if spread_uv > USUAL_UV[1]:
            text = f"the EEG has a standard deviation of {spread_uv:.0f} uV, more than usual; gain or unit may be wrong"
            return 1e6, [Flag("amplitude.large", "doubt", text)]
        if spread_uv < USUAL_UV[0]:
            text = f"the EEG has a standard deviation of {spread_uv:.2g} uV, less than usual; gain or unit may be wrong"
            return 1e6, [Flag("amplitude.small", "doubt", text)]
        return 1e6, []
    for factor, meaning in _WRONG_UNITS:
        if USUAL_UV[0] <= spread_uv * factor <= USUAL_UV[1]:
            text = (f"as declared, the EEG would have a standard deviation of {spread_uv:.3g} uV; the numbers are "
                    f"taken to be in {meaning}")  # fmt: skip
            return 1e6 * factor, [Flag("unit.corrected", "doubt", text)]
    text = f"the EEG has a standard deviation of {spread_uv:.3g} uV, which no unit explains"
    return 1e6, [Flag("amplitude.impossible", "unusable", text)]


def neighbour_correlation(names: list[str], pieces: list[Array]) -> Array:
    """Correlation of each channel with what its nearest electrodes predict, median over pieces; NaN: cannot tell."""
    return _predicted(montage.neighbour_weights(names), _covariances(pieces))


def _covariances(pieces: list[Array]) -> Array:
    """Covariance of the channels of each piece, shape (pieces, channels, channels), the median channel taken off."""
    found = []
    for piece in pieces:
        there = piece - np.median(piece, axis=0)
        there -= there.mean(axis=1, keepdims=True)
        found.append(there @ there.T / there.shape[1])
    return np.array(found)


def _predicted(weights: Array, covariance: Array) -> Array:
    """Correlation of each channel with the sum of the others that ``weights`` make, median over pieces."""
    half = weights @ covariance
    own = np.diagonal(covariance, axis1=1, axis2=2)
    scale = np.sqrt(np.maximum(own * np.einsum("pij,ij->pi", half, weights), 0.0))
    product = np.diagonal(half, axis1=1, axis2=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.median(np.where(scale > 0, product / scale, np.nan), axis=0))


def flipped(names: list[str], pieces: list[Array]) -> list[str]:
    """Channels whose polarity is reversed: they run against their nearest electrodes, one by one.

    The correlation with each neighbour counts, not that with their sum, so that one reversed channel does not make its
    neighbours look wrong; and in the reference of the file, which what all channels share makes easier to tell than
    the average one. The worst is turned back before the next is looked for; at most a quarter of the channels,
    and where more run against each other, none is named.
    """
    weights = montage.neighbour_weights(names)
    weights = weights + weights.T
    each = []
    for piece in pieces:
        there = piece - piece.mean(axis=1, keepdims=True)
        size = np.maximum(np.sqrt((there**2).sum(axis=1)), 1e-30)
        each.append((there @ there.T) / np.outer(size, size))
    correlation = np.median(each, axis=0)
    sign = np.ones(len(names))
    known = weights.sum(axis=1) > 0
    for _ in range(len(names) // 4 + 1):
        agreement = np.full(len(names), np.inf)
        mean = sign * ((weights * correlation) @ sign)
        agreement[known] = mean[known] / weights.sum(axis=1)[known]
        worst = int(np.argmin(agreement))
        if agreement[worst] > FLIPPED:
            return [name for name, s in zip(names, sign, strict=True) if s < 0]
        sign[worst] *= -1
    return []


def _disconnected(names: list[str], pieces: list[Array], spread: Array) -> list[str]:
    """Channels ten times as large as the median one that share nothing with their neighbours."""
    correlation = neighbour_correlation(names, pieces)
    large = spread > 10 * np.median(spread)
    return [name for name, r, big in zip(names, correlation, large, strict=True) if big and abs(r) < 0.3]


def swapped(names: list[str], pieces: list[Array]) -> list[tuple[str, str]]:
    """Pairs of mirror electrodes that fit much better when exchanged."""
    weights, covariance = montage.neighbour_weights(names), _covariances(pieces)
    before = _predicted(weights, covariance)
    found = []
    for i, name in enumerate(names):
        other = mirror(name)
        if other not in names or names.index(other) <= i:
            continue
        j = names.index(other)
        order = np.arange(len(names))
        order[[i, j]] = j, i
        after = _predicted(weights, covariance[:, order][:, :, order])
        gain = after[[i, j]] - before[[i, j]]
        if gain.sum() > EXCHANGED and gain.min() > 0:
            found.append((name, other))
    return found


def parts_with_eeg(recording: Recording) -> list[Part]:
    """Parts of a recording that have EEG channels."""
    return [part for part in recording.parts if any(c.kind == "eeg" for c in part.channels)]
