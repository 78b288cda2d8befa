"""MRI measurements against known truth.

    python benchmarks/mri.py [--part displacements] [--part lesions] [--spacing 2] [--real FOLDER]

Synthetic heads (the template's anatomy, noise, shading, blur): a rigid displacement to recover, lesions in named
regions, an empty head. With ``--real``, a folder that holds ``FLAIR.nii.gz`` of github.com/neurolabusc/py_synthsr
(Apache-2.0; one adult without visible lesions, health not stated) and images of
github.com/neurolabusc/niivue-images: what the threshold calls bright there, what it finds of lesions painted into it,
and what is refused as no brain. Writes
``benchmarks/results/mri.json`` and ``mri.md``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from icans.core.errors import DataError
from icans.signals.mri.atlas import atlas, template
from icans.signals.mri.examination import Examination, place
from icans.signals.mri.lesions import by_threshold
from icans.signals.mri.measure import measure
from icans.signals.mri.phantom import Spot, phantom
from icans.signals.mri.reading import read_volume
from icans.signals.mri.registration import align, displacement_mm, to_template
from icans.signals.mri.shading import evened
from icans.signals.mri.volume import Volume

RESULTS = Path(__file__).parent / "results"
REGIONS = {
    "thalamus": 2.0, "basal_ganglia": 3.0, "hippocampus": 1.5, "brainstem": 3.0, "cerebellum": 5.0,
    "external_capsule_insula": 2.0, "splenium": 2.0, "subcortical_white_matter": 5.0,
    "periventricular_white_matter": 3.0, "cortex": 2.0,
}  # fmt: skip
NO_BRAINS = ("chris_MRA", "CT_AVM", "CT_pitch", "Iguana", "spmMotor")


def transform(angles: tuple[float, ...], shift: tuple[float, ...], scale: float = 1.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = scale * Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def displacements() -> list[dict]:
    """The template at 1 mm with noise, moved rigidly: found by the affine and by the rigid registration."""
    average, mask = template(1)
    inside = np.argwhere(mask.data > 0.5)[::200] @ mask.affine[:3, :3].T + mask.affine[:3, 3]
    rng = np.random.default_rng(1)
    noisy = average.data + 0.03 * rng.standard_normal(average.data.shape).astype(np.float32)
    rows = []
    for angles, shift in (((6.0, -4.0, 8.0), (7.0, -11.0, 9.0)), ((-12.0, 10.0, -5.0), (-15.0, 20.0, -10.0))):
        true = transform(angles, shift)
        back = np.linalg.inv(true)
        moved = Volume(noisy, back @ average.affine, "moved template")
        points = inside @ back[:3, :3].T + back[:3, 3]
        for name, run in (("affine to the template", lambda v: to_template(v)), ("rigid", lambda v: align(v, average))):
            wall, cpu = time.perf_counter(), time.process_time()
            found = run(moved)
            mean, greatest = displacement_mm(found.matrix, true, points)
            rows.append({"registration": name, "degrees": angles, "mm": shift, "mean_error_mm": mean,
                         "greatest_error_mm": greatest, "cpu_s": time.process_time() - cpu,
                         "wall_s": time.perf_counter() - wall})  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def lesions(spacing: float) -> tuple[list[dict], dict]:
    """Lesions in ten regions of two heads, and an empty head."""
    rows = []
    truths = [
        transform((5.0, -4.0, 6.0), (4.0, -7.0, 6.0), 1.05),
        transform((-6.0, 3.0, -4.0), (-5.0, 6.0, -8.0), 0.98),
    ]
    for head, true in enumerate(truths):
        sides = ("left", "right") if head == 0 else ("right", "left")
        spots = tuple(Spot(name, ml, sides[k % 2]) for k, (name, ml) in enumerate(REGIONS.items()))
        made = phantom(spots, spacing=spacing, to_mni=true, seed=head + 1)
        cpu = time.process_time()
        measured = measure(Examination(t1=made.t1, flair=made.flair, one_space=True), seed=1)
        table = measured.result.table.set_index("region")
        given = Examination(
            t1=made.t1, flair=made.flair, lesions=made.flair.with_data(made.truth), one_space=True,
            to_mni=measured.placement.registration.matrix,
        )  # fmt: skip
        borders = measure(given, seed=1).result.table.set_index("region")["flair_ml"]
        assert measured.lesions is not None
        mask = measured.lesions.mask
        overlap = 2.0 * float((mask & made.truth).sum()) / float(mask.sum() + made.truth.sum())
        for name in [*REGIONS, "brain"]:
            truth = float(made.truth.sum()) * made.t1.voxel_ml if name == "brain" else made.by_region_ml[name]
            row = table.loc[name]
            rows.append({"head": head + 1, "region": name, "truth_ml": truth, "found_ml": float(row["flair_ml"]),
                         "low_ml": float(row["flair_ml_low"]), "high_ml": float(row["flair_ml_high"]),
                         "error": float(row["flair_ml"]) / truth - 1.0,
                         "borders_error": float(borders[name]) / truth - 1.0, "overlap": overlap})  # fmt: skip
            print(rows[-1], flush=True)
        print("cpu s", time.process_time() - cpu, flush=True)
    empty = phantom((), spacing=spacing, to_mni=truths[0], seed=9)
    table = measure(Examination(t1=empty.t1, flair=empty.flair, one_space=True)).result.table.set_index("region")
    nothing = {"found_ml": float(table.loc["brain", "flair_ml"]), "high_ml": float(table.loc["brain", "flair_ml_high"])}
    print("empty", nothing, flush=True)
    return rows, nothing


def real(folder: Path) -> dict:
    """One public FLAIR: bright tissue as it is, and lesions painted into it; what is refused."""
    from scipy.ndimage import gaussian_filter

    placed = place(Examination(flair=read_volume(folder / "FLAIR.nii.gz"))).images["flair"]
    even = evened(placed.image, placed.found.brain)
    plain = {cut: float(m.sum()) * even.voxel_ml for cut, m in by_threshold(even, placed.found).sweep.items()}
    painted = []
    for where, mni in (("white matter", (-26, -20, 28)), ("thalamus", (-12, -18, 8))):
        at = np.linalg.inv(placed.to_mni @ even.affine) @ np.array([*mni, 1.0])
        i, j, k = np.ogrid[tuple(slice(0, n) for n in even.data.shape)]
        far = (i - at[0]) ** 2 + (j - at[1]) ** 2 + (k - at[2]) ** 2
        for contrast in (1.3, 1.5, 1.8):
            for radius in (3, 6):
                ball = far <= radius**2
                bright = even.with_data(
                    even.data * (1 + (contrast - 1) * gaussian_filter(ball.astype(np.float32), 0.6))
                )
                found = by_threshold(bright, placed.found).mask
                painted.append({"where": where, "contrast": contrast, "radius_mm": radius,
                                "truth_ml": float(ball.sum()) * even.voxel_ml,
                                "found_ml": float(found.sum()) * even.voxel_ml,
                                "inside_ml": float((found & ball).sum()) * even.voxel_ml})  # fmt: skip
                print(painted[-1], flush=True)
    refused = {}
    for name in NO_BRAINS:
        try:
            image = read_volume(folder / f"{name}.nii.gz")
            place(Examination(t1=image))
            refused[name] = "not refused"
        except DataError as error:
            refused[name] = ", ".join(str(p.column) for p in error.problems)
        except FileNotFoundError:
            refused[name] = "absent"
        print(name, refused[name], flush=True)
    return {"bright_ml_by_threshold": plain, "painted": painted, "refused": refused}


def text(found: dict) -> str:
    """The results for people."""
    lines = ["# MRI measurements against known truth", "",
             "Synthetic heads with the template's anatomy; they check arithmetic, geometry and pipeline, not how "
             "patients differ. `python benchmarks/mri.py` writes this page.", "",
             "## Rigid displacement recovered (1 mm, noise 3 %)", "",
             "| registration | turned, degrees | moved, mm | mean error, mm | greatest, mm | CPU s | wall s |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for r in found["displacements"]:
        lines.append(f"| {r['registration']} | {r['degrees']} | {r['mm']} | {r['mean_error_mm']:.2f} | "
                     f"{r['greatest_error_mm']:.2f} | {r['cpu_s']:.0f} | {r['wall_s']:.0f} |")  # fmt: skip
    lines += ["", "Wall time on a shared machine; one thread is used.", "",
              f"## Lesions in named regions ({found['lesions']['spacing_mm']:g} mm voxels)", "",
              "Noise 3 %, shading 20 %, blur 1 mm; lesions 1.9 times the tissue's signal. Last column: what the true "
              "lesions would give with the borders of the regions as registration placed them: what is left of the "
              "error is the lesion's own border.", "",
              "| head | region | truth, mL | found, mL | range | error | error of the regions' borders alone |",
              "|---|---|---|---|---|---|---|"]  # fmt: skip
    for r in found["lesions"]["rows"]:
        lines.append(f"| {r['head']} | {r['region']} | {r['truth_ml']:.2f} | {r['found_ml']:.2f} | "
                     f"{r['low_ml']:.2f} to {r['high_ml']:.2f} | {r['error']:+.1%} | "
                     f"{r['borders_error']:+.1%} |")  # fmt: skip
    for head in (1, 2):
        same = {r["overlap"] for r in found["lesions"]["rows"] if r["head"] == head}
        lines += ["", f"Head {head}: Dice overlap of all lesions found with the true ones {same.pop():.3f}."]
    empty = found["lesions"]["empty"]
    lines += ["", f"A head without lesions: {empty['found_ml']:.2f} mL (at most {empty['high_ml']:.2f} mL over the "
              "thresholds tried)."]  # fmt: skip
    if "real" in found:
        lines += ["", "## One public FLAIR (adult, no visible lesion, health not stated)", ""]
        bright = ", ".join(f"{cut}: {ml:.2f} mL" for cut, ml in found["real"]["bright_ml_by_threshold"].items())
        if "note" in found["real"]:
            lines += [found["real"]["note"], ""]
        lines += [f"Bright tissue by threshold (standard deviations): {bright}.", "",
                  "Balls painted into it (signal times the contrast). One head and ideal lesions: it shows where "
                  "the threshold fails, not an accuracy.", "",
                  "| where | contrast | radius, mm | truth, mL | found, mL | of it inside |",
                  "|---|---|---|---|---|---|"]  # fmt: skip
        for r in found["real"]["painted"]:
            lines.append(f"| {r['where']} | {r['contrast']} | {r['radius_mm']} | {r['truth_ml']:.2f} | "
                         f"{r['found_ml']:.2f} | {r['inside_ml']:.2f} |")  # fmt: skip
        lines += ["", "Refused as no brain, with the check that refused: "
                  + "; ".join(f"{name}: {why}" for name, why in found["real"]["refused"].items()) + "."]  # fmt: skip
    return "\n".join(lines) + "\n"


def merge(name: str, value: object) -> None:
    """Put one part into the stored results and write the page again once every needed part is there."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "mri.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    found[name] = value
    path.write_text(json.dumps(found, indent=1) + "\n")
    if {"displacements", "lesions"} <= set(found):
        (RESULTS / "mri.md").write_text(text(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spacing", type=float, default=2.0)
    parser.add_argument("--part", action="append", choices=["displacements", "lesions", "real"])
    parser.add_argument("--real", type=Path)
    options = parser.parse_args()
    parts = options.part or ["displacements", "lesions", *(["real"] if options.real else [])]
    atlas()
    if "displacements" in parts:
        merge("displacements", displacements())
    if "lesions" in parts:
        rows, empty = lesions(options.spacing)
        merge("lesions", {"spacing_mm": options.spacing, "rows": rows, "empty": empty})
    if "real" in parts:
        merge("real", real(options.real))


if __name__ == "__main__":
    main()
