"""The model's equations as JAX functions, for those who need automatic differentiation.

For gradients through parts that are learned, and as an oracle of the analytic Jacobian. Not the way to simulate
populations: the compiled kernel is faster by an order of magnitude or more. Needs the extra ``deep``; the caller
switches JAX to double precision (``jax.config.update("jax_enable_x64", True)``).

Arrays may carry further axes behind the first (patients): everything is elementwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from icans.mechanism.numeric import source_of

if TYPE_CHECKING:
    from icans.mechanism.model import PatientModel


def jax_rates(model: PatientModel) -> Callable[[Any, Any, Any], Any]:
    """A function ``(y, p, u) -> dy`` of states (n, ...), parameters (k, ...) and rates of infusion (inputs, ...).

    Rates are per hour, in the units of the states; ``u`` is in the unit of an input's state per hour, and a scalar 0
    stands for no infusions.
    """
    import jax.numpy as jnp

    made = jax_values(model, [model.rates[name] for name in model.state_names])
    places = [model.state_names.index(i.state) for i in model.inputs]

    def rates(y: Any, p: Any, u: Any) -> Any:
        dy = made(y, p)
        given = jnp.asarray(u)
        if given.ndim == 0:
            return dy
        return dy.at[jnp.array(places)].add(given) if places else dy

    return rates


def jax_initial(model: PatientModel) -> Callable[[Any], Any]:
    """A function ``p -> y`` of parameters (k, ...): the initial states (n, ...)."""
    made = jax_values(model, [s.initial for s in model.states])

    def initial(p: Any) -> Any:
        return made([0.0] * len(model.states), p)

    return initial


def jax_values(model: PatientModel, texts: Iterable[str]) -> Callable[[Any, Any], Any]:
    """A function ``(y, p) -> values`` of expressions or names of the model, shape (texts, ...)."""
    import jax.numpy as jnp

    space: dict[str, Any] = _functions()
    exec(compile(source_of(model, list(texts)), "<model>", "exec"), space)  # noqa: S102 (checked by names_in)
    made = space["made"]

    def values(y: Any, p: Any) -> Any:
        return jnp.stack(jnp.broadcast_arrays(*made(y, p)))

    return values


def _functions() -> dict[str, Callable[..., Any]]:
    """The functions of the language, with derivatives that hold where a guarded branch is not taken."""
    import jax
    import jax.numpy as jnp

    def power(base: Any, exponent: Any) -> Any:
        safe = jnp.where(base > 0, base, 1.0)  # the branch not taken must not make NaN in derivatives
        return jnp.where(base > 0, safe**exponent, 0.0)

    def hill(x: Any, half: Any, exponent: Any = 1.0) -> Any:
        if isinstance(exponent, int | float) and exponent == 1:
            return x / (half + x)
        top = power(x, exponent)
        return top / (power(half, exponent) + top)

    return {
        "exp": jnp.exp, "log": jnp.log, "sqrt": jnp.sqrt, "tanh": jnp.tanh, "power": power,
        "pos": lambda x: jnp.where(x > 0, x, 0.0), "step": lambda x: jnp.where(x > 0, 1.0, 0.0), "hill": hill,
        "softplus": jax.nn.softplus, "expit": jax.nn.sigmoid,
    }  # fmt: skip
