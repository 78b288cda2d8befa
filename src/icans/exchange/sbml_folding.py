"""What of a model depends on parameters alone, as numbers of one patient.

Some simulators put the text of a definition wherever its name is used (libRoadRunner 2 does). Chains of definitions, as
those of the steady state of the brain's fluids, then grow a thousandfold and never finish compiling. A folded file has
their values instead.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from icans.mechanism.language import names_in
from icans.mechanism.numeric import of_parameters

if TYPE_CHECKING:
    import numpy.typing as npt

    from icans.mechanism.model import PatientModel


def foldable(model: PatientModel, switched: Collection[str] = ()) -> list[str]:
    """Definitions that depend on nothing but parameters that stay the same, in the model's order."""
    moving = {*model.state_names, *switched}
    found = []
    for definition in model.definitions:
        if names_in(definition.text) & moving:
            moving.add(definition.name)
        else:
            found.append(definition.name)
    return found


def folded_values(
    model: PatientModel, parameters: npt.ArrayLike | None = None, switched: Collection[str] = ()
) -> dict[str, float]:
    """Values of the foldable definitions by name.

    To run another patient in a loaded folded file, set these beside the parameters, and reset.

    Parameters
    ----------
    parameters
        One patient's, shape (parameters,); the typical ones if None.
    switched
        Parameters that events change.
    """
    p = model.parameters.values_array() if parameters is None else np.asarray(parameters, dtype=float)
    names = foldable(model, switched)
    return dict(zip(names, of_parameters(model, names, p[None])[0].tolist()))
