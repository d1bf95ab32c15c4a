"""Served models: what they are called, and that their folders are known again."""

from pathlib import Path

import pytest
from tests.serving.live import fake_models, tiny_student

from mcm.errors import UserError
from mcm.sampling.catalog import find_model
from mcm.serving import page_html
from mcm.serving.config import ServeConfig
from mcm.serving.models import load_models, name_and_source
from mcm.serving.order import Order
from mcm.serving.store import JobStore


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fluent-mcm", ("fluent-mcm", "fluent-mcm")),
        ("models/reaction", ("reaction", "models/reaction")),
        ("outputs/a/student", ("a", "outputs/a/student")),
        ("outputs/a/student/", ("a", "outputs/a/student/")),
        ("someone/fluent-hq@v1.0", ("fluent-hq", "someone/fluent-hq@v1.0")),
        ("sharp=outputs/a/student", ("sharp", "outputs/a/student")),
        ("runs/lr=1e-5/student", ("lr=1e-5", "runs/lr=1e-5/student")),
    ],
)
def test_names_come_from_folders_or_from_the_user(text: str, expected: tuple[str, str]) -> None:
    assert name_and_source(text) == expected


def test_a_folder_with_an_equals_sign_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lr=1e-5").mkdir()
    monkeypatch.chdir(tmp_path)
    assert name_and_source("lr=1e-5") == ("lr=1e-5", "lr=1e-5")


def test_two_students_of_two_distillations_are_served_together(tmp_path: Path) -> None:
    folders = [tmp_path / run / "student" for run in "ab"]
    for folder in folders:
        folder.parent.mkdir()
        folder.symlink_to(tiny_student())
    named = ServeConfig(models=tuple(map(str, folders)), device="cpu")
    models = list(load_models(named))
    assert [one.name for one in models] == ["a", "b"]
    assert all(find_model(one.source).student for one in models)


def test_two_of_one_name_are_told_how_to_part_them() -> None:
    student = str(tiny_student())
    with pytest.raises(UserError, match=f"both called tiny-mcm; name one of them: NAME={student}"):
        load_models(ServeConfig(models=(student, student), device="cpu"))


def test_make_it_again_names_the_folder(tmp_path: Path) -> None:
    order = Order("student", "a fox", 7, 4, 1.0, 3, 8.0, 32, 32)
    store = JobStore(tmp_path / "jobs.sqlite")
    job = store.accept(order, "me", None, 1)
    store.close()
    command = page_html.command(job, fake_models()["student"].source)
    assert "--model 'runs/a b/student' --steps 4 --seed 7" in command
