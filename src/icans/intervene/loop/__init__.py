"""Closed loop: an environment in the form of Gymnasium, policies for it, and their comparison. Everything is synthetic.

``import icans.intervene.loop`` registers ``icans/ClosedLoop-v0`` where Gymnasium (the extra ``loop``) is installed::

    import gymnasium, icans.intervene.loop
    env = gymnasium.make("icans/ClosedLoop-v0", product="axi-cel", disease="LBCL", step_h=6)
    envs = gymnasium.make_vec("icans/ClosedLoop-v0", num_envs=256, vectorization_mode="vector_entry_point")
"""

from importlib.util import find_spec

ID = "icans/ClosedLoop-v0"


def register() -> None:
    """Make the environment known to Gymnasium; once is enough."""
    import gymnasium

    if ID not in gymnasium.registry:
        gymnasium.register(ID, entry_point="icans.intervene.loop.env:ClosedLoop",
                           vector_entry_point="icans.intervene.loop.env:ClosedLoopVector")  # fmt: skip


if find_spec("gymnasium") is not None:
    register()
