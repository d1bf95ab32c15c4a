from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from mcm.errors import UserError
from mcm.evaluation import evaluate
from mcm.evaluation.evaluate import evaluate_models
from mcm.evaluation.suite import Suite
from mcm.sampling.options import ModelWarning


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m").mkdir()
    Path("m/model_index.json").write_text("{}")


@pytest.mark.parametrize(
    ("models", "part", "message"),
    [
        (["nothing"], (0, 1), "no embedded model"),
        (["./m@4", "./m@8"], (0, 1), "two are called 'm'"),
        (["./m:label=a b", "./m:label=a-b"], (0, 1), "two are called 'a-b' and 'a b'"),
        (["./m"], (2, 2), "expected 0 to 1"),
        (["./m:label=real-poor"], (0, 1), "called 'real-poor' as real material is"),
        (["./m:sampler=unipcc"], (0, 1), "Did you mean 'unipc'"),
    ],
)
def test_mistakes_are_named(models: list[str], part: tuple[int, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate_models(models, Path("out"), teacher=None, count=2, part=part)
    assert not Path("out").exists()


@pytest.mark.parametrize("option", [{"dtype": "float8"}, {"device": "gpu"}])
def test_an_unknown_format_or_device_is_told_first(option: dict[str, str]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(option))}: got"):
        evaluate_models(["./m"], Path("out"), teacher=None, count=2, **option)  # type: ignore[arg-type]


def test_a_refused_prompt_stops_a_list_before_anything_is_made() -> None:
    Path("prompts.txt").write_text("a fox\nporn\na star\n")
    Path("list.yaml").write_text("{name: x, prompts: prompts.txt}\n")
    with pytest.raises(UserError, match="1 of 3 are refused: 'porn'"):
        evaluate_models(["./m"], Path("out"), teacher=None, protocol=Path("list.yaml"))
    assert not Path("out").exists()


def test_the_row_of_a_model_has_a_command_and_a_missing_judge_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suites: list[Suite] = []
    monkeypatch.setattr(Suite, "run", lambda self, *_: suites.append(self))
    monkeypatch.setattr(Suite, "complete", lambda self: False)
    monkeypatch.setattr("mcm.evaluation.networks.PACKAGE", Path("no-judges"))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        evaluate_models(["./m:guidance=5@4,8"], Path("out"), teacher=None, count=2, real=9)
    (warning,) = told
    assert warning.category is ModelWarning
    assert "FVD" in str(warning.message) and "mcm judges clips" in str(warning.message)
    options = "--output out --teacher '' --count 2 --real 9"
    (suite,) = suites
    assert str(suite.command) == f"mcm evaluate ./m:guidance=5@4,8 {options}"
    contender = suite.contenders[0]
    assert suite.command.of(contender.text, 8) == f"mcm evaluate ./m:guidance=5@8 {options}"


def test_a_folder_without_networks_is_refused() -> None:
    with pytest.raises(UserError, match=r"judges: none: no network there"):
        evaluate_models(["./m"], Path("out"), teacher=None, judges=Path("none"))


@pytest.mark.parametrize(
    ("models", "teacher", "message"),
    [
        (["./m:guidance=2,label=m@8"], "./m", "is called 'm' as the teacher ./m is"),
        (["./m@8"], "./m@4", "expected a model without steps"),
    ],
)
def test_a_teacher_keeps_its_name_and_its_steps(
    models: list[str], teacher: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        evaluate_models(models, Path("out"), teacher=teacher, count=2)


def test_the_teacher_may_take_part_at_fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Suite, "run", lambda self, *_: None)
    monkeypatch.setattr(Suite, "complete", lambda self: False)
    assert not evaluate_models(["./m@8"], Path("out"), teacher="./m", count=2).files


def test_fewer_real_clips_than_clips_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Suite, "run", lambda self, *_: None)
    monkeypatch.setattr(Suite, "complete", lambda self: False)
    with pytest.warns(ModelWarning, match="fewer real clips or stills .*real-poor 2"):
        evaluate_models(["./m@8"], Path("out"), teacher=None, count=4, real=2)


def test_a_protocol_of_ones_own_says_how_much_real_material() -> None:
    with pytest.raises(UserError, match=r"real: 100: .* `real: 100`"):
        evaluate_models(["./m"], Path("out"), protocol=Path("x.yaml"), teacher="./m", real=100)


def test_a_protocol_of_ones_own_has_no_embedded_teacher_unasked() -> None:
    with pytest.raises(UserError, match=r"teacher: got fluent, .*; name theirs, or give --teacher"):
        evaluate_models(["./m"], Path("out"), protocol=Path("x.yaml"))


def test_too_few_clips_are_refused() -> None:
    for option in ({"count": 1}, {"real": 0}, {"part": (-1, 2)}):
        with pytest.raises(UserError, match=f"{next(iter(option))}: got"):
            evaluate_models(["./m"], Path("out"), **option)


def test_judges_do_not_go_with_a_protocol_of_ones_own() -> None:
    with pytest.raises(UserError, match="leave out one of judges and protocol"):
        evaluate_models(
            ["./m"], Path("out"), protocol=Path("x.yaml"), judges=Path("j"), teacher="./m"
        )


def test_the_command_line_has_the_same_defaults() -> None:
    from inspect import signature

    from mcm.cli.evaluate import evaluate as command

    ours, theirs = signature(evaluate.evaluate_models), signature(command)
    for name, parameter in ours.parameters.items():
        if name not in ("models", "output", "part"):
            assert theirs.parameters[name].default == parameter.default, name
