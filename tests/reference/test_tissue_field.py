"""The field against closed forms and independent schemes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.linalg import solve_banded
from scipy.special import k0

from icans.tissue.field.control import advance, step_error
from icans.tissue.field.field import Field
from icans.tissue.field.grid import Face, Grid, Medium, Substance
from icans.tissue.field.ledger import Ledger
from icans.tissue.field.sources import Sources, no_sources
from icans.tissue.field.steady import steady_state

Array = npt.NDArray[np.float64]

#: IL-6 in brain tissue: effective diffusion, um2/min, and a loss that gives a range of 64 um.
D, K = 2450.0, 0.6


def bump(grid: Grid, width: float) -> Array:
    """A Gaussian of height 1 in the middle of the box."""
    middle = [size / 2 for size in grid.size_um]
    far = sum((c - m) ** 2 for c, m in zip(grid.centres(), middle, strict=True))
    return np.asarray(np.exp(-far / (2 * width**2)))


def pulse(grid: Grid, width: float, time: float) -> Array:
    """What the bump becomes in free space."""
    late = width**2 + 2 * D * time
    return bump(grid, np.sqrt(late)) * (width**2 / late) ** (grid.dimensions / 2) * np.exp(-K * time)


@pytest.mark.parametrize(("scheme", "dt"), [("euler", 0.01), ("explicit", 0.1), ("exact", 2.0), ("implicit", 0.1)])
def test_gaussian_pulse(scheme: str, dt: float) -> None:
    grid = Grid((60, 60), 20.0)
    field = Field(grid, [Substance("a", D, K)], bump(grid, 120.0)[None])
    for _ in range(round(2.0 / dt)):
        field.step(dt, scheme=scheme)
    expected = pulse(grid, 120.0, 2.0)
    assert np.abs(field.values[0] - expected).max() < 7e-3 * expected.max()


def test_gaussian_pulse_in_three_dimensions() -> None:
    grid = Grid((32, 30, 28), 40.0)
    field = Field(grid, [Substance("a", D, K)], bump(grid, 150.0)[None])
    for _ in range(20):
        field.step(0.1, scheme="explicit")
    expected = pulse(grid, 150.0, 2.0)
    assert np.abs(field.values[0] - expected).max() < 1.5e-2 * expected.max()


def test_second_order_in_space() -> None:
    errors = []
    for n in (40, 80, 160):
        grid = Grid((n, n), 1600.0 / n)
        field = Field(grid, [Substance("a", D, K)], bump(grid, 100.0)[None])
        field.step(2.0, scheme="exact")
        errors.append(np.abs(field.values[0] - pulse(grid, 100.0, 2.0)).max())
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.all((orders > 1.7) & (orders < 2.2)), orders


def test_order_in_time() -> None:
    """Against the matrix exponential of the same grid, with sources and sinks that differ from voxel to voxel."""
    grid = Grid((16, 18), 40.0)
    y, x = grid.centres()
    loss = 0.3 + 0.2 * np.cos(x / 200) * np.sin(y / 150)
    made = np.exp(-((x - 200) ** 2 + (y - 300) ** 2) / 2e4)
    sources = (made.reshape(1, -1), loss.reshape(1, -1))
    orders = {}
    for scheme in ("euler", "explicit", "exact", "implicit"):
        ends = []
        for dt in (0.1, 0.05, 0.0125 / 16):
            field = Field(grid, [Substance("a", D, K)], bump(grid, 150.0)[None])
            for _ in range(round(0.4 / dt)):
                field.step(dt, sources, scheme if dt > 0.01 else "implicit")
            ends.append(field.values)
        errors = [np.abs(end - ends[-1]).max() for end in ends[:-1]]
        orders[scheme] = np.log2(errors[0] / errors[1])
    assert 0.9 < orders["euler"] < 1.2, orders
    assert all(orders[scheme] > 1.8 for scheme in ("explicit", "exact", "implicit")), orders


def test_steady_profile_of_a_point_source() -> None:
    """Yukawa's profile: K0 in the plane, exp(-r/range)/r in space."""
    reach = np.sqrt(D / K)
    for shape, h, far in (((121, 121), 10.0, (30, 250)), ((25, 25, 25), 15.0, (50, 100))):
        grid = Grid(shape, h)
        sources = no_sources(grid, 1)
        sources.production[0, grid.voxels // 2] = 1.0 / h**grid.dimensions
        found = steady_state(Field(grid, [Substance("a", D, K)]), sources)[0]
        middle = np.array(grid.size_um) / 2
        r = np.sqrt(sum((c - m) ** 2 for c, m in zip(grid.centres(), middle, strict=True)))
        ring = (r > far[0]) & (r < far[1])
        expected = k0(r[ring] / reach) / (2 * np.pi * D)
        if grid.dimensions == 3:
            expected = np.exp(-r[ring] / reach) / (4 * np.pi * D * r[ring])
        assert np.abs(found[ring] / expected - 1).max() < 0.06


def test_steps_arrive_at_the_steady_state() -> None:
    grid = Grid((20, 22), 20.0)
    sources = no_sources(grid, 1)
    sources.production[0, 200] = 1.0
    sources.loss[0, 100:130] = 2.0
    target = steady_state(Field(grid, [Substance("a", D, 0.1)]), sources)
    for scheme in ("explicit", "implicit"):
        field = Field(grid, [Substance("a", D, 0.1)])
        for _ in range(300):
            field.step(0.5, sources, scheme)
        np.testing.assert_allclose(field.values, target, rtol=1e-8)


def test_steady_flow_between_two_levels() -> None:
    """Flow between fixed faces: the exponential profile; exchange at a face: two resistances in series."""
    n, h, u = 40, 10.0, 9.0
    grid = Grid((1, n), h)
    x = grid.centres()[1][0]
    length = n * h
    medium = Medium(flow_um_min=[np.zeros((1, n)), np.full((1, n), u)],
                    faces={"x-": Face("fixed", 1.0), "x+": Face("fixed", 0.0)})  # fmt: skip
    still = Medium(faces={"x-": Face("fixed", 1.0), "x+": Face("exchange", 0.0, 20.0)})
    found = steady_state(Field(grid, [Substance("a", D)], medium=still))[0, 0]
    flux = 1 / (length / D + 1 / 20.0)
    np.testing.assert_allclose(found, 1 - flux * x / D, rtol=1e-9)
    found = steady_state(Field(grid, [Substance("a", D)], medium=medium))[0, 0]
    expected = 1 - np.expm1(u / D * x) / np.expm1(u / D * length)
    assert np.abs(found - expected).max() < 2e-2


@pytest.mark.parametrize("scheme", ["euler", "explicit", "implicit"])
def test_mass_balance_in_masked_heterogeneous_tissue_with_flow(scheme: str) -> None:
    rng = np.random.default_rng(1)
    grid = Grid((14, 15, 16), 20.0, rng.random((14, 15, 16)) > 0.2)
    flow = [rng.normal(0, 5, grid.shape) for _ in range(3)]
    medium = Medium(rng.uniform(0.2, 1.0, grid.shape), flow)
    substances = [Substance("a", D), Substance("b", 600.0)]
    field = Field(grid, substances, rng.random((2, *grid.shape)), medium)
    before = field.amounts_pg()
    made = rng.random((2, grid.voxels)) * grid.tissue.reshape(-1)
    sources = Sources(made, np.zeros_like(made))
    for _ in range(40):
        field.step(0.02, sources, scheme)
    expected = before + 0.8 * made.sum(axis=1) * grid.voxel_um3 * 1e-12
    np.testing.assert_allclose(field.amounts_pg(), expected, rtol=1e-10)
    assert np.all(field.values[:, ~grid.tissue] == 0)
    assert field.values.min() >= 0


def test_what_the_books_call_lost_is_the_time_integral_of_the_losses() -> None:
    """Gauss' quadrature of decay and sinks within every step, against the books, which balance to 1e-8."""
    grid = Grid((20, 20), 20.0)
    rng = np.random.default_rng(2)
    sources = (rng.random((1, 400)), rng.random((1, 400)))
    field = Field(grid, [Substance("a", D, K)], rng.random((1, 20, 20)))
    ledger = Ledger(field)
    decayed, taken = 0.0, 0.0
    nodes, weights = np.polynomial.legendre.leggauss(4)
    dt, steps = 0.01, 50
    for _ in range(steps):
        start = field.values.copy()
        for node, weight in zip(nodes, weights, strict=True):
            field.values[:] = start
            field.step(dt * (node + 1) / 2, sources)
            decayed += weight * dt / 2 * K * field.values.sum()
            taken += weight * dt / 2 * float((sources[1] * field.values.reshape(1, -1)).sum())
        field.values[:] = start
        ledger.step(field, dt, sources)
    pg = grid.voxel_um3 * 1e-12
    assert ledger.decayed[0] == pytest.approx(pg * decayed, rel=1e-5)
    assert ledger.taken[0] == pytest.approx(pg * taken, rel=2e-5)
    assert ledger.made[0] == pytest.approx(pg * dt * steps * sources[0].sum(), rel=1e-12)
    assert ledger.imbalance(field)[0] < 1e-12


def lod(c: Array, h: float, d: float, decay: float, dt: float, made: Array, lost: Array) -> Array:
    """BioFVM's step, written down anew: sources implicit, then one implicit solve per axis, decay shared by them.

    Ghaffarizadeh 2016, 10.1093/bioinformatics/btv730; locally one-dimensional splitting, first order in the step.
    """
    c = (c + dt * made) / (1 + dt * lost)
    for axis in range(c.ndim):
        n = c.shape[axis]
        r = dt * d / h**2
        bands = np.zeros((3, n))
        bands[0, 1:] = bands[2, :-1] = -r
        bands[1] = 1 + dt * decay / c.ndim + 2 * r
        bands[1, [0, -1]] -= r
        lines = np.moveaxis(c, axis, 0)
        c = np.moveaxis(solve_banded((1, 1), bands, lines.reshape(n, -1)).reshape(lines.shape), 0, axis)
    return c


@pytest.mark.parametrize("shape", [(20, 24), (9, 10, 11)])
def test_an_independent_implicit_scheme(shape: tuple[int, ...]) -> None:
    """Towards short steps BioFVM's scheme comes to the same; at its usual step it is further off than this one."""
    grid = Grid(shape, 20.0)
    rng = np.random.default_rng(3)
    made, lost = rng.random(shape), rng.random(shape)
    sources = (made.reshape(1, -1), lost.reshape(1, -1))
    start = bump(grid, 50.0)

    def rival(dt: float) -> Array:
        c = start
        for _ in range(round(0.4 / dt)):
            c = lod(c, 20.0, D, 0.2, dt, made, lost)
        return c

    finest = 2 * rival(0.000625) - rival(0.00125)
    for scheme in ("explicit", "implicit", "auto"):
        field = Field(grid, [Substance("a", D, 0.2)], start[None])
        for _ in range(8):
            field.step(0.05, sources, scheme)
        error = np.abs(field.values[0] - finest).max() / finest.max()
        assert error < 3e-3
        assert error < np.abs(rival(0.01) - finest).max() / finest.max()


def test_several_substances_do_not_touch_each_other() -> None:
    grid = Grid((12, 13), 20.0)
    rng = np.random.default_rng(4)
    values, made = rng.random((3, 12, 13)), rng.random((3, 156))
    substances = [Substance(n, d, k) for n, d, k in (("a", 2450, 0.1), ("b", 590, 0.0), ("c", 1e4, 1.0))]
    for scheme in ("explicit", "exact", "implicit"):
        together = Field(grid, substances, values)
        together.step(0.1, (made, made), scheme)
        for s, substance in enumerate(substances):
            alone = Field(grid, [substance], values[s : s + 1])
            alone.step(0.1, (made[s : s + 1], made[s : s + 1]), scheme)
            np.testing.assert_array_equal(alone.values[0], together.values[s])


def test_error_control_keeps_its_word() -> None:
    grid = Grid((30, 30), 20.0)
    start = bump(grid, 60.0)[None]
    exact = Field(grid, [Substance("a", D, K)], start)
    exact.step(3.0, scheme="exact")
    for tolerance in (1e-3, 1e-5):
        field = Field(grid, [Substance("a", D, K)], start)
        done = advance(field, 3.0, tolerance=tolerance)
        assert field.time_min == pytest.approx(3.0)
        assert np.abs(field.values - exact.values).max() < 2 * tolerance * done.steps
    field = Field(grid, [Substance("a", D, K)], start)
    told = step_error(field, 0.5, tolerance=1e-4)
    assert told.relative > 1e-4
    again = step_error(field, told.needed_min, tolerance=1e-4)
    assert 0.1e-4 < again.relative < 10e-4
    np.testing.assert_array_equal(field.values, start)


@pytest.mark.timeout(900)
def test_py_pde_agrees(full: None) -> None:
    """py-pde (Zwicker 2020, 10.21105/joss.02158) on the same grid, its time steps chosen by SciPy."""
    pde = pytest.importorskip("pde")
    grid = Grid((16, 16), 20.0)
    start = bump(grid, 60.0)
    made = pde.ScalarField(pde.CartesianGrid([[0, 320], [0, 320]], [16, 16]), start)
    equation = pde.PDE({"c": f"{D} * laplace(c) - {K} * c"}, bc={"derivative": 0})
    theirs = equation.solve(made, t_range=1.0, solver="scipy", method="DOP853", rtol=1e-9, atol=1e-12, tracker=None,
                            backend="numpy")  # fmt: skip
    field = Field(grid, [Substance("a", D, K)], start[None])
    for _ in range(20):
        field.step(0.05)
    np.testing.assert_allclose(field.values[0], theirs.data, rtol=3e-4)
    field = Field(grid, [Substance("a", D, K)], start[None])
    field.step(1.0, scheme="exact")
    np.testing.assert_allclose(field.values[0], theirs.data, rtol=1e-6)
