"""A run of tissue from its file: results, interruption, sweeps, PhysiCell's files in and out, refusals."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat
from typer.testing import CliRunner

from icans.cli.tissue import tissue as app
from icans.core.errors import ConfigError, ModelError, UnsafeInputError
from icans.study.merge import merge_parts
from icans.tissue.run.build import build
from icans.tissue.run.multicellds import export_multicellds
from icans.tissue.run.physicell import import_physicell
from icans.tissue.run.record import read_zarr
from icans.tissue.run.replicate import Task, run_replicate
from icans.tissue.run.spec import make_spec, read_spec

TEXT = """
[tissue]
name = "small"
hours = 1
every_h = 0.5
frames_h = 0.5
checkpoint_h = 0.5
seed = 7
replicates = 2

[domain]
shape = [10, 10]

[[substance]]
name = "IFN"
diffusion_um2_min = 1000
decay_per_min = 0.1

[[cell]]
name = "T"
behaviours = { "migration speed" = 5, "migration persistence time" = 10, "attack tumour" = 0.05, "kill rate" = 0.1, "cell detachment rate" = 0.02, "IFN export" = 1e-6 }
[[cell.place]]
count = 15
[[cell.place]]
count = 5
at_h = 0.5

[[cell]]
name = "tumour"
behaviours = { "cycle entry" = 0.002 }
[[cell.place]]
pattern = "disc"
radius_um = 60
count = 60

[[rule]]
cell = "T"
signal = "contact with tumour"
direction = "increases"
behaviour = "IFN export"
saturation = 1e-5
half_max = 0.5

