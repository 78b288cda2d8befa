"""The tissue benchmark's physics for Mesa: the same cells, forces, walk, exchange, rules and volumes, agent by agent.

Written as Mesa users write (an Agent class with a step, a field in numpy), without tricks on either side: boxes for
neighbours, so that the cost is linear in cells; the field advances in numpy for all five substances at once.
"""

from __future__ import annotations

import math

import mesa
import numpy as np

SPACING, DT, PHENOTYPE = 20.0, 0.1, 60
DIFFUSION, DECAY = 1000.0, 0.1


class Cell(mesa.Agent):
    """One cell; kind 0 walks and secretes, kind 1 grows and secretes."""

    def __init__(self, model: Tissue, kind: int, x: float, y: float) -> None:
        super().__init__(model)
        self.kind, self.x, self.y = kind, x, y
        self.vx = self.vy = self.hx = self.hy = self.fx = self.fy = self.pressure = 0.0
        self.fluid, self.nuclear, self.cytoplasm = 0.75 * 2494, 0.25 * 540, 0.25 * 1954
        self.radius, self.speed = (0.75 / math.pi * 2494) ** (1 / 3), 5.0 if kind == 0 else 0.0
        self.cycle = 0.0

    def exchange(self) -> None:
        """Rates of the voxel: secretion of one substance, uptake of another."""
        i, j = min(int(self.y / SPACING), self.model.n - 1), min(int(self.x / SPACING), self.model.n - 1)
        share = (self.fluid + self.nuclear + self.cytoplasm) / SPACING**3
        made, taken = (1, 0) if self.kind == 0 else (0, 2)
        self.model.production[made, i, j] += share * 10.0
        self.model.loss[made, i, j] += share
        self.model.loss[taken, i, j] += share

    def push(self) -> None:
        """Push and pull of neighbours (PhysiCell's), and pressure."""
        fx = fy = pressure = 0.0
        boxes, a, b = self.model.boxes, int(self.x / self.model.box), int(self.y / self.model.box)
        for p in (a - 1, a, a + 1):
            for q in (b - 1, b, b + 1):
                for other in boxes.get((p, q), ()):
                    dx, dy = self.x - other.x, self.y - other.y
                    d2, touch = dx * dx + dy * dy, self.radius + other.radius
                    if other is self or d2 >= (1.25 * touch) ** 2:
                        continue
                    d = max(math.sqrt(d2), 1e-5)
                    f = -0.4 * (1 - d / (1.25 * touch)) ** 2
                    if d < touch:
                        close = (1 - d / touch) ** 2
                        pressure += close / 0.0273
                        f += 10.0 * close
                    fx += f * dx / d
                    fy += f * dy / d
        self.fx, self.fy, self.pressure = fx, fy, pressure

    def move(self) -> None:
        """Persistent walk drawn to a gradient, and a step of Adams and Bashforth."""
        model, random = self.model, self.random
        if self.speed > 0 and random.random() < model.lost:
            angle = 2 * math.pi * random.random()
            hx, hy = math.cos(angle), math.sin(angle)
            i, j = min(int(self.y / SPACING), model.n - 1), min(int(self.x / SPACING), model.n - 1)
            c, last = model.field[0], model.n - 1
            gx = c[i, min(j + 1, last)] - c[i, max(j - 1, 0)]
            gy = c[min(i + 1, last), j] - c[max(i - 1, 0), j]
            size = math.hypot(gx, gy)
            if size > 0:
                hx, hy = 0.5 * hx + 0.5 * gx / size, 0.5 * hy + 0.5 * gy / size
                size = max(math.hypot(hx, hy), 1e-12)
                hx, hy = hx / size, hy / size
            self.hx, self.hy = hx, hy
        vx, vy = self.fx + self.speed * self.hx, self.fy + self.speed * self.hy
        self.x = min(max(self.x + DT * (1.5 * vx - 0.5 * self.vx), 0.0), model.size)
        self.y = min(max(self.y + DT * (1.5 * vy - 0.5 * self.vy), 0.0), model.size)
        self.vx, self.vy = vx, vy

    def phenotype(self) -> None:
        """Two rules, and volumes toward their targets."""
        i, j = min(int(self.y / SPACING), self.model.n - 1), min(int(self.x / SPACING), self.model.n - 1)
        if self.kind == 0:
            u = self.model.field[1, i, j] ** 2
            self.speed = 5.0 + 3.0 * u / (1 + u)
        else:
            u = self.pressure**4
            self.cycle = 1e-4 * (1 - u / (1 + u))
        total, dt = self.fluid + self.nuclear + self.cytoplasm, PHENOTYPE * DT
        self.fluid += (0.75 * total - self.fluid) * (1 - math.exp(-0.05 * dt))
        self.nuclear += (135.0 - self.nuclear) * (1 - math.exp(-0.0055 * dt))
        self.cytoplasm += (488.5 - self.cytoplasm) * (1 - math.exp(-0.0045 * dt))
        self.radius = (0.75 / math.pi * (self.fluid + self.nuclear + self.cytoplasm)) ** (1 / 3)


class Tissue(mesa.Model):
    """Cells and five substances on a square."""

    def __init__(self, places: dict[int, np.ndarray], n: int, mechanics: bool = True, rng: int = 1) -> None:
        super().__init__(rng=rng)
        self.n, self.size, self.box, self.mechanics = n, n * SPACING, 22.0, mechanics
        self.lost, self.count = 1 - math.exp(-DT / 10.0), 0
        self.field = np.zeros((5, n, n))
        self.production, self.loss = np.zeros_like(self.field), np.zeros_like(self.field)
        for kind, points in places.items():
            for x, y in points:
                Cell(self, kind, float(x), float(y))

    def step(self) -> None:
        """One step of mechanics, as in our model."""
        if self.count % PHENOTYPE == 0:
            self.agents.do("phenotype")
        self.production[:], self.loss[:] = 0.0, 0.0
        self.agents.do("exchange")
        self._diffuse()
        if self.mechanics:
            self.boxes: dict[tuple[int, int], list[Cell]] = {}
            for cell in self.agents:
                self.boxes.setdefault((int(cell.x / self.box), int(cell.y / self.box)), []).append(cell)
            self.agents.do("push")
        self.agents.do("move")
        self.count += 1

    def _diffuse(self) -> None:
        c = np.pad(self.field, ((0, 0), (1, 1), (1, 1)), mode="edge")
        stencil = c[:, 2:, 1:-1] + c[:, :-2, 1:-1] + c[:, 1:-1, 2:] + c[:, 1:-1, :-2] - 4 * self.field
        rate = DIFFUSION / SPACING**2 * stencil - DECAY * self.field + self.production
        self.field = (self.field + DT * rate) / (1 + DT * self.loss)
