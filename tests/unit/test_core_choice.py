"""The text that names an executor, and errors that cross between processes."""

from __future__ import annotations

import pickle

import pytest

from icans.core import progress
from icans.core.errors import ConfigError, DataError, ModelError, Problem
from icans.core.execute import Choice, Processes, Serial, opened, read_choice


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("serial", Choice("serial")),
        (" processes", Choice("processes")),
        ("processes:3", Choice("processes", workers=3)),
        ("dask", Choice("dask")),
        ("dask:4", Choice("dask", workers=4)),
        ("dask:tcp://node7:8786", Choice("dask", address="tcp://node7:8786")),
        ("dask:node7:8786", Choice("dask", address="node7:8786")),
        ("dask:/scratch/run/scheduler.json", Choice("dask", scheduler_file="/scratch/run/scheduler.json")),
    ],
)
def test_every_form(text, choice):
    assert read_choice(text) == choice


@pytest.mark.parametrize(
    "text", ["", "threads", "serial:1", "processes:", "processes:0", "processes:-1", "dask:", "dask:x"]
)
def test_other_texts_are_refused_with_the_forms(text):
    with pytest.raises(ConfigError) as told:
        read_choice(text, file="study.toml", name="execute.executor")
    (problem,) = told.value.problems
    assert (problem.file, problem.column, problem.value) == ("study.toml", "execute.executor", text)
    assert "dask:ADDRESS" in problem.expected


def test_what_needs_no_cluster_is_opened_as_it_is():
    with opened("serial") as one, opened("processes:2") as two, opened(None) as every:
        assert (one, two, every) == (Serial(), Processes(2), Processes(None))


@pytest.mark.parametrize("sort", [DataError, ConfigError, ModelError])
def test_an_error_comes_back_whole_from_another_process(sort):
    error = sort(
        [Problem("a.csv", 2, "il6", "x", "a number", "Correct it."), Problem("b.csv", None, None, None, "y", "z")]
    )
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), back.problems, str(back)) == (sort, error.problems, str(error))


def test_every_executor_says_which_item_failed_and_it_is_the_first():
    for executor in (Serial(), Processes(2)):
        for _ in range(3):
            with pytest.raises(ZeroDivisionError) as told:
                executor.map(_inverse, [1, 2, 0, 4, 0.0], "inverses")
            assert told.value.__notes__ == ["item 3 of 5 of 'inverses': 0"]
    with pytest.raises(RuntimeError, match="UntravelledError: it stays"):
        Processes(2).map(_stays, [1, 2])


class UntravelledError(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)


def _stays(x: int) -> None:
    raise UntravelledError("it stays", "where it was")


def _inverse(x: int) -> float:
    return 1 / x


def test_a_log_gets_a_line_now_and_then_and_a_quiet_run_none(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_S", 0.0)
    monkeypatch.setattr(progress, "_quiet", False)
    assert list(progress.track(range(3), "walks", total=3)) == [0, 1, 2]
    assert "walks: 2 of 3 after 0 min" in capsys.readouterr().err
    progress.set_quiet(True)
    assert list(progress.track(range(3), "walks", total=3)) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "LINE_S", 60.0)
    progress.set_quiet(False)
    assert list(progress.track(range(3), "walks", total=3)) == [0, 1, 2]
    assert capsys.readouterr().err == ""