[[sweep]]
path = "cell.T.attack tumour"
low = 0.001
high = 0.1
log = true
[[sweep]]
path = "rule.1.saturation"
low = 1e-6
high = 1e-5
"""  # noqa: E501


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tissue")
    (folder / "small.toml").write_text(TEXT)
    where = ["--executor", "serial", "--json", "-o", str(folder / "out")]
    told = CliRunner().invoke(app, ["run", str(folder / "small.toml"), *where])
    assert told.exit_code == 0, told.output
    answer = json.loads(told.stdout)
    assert answer["origin"] == "simulated: no measured data"
    assert answer["mended"][0]["overlapping"] > 0
    return folder


def test_results_hold_counts_cells_fields_and_pictures(run):
    out = run / "out"
    assert {p.name for p in out.iterdir()} == {
        "replicate-00000.zarr", "replicate-00001.zarr", "counts.csv", "final.csv", "spec.toml", "run.json",
        "counts.png", "scene-ifn.png", "animation.gif",
    }  # fmt: skip
    arrays, labels = read_zarr(out / "replicate-00000.zarr")
    assert labels["origin"] == "simulated: no measured data"
    assert arrays["fields"].shape == (3, 1, 10, 10)
    assert arrays["cells/x"].shape == (3, arrays["first"][-1])
    counts = pd.read_csv(out / "counts.csv")
    last = counts[(counts.time_h == 1) & (counts.replicate == 0)]
    assert last[last.kind == "T"].cells.sum() == 20
    assert arrays["counts"][-1].sum() == last.cells.sum() == arrays["first"][-1] - arrays["first"][-2]
    assert (out / "animation.gif").read_bytes()[:4] == b"GIF8"


def test_an_interrupted_run_ends_as_one_without_interruption(run, tmp_path, monkeypatch):
    spec = read_spec(run / "small.toml")
    task = Task(spec, run, 1, keep=tmp_path / "keep.npz")
    import icans.tissue.run.replicate as module

    kept = module._keep

    def and_stop(*args):
        kept(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_keep", and_stop)
    with pytest.raises(KeyboardInterrupt):
        run_replicate(task)
    monkeypatch.setattr(module, "_keep", kept)
    again, arrays = run_replicate(task).arrays, read_zarr(run / "out" / "replicate-00001.zarr")[0]
    assert not task.keep.exists()
    for name, values in arrays.items():
        assert np.array_equal(values, again[name]), name


def test_replicates_do_not_depend_on_their_batch_or_threads(run):
    spec = read_spec(run / "small.toml")
    alone = run_replicate(Task(spec, run, 1, threads=2)).arrays
    stored = read_zarr(run / "out" / "replicate-00001.zarr")[0]
    assert all(np.array_equal(alone[name], stored[name]) for name in stored)
    assert not np.array_equal(alone["fields"], read_zarr(run / "out" / "replicate-00000.zarr")[0]["fields"])


def test_what_we_export_is_what_its_own_labels_say(run, tmp_path):
    """A reader of the format made here from its XML and MATLAB files alone, without ours and without pcdl."""
    last = export_multicellds(run / "out" / "replicate-00000.zarr", tmp_path)[-1]
    arrays, labels = read_zarr(run / "out" / "replicate-00000.zarr")
    root = ElementTree.parse(last).getroot()
    data = root.find(".//simplified_data")
    cells = loadmat(tmp_path / data.findtext("filename"))["cells"]
    rows = {each.text: (int(each.get("index")), int(each.get("size"))) for each in data.iter("label")}
    assert sum(size for _, size in rows.values()) == len(cells)
    part = slice(arrays["first"][-2], arrays["first"][-1])
    at = rows["position"][0]
    assert np.allclose(cells[at : at + 3], arrays["cells/x"][:, part])
    kinds = {int(each.get("ID")): each.text for each in data.iter("type")}
    assert [kinds[int(k)] for k in cells[rows["cell_type"][0]]] == [
        labels["kinds"][k] for k in arrays["cells/kind"][part]
    ]
    assert np.array_equal(cells[rows["dead"][0]] > 0, arrays["cells/state"][part] > 0)
    domain = root.find(".//domain")
    field = loadmat(tmp_path / domain.findtext("data/filename"))["multiscale_microenvironment"]
    x, y = (np.array(domain.findtext(f"mesh/{axis}_coordinates").split(), float) for axis in "xy")
    column = {(round(a, 6), round(b, 6)): k for k, (a, b) in enumerate(field[:2].T)}
    names = [each.get("name") for each in domain.iter("variable")]
    for j, b in enumerate(y):
        for i, a in enumerate(x):
            level = field[4 + names.index("IFN"), column[round(a, 6), round(b, 6)]]
            assert level == pytest.approx(arrays["fields"][-1, 0, j, i])
    assert float(root.findtext(".//current_time")) == 60


def test_pcdl_reads_what_we_export(run, tmp_path):
    import pcdl

    files = export_multicellds(run / "out" / "replicate-00000.zarr", tmp_path)
    arrays, labels = read_zarr(run / "out" / "replicate-00000.zarr")
    step = pcdl.TimeStep(files[-1].name, str(tmp_path), settingxml=None, verbose=False)
    cells = step.get_cell_df()
    part = slice(arrays["first"][-2], arrays["first"][-1])
    kind = np.array(labels["kinds"])[arrays["cells/kind"][part]]
    mine = pd.DataFrame({"x": arrays["cells/x"][0, part], "kind": kind}, index=arrays["cells/identity"][part])
    assert (cells["cell_type"] == mine["kind"].sort_index()).all()
    assert np.allclose(cells["position_x"], mine["x"].sort_index())
    field = step.get_conc_df().pivot_table(index="voxel_j", columns="voxel_i", values="IFN").to_numpy()
    assert np.allclose(field, arrays["fields"][-1, 0])
    assert step.get_time() == 60


@pytest.fixture(scope="module")
def swept(run) -> pd.DataFrame:
    short = TEXT.replace("hours = 1", "hours = 0.6").replace("replicates = 2", "replicates = 1")
    (run / "short.toml").write_text(short + "[steps]\nmechanics_min = 0.3\n")
    where = ["--executor", "serial", "--json", "-o", str(run / "sweep")]
    told = CliRunner().invoke(app, ["sweep", str(run / "short.toml"), "--size", "3", *where])
    assert told.exit_code == 0, told.output
    return pd.DataFrame(json.loads(told.stdout)["effects"])


def test_a_sweep_finds_the_parameter_that_kills(run, swept):
    killed = swept[swept.outcome == "killed tumour"].set_index("parameter")
    assert killed.effect["cell.T.attack tumour"] > killed.effect["rule.1.saturation"]
    assert len(pd.read_csv(run / "sweep" / "points.csv")) == 9


def test_a_sweep_in_shards_is_the_sweep_to_the_byte(run, swept):
    call = ["sweep", str(run / "short.toml"), "--size", "3", "-o", str(run / "parted"), "--json"]
    for number in (2, 1):
        told = CliRunner().invoke(app, [*call, "--shard", f"{number}/2"])
        assert told.exit_code == 0, told.output
        assert json.loads(told.stdout)["items"] == (4, 5)[number - 1]
    assert json.loads(CliRunner().invoke(app, [*call, "--shard", "1/2"]).stdout)["fresh"] is False
    merge_parts(run / "parted.parts")
    for name in ("points.csv", "effects.csv"):
        assert (run / "parted" / name).read_bytes() == (run / "sweep" / name).read_bytes()
    other = CliRunner().invoke(app, [*call, "--method", "random", "--shard", "1/2"])
    assert other.exit_code != 0
    assert "spec.method" in other.stdout
    too_many = CliRunner().invoke(app, [*call, "--shard", "1/10"])
    assert "at most 9 shards" in too_many.stdout


def test_paths_that_lead_nowhere_are_told_before_anything_runs(run):
    text = TEXT.replace("cell.T.attack tumour", "cell.X.attack tumour").replace("rule.1.sat", "rule.9.sat")
    (run / "wrong.toml").write_text(text)
    told = CliRunner().invoke(app, ["sweep", str(run / "wrong.toml"), "--json"])
    assert told.exit_code == 2
    assert [p["value"] for p in json.loads(told.stdout)["problems"]] == ["cell.X.attack tumour", "rule.9.saturation"]


def raw() -> dict:
    import tomllib

    return tomllib.loads(TEXT)


def test_wrong_files_are_refused_with_every_problem():
    wrong = raw()
    wrong["tissue"]["hours"] = -1
    wrong["cell"][0]["colr"] = "red"
    wrong["substance"][0]["decay_per_min"] = -0.1
    with pytest.raises(ConfigError) as error:
        make_spec(wrong)
    assert {p.column for p in error.value.problems} == {"tissue.hours", "cell.1.colr", "substance.1.decay_per_min"}


def test_more_cells_than_memory_or_room_and_an_empty_domain_are_refused():
    spec = make_spec(raw())
    with pytest.raises(ModelError, match="memory_gb"):
        build(spec.model_copy(update={"tissue": spec.tissue.model_copy(update={"memory_gb": 1e-6})}))
    with pytest.raises(ModelError, match="capacity"):
        build(spec.model_copy(update={"tissue": spec.tissue.model_copy(update={"capacity": 10})}))
    with pytest.raises(ModelError, match="voxel"):
        build(spec.model_copy(update={"domain": spec.domain.model_copy(update={"shape": (0, 0)})}))


def test_cells_on_one_another_are_pushed_apart_and_told():
    given = raw()
    given["cell"][1]["place"] = [{"pattern": "points", "points_um": [[100.0, 100.0]] * 5}]
    scene = build(make_spec(given))
    told = next(m for m in scene.mended if m.place == "tumour")
    assert (told.overlapping, told.still_overlapping) == (5, 0)
    x = scene.tissue.cells["x"][:2, scene.tissue.of("tumour")].T
    apart = np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1))[np.triu_indices(5, 1)]
    assert apart.min() > 0.98 * scene.tissue.cells["radius"][0]


SETTINGS = """<PhysiCell_settings>
<domain><x_min>-100</x_min><x_max>100</x_max><y_min>-100</y_min><y_max>100</y_max><z_min>-10</z_min><z_max>10</z_max>
<dx>20</dx><use_2D>true</use_2D></domain>
<overall><max_time>120</max_time><dt_mechanics>0.1</dt_mechanics><dt_phenotype>6</dt_phenotype></overall>
<microenvironment_setup><variable name="oxygen"><physical_parameter_set>
<diffusion_coefficient>1000</diffusion_coefficient>
<decay_rate>0.1</decay_rate></physical_parameter_set><initial_condition>38</initial_condition>
<Dirichlet_boundary_condition enabled="True">38</Dirichlet_boundary_condition></variable></microenvironment_setup>
<cell_definitions><cell_definition name="cancer"><phenotype>
<cycle code="5"><phase_transition_rates><rate>0.0005</rate></phase_transition_rates></cycle>
<death><model name="apoptosis"><death_rate>1e-4</death_rate></model></death><volume><total>2000</total></volume>
<mechanics><cell_cell_adhesion_strength>0.7</cell_cell_adhesion_strength></mechanics>
<motility><speed>3</speed><migration_bias>0.4</migration_bias><options><enabled>true</enabled><chemotaxis>
<enabled>true</enabled><substrate>oxygen</substrate><direction>-1</direction></chemotaxis></options></motility>
<secretion><substrate name="oxygen"><uptake_rate>10</uptake_rate></substrate></secretion>
</phenotype></cell_definition></cell_definitions>
<initial_conditions><cell_positions enabled="true"><folder>config</folder><filename>cells.csv</filename>
</cell_positions>
</initial_conditions>
<cell_rules><rulesets><ruleset version="3.0" enabled="true"><folder>config</folder><filename>rules.csv</filename>
</ruleset></rulesets></cell_rules></PhysiCell_settings>"""


def test_a_physicell_configuration_becomes_a_run(tmp_path):
    config = tmp_path / "config"
    config.mkdir()
    (config / "settings.xml").write_text(SETTINGS)
    (config / "cells.csv").write_text("x,y,z,type\n-50,20,0,cancer\n90,-90,0,cancer\n")
    (config / "rules.csv").write_text(
        "cancer,oxygen,increases,cycle entry,0.003,21.5,4,0\ncancer,magic,increases,cycle entry,1,1,4,0\n"
    )
    found = import_physicell(config / "settings.xml", tmp_path / "run.toml")
    assert found.rules == 1
    assert any("magic" in note for note in found.notes)
    scene = build(read_spec(tmp_path / "run.toml"), tmp_path)
    t = scene.tissue
    value = {name: t.table.base[0, t.names.behaviours[name]] for name in t.names.behaviours}
    assert value["cycle entry"] == 0.0005
    assert value["oxygen uptake"] == 10
    assert value["chemotactic response to oxygen"] == -1
    assert value["migration speed"] == 3
    assert t.cells["x"][:2].T.tolist() == [[50.0, 120.0], [190.0, 10.0]]
    assert t.rules[0].half_max == 21.5
    assert t.field.of("oxygen").min() == 38
    scene.run(12.0)
    bomb = tmp_path / "bomb.xml"
    bomb.write_text('<!DOCTYPE x [<!ENTITY a "b">]><PhysiCell_settings/>')
    with pytest.raises(UnsafeInputError):
        import_physicell(bomb)


def test_a_piece_of_brain_runs_from_a_file(tmp_path):
    text = '[tissue]\nname = "b"\nhours = 0.5\n[brain]\nregion = "thalamus"\nchanged = { box_um = 200 }\n'
    (tmp_path / "b.toml").write_text(text)
    outcome = run_replicate(replace(Task(read_spec(tmp_path / "b.toml"), tmp_path), frames=False))
    assert outcome.arrays["counts"][-1].sum() > 30
