"""Public data sets as cohorts: what there is, how to get it, how to read it; and a synthetic cohort (``demo``).

>>> from icans.datasets import catalogue
>>> sorted(catalogue())[:2]
['bwh_icans', 'cd22_car_hlh']
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from icans.datasets.download import fetch as fetch
    from icans.datasets.loading import load as load
    from icans.datasets.registry import Dataset as Dataset
    from icans.datasets.registry import catalogue as catalogue
    from icans.datasets.registry import describe as describe

#: Public names and the module that each lives in; imported when first asked for.
_HOMES = {
    "Dataset": "registry",
    "catalogue": "registry",
    "describe": "registry",
    "fetch": "download",
    "load": "loading",
}
__all__ = ["Dataset", "catalogue", "describe", "fetch", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
