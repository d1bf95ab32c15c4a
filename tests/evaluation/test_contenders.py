from __future__ import annotations

import gc
import shutil
import weakref
from pathlib import Path

import pytest
from tests.backbones.tiny import make_tiny_animatediff

from mcm.backbones.lora_files import LORA_FILE
from mcm.errors import UserError
from mcm.evaluation.contenders import parse_contender, parse_steps, weights_digest
from mcm.evaluation.protocol import FluentProtocol
from mcm.sampling.catalog import find_model


@pytest.fixture(autouse=True)
def _models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `fluent` be a folder in the working one."""
    monkeypatch.chdir(tmp_path)
    Path("fluent").mkdir()
    Path("fluent/model_index.json").write_text("{}")
    Path("fluent/unet.safetensors").write_bytes(b"a")


def test_a_name_alone_takes_the_default_steps() -> None:
    contender = parse_contender("./fluent", (1, 2))
    assert (contender.model, contender.label, contender.steps) == ("./fluent", "fluent", (1, 2))
    assert contender.guidance is None


def test_a_broken_student_is_told_at_once() -> None:
    shutil.copytree(find_model("fluent-mcm").student.folder, "broken")
    file = Path("broken") / LORA_FILE
    file.write_bytes(file.read_bytes()[:999])
    with pytest.raises(UserError, match=rf"broken.{LORA_FILE}: "):
        parse_contender("./broken", (1,))
    file.unlink()
    with pytest.raises(UserError, match=rf"broken.{LORA_FILE}"):
        parse_contender("./broken", (1,))


def test_options_and_steps() -> None:
    contender = parse_contender("./fluent:sampler=unipc,guidance=5@4,8", (1,))
    assert contender.label == "fluent sampler=unipc guidance=5"
    assert (contender.sampler, contender.guidance, contender.steps) == ("unipc", 5.0, (4, 8))
    assert parse_contender("./fluent:label=UniPC,sampler=unipc", (1,)).label == "UniPC"


def test_a_revision_of_a_hub_is_no_number_of_steps() -> None:
    Path("owner").mkdir()
    for name in ("owner/fluent@v1.0", "owner/fluent"):
        Path(name).symlink_to(Path("fluent").resolve())
    for text, expected in (
        ("owner/fluent@v1.0", ("owner/fluent@v1.0", None, (1,))),
        ("owner/fluent@v1.0:sampler=ddim@4,8", ("owner/fluent@v1.0", "ddim", (4, 8))),
        ("owner/fluent@v1.0:sampler=ddim", ("owner/fluent@v1.0", "ddim", (1,))),
        ("owner/fluent@4", ("owner/fluent", None, (4,))),
    ):
        found = parse_contender(text, (1,))
        assert (found.model, found.sampler, found.steps) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("./fluent:samplr=ddim", "did you mean sampler"),
        ("./fluent:guidance=much", "expected a number"),
        ("./fluent@4,five", "'five'"),
        ("./fluent@0", "expected 1 to 50"),
        ("./fluent@²", "'²'"),
        ("./fluent:guidance=2,guidance=5", "guidance is given twice"),
        ("./fluent:sampler=unipcc", "./fluent:sampler=unipcc: sampler: 'unipcc' is unknown"),
        ("./fluent:guidance=0.5", "guidance: got 0.5, expected 1"),
        ("./fluent:stochasticity=1.2", "stochasticity: got 1.2, expected 0"),
        ("nothing", "no embedded model or folder"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_contender(text, (1,))


def test_steps_are_kept_once() -> None:
    assert parse_steps("4, 8,4") == (4, 8)


def test_a_digest_changes_with_the_weights() -> None:
    before = weights_digest("./fluent")
    assert weights_digest("./fluent") == before
    Path("fluent/unet.safetensors").write_bytes(b"b")
    assert weights_digest("./fluent") != before


def test_a_text_without_steps_is_kept_for_commands() -> None:
    contender = parse_contender("./fluent:guidance=5@4,8", (1,))
    assert (contender.text, contender.with_steps) == (
        "./fluent:guidance=5",
        "./fluent:guidance=5@4,8",
    )


def test_a_run_says_what_its_model_resolved_to(tmp_path: Path) -> None:
    folder = make_tiny_animatediff(tmp_path / "teacher")
    contender = parse_contender(f"{folder}:guidance=3", (4,), "cpu", "float32")
    protocol = FluentProtocol(frames=4, size=(32, 32))
    facts = contender.resolved(4, protocol)
    assert (facts["sampler"], facts["steps"], facts["guidance"]) == ("ddim", 4, 3.0)
    assert (facts["frames"], facts["height"], facts["width"]) == (4, 32, 32)
    assert (facts["dtype"], facts["device"]) == ("float32", "cpu")


def test_a_model_that_is_let_go_is_loaded_again_when_used(tmp_path: Path) -> None:
    folder = make_tiny_animatediff(tmp_path / "teacher")
    contender = parse_contender(str(folder), (4,), "cpu", "float32")
    contender.release()
    first = weakref.ref(contender.video_model)
    contender.release()
    gc.collect()
    assert first() is None
    assert contender.video_model is contender.video_model
