"""`mcm generate` from the words on the command line to the files."""

import errno
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.backbones.tiny import PROMPTS, make_tiny_animatediff
from tests.sampling.fake import make_model

from mcm.cli import main
from mcm.errors import IncompleteError, UserError
from mcm.media import read_metadata, save
from mcm.safety import guard
from mcm.safety.guard import Refused
from mcm.sampling import loading
from mcm.sampling.generate import generate_files
from mcm.sampling.pipeline import VideoModel
from mcm.sampling.requests import GenerateRequest

FOX = PROMPTS[0]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_animatediff(tmp_path_factory.mktemp("teacher"))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> VideoModel:
    """A fake student in the place of every model."""
    fake = make_model("student")
    monkeypatch.setattr(loading, "load", lambda *_: fake)
    return fake


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    captured = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, captured.out, captured.err


def test_command_line_to_mp4_and_back(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "clips" / "fox.mp4"
    words = ["--model", teacher, "--steps", 2, "--seed", 7, "-o", output, "--device", "cpu"]
    code, out, err = call(capsys, "generate", FOX, *words)
    assert (code, out) == (0, f"{output}\n")
    assert "fox.mp4: 4 frames 32x32, 2 steps, seed 7" in err
    assert all(name in err for name in ("loaded in", "text", "network", "decode", "write"))
    metadata = read_metadata(output)
    assert (metadata["prompt"], metadata["seed"], metadata["steps"]) == (FOX, 7, 2)
    assert metadata["model"] == str(teacher)
    code, out, err = call(capsys, "generate", FOX, *words)
    assert (code, out) == (2, "")
    assert "exists already" in err
    assert call(capsys, "generate", FOX, *words, "--overwrite")[0] == 0


def test_a_cut_prompt_is_told_on_the_command_line(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = f"{FOX} and a star going up"
    words = ["--model", teacher, "--steps", 1, "-o", tmp_path / "fox.gif", "--device", "cpu"]
    code, _, err = call(capsys, "generate", prompt, *words)
    assert code == 0
    assert "mcm: warning: prompt: over the limit of 12 tokens" in err
    assert "star going up" in err
    assert "UserWarning" not in err


def test_prompts_files_run_in_batches_of_equal_steps(model: VideoModel, tmp_path: Path) -> None:
    rows = [
        "prompt,steps,output",
        "a fox,2,a.gif",
        "a star,2,b.gif",
        "a cat,2,c.gif",
        "a dog,,d.gif",
    ]
    (tmp_path / "p.csv").write_text("\n".join(rows))
    request = GenerateRequest(
        prompts_file=tmp_path / "p.csv", output=tmp_path, batch_size=2, seed=4
    )
    paths = generate_files(request, io.StringIO())
    assert paths == [tmp_path / f"{name}.gif" for name in "abcd"]
    backbone: Any = model.backbone
    assert backbone.batches == [2, 2, 1, 1, 1, 1, 1, 1]
    assert [read_metadata(path)["seed"] for path in paths] == [4, 5, 6, 7]
    alone = model.generate("a star", steps=2, seed=5)
    again = alone.save(tmp_path / "again.gif")
    with Image.open(again) as one, Image.open(paths[1]) as other:
        assert one.tobytes() == other.tobytes()


def test_clips_made_before_a_full_disk_stay(
    model: VideoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p.txt").write_text("a fox\na star\n")
    write = save._WRITERS["mp4"]
    calls: list[Path] = []

    def full_at_second(partial: Path, *rest: Any) -> None:
        calls.append(partial)
        if len(calls) == 2:
            partial.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(partial))
        write(partial, *rest)

    monkeypatch.setitem(save._WRITERS, "mp4", full_at_second)
    output = tmp_path / "out"
    with pytest.raises(OSError, match="No space left"):
        generate_files(GenerateRequest(prompts_file=tmp_path / "p.txt", output=output))
    assert [path.name for path in output.iterdir()] == ["a-fox-0.mp4"]
    assert read_metadata(output / "a-fox-0.mp4")["prompt"] == "a fox"


def refuse_the_cat(monkeypatch: pytest.MonkeyPatch) -> None:
    def check_clip(_: object, prompt: str) -> None:
        if prompt == "a cat":
            raise Refused("clip: refused", ["frames"])

    monkeypatch.setattr(guard, "check_clip", check_clip)


def test_a_refused_clip_keeps_no_other_from_being_made(
    model: VideoModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    refuse_the_cat(monkeypatch)
    (tmp_path / "p.txt").write_text("a fox\na cat\na star\na dog\n")
    words = ["--prompts-file", tmp_path / "p.txt", "-o", tmp_path / "out", "--steps", 1]
    code, out, err = call(capsys, "generate", *words, "--batch-size", 3)
    names = ["a-fox-0.mp4", "a-star-2.mp4", "a-dog-3.mp4"]
    assert code == 1
    assert out == "".join(f"{tmp_path / 'out' / name}\n" for name in names)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    assert "mcm: 1 of 4 clips could not be made:" in err
    assert "a-cat-1.mp4 ('a cat', seed 1): clip: refused" in err.splitlines()[-1]
    before = (tmp_path / "out" / names[0]).read_bytes()
    monkeypatch.undo()
    monkeypatch.setattr(loading, "load", lambda *_: model)
    code, out, err = call(capsys, "generate", *words, "--skip-existing")
    assert (code, out) == (0, f"{tmp_path / 'out' / 'a-cat-1.mp4'}\n")
    assert "3 of 4 clips exist already and stay as they are" in err
    assert (tmp_path / "out" / names[0]).read_bytes() == before
    code, out, err = call(capsys, "generate", *words, "--skip-existing")
    assert (code, out) == (0, "")
    assert "loaded" not in err


def test_a_background_that_is_not_plain_costs_its_own_clip_only(
    model: VideoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_out(frames: Any) -> Any:
        if not frames.any():
            raise UserError("alpha: the background of frame 0 is not plain")
        return np.concatenate([frames, frames[..., :1]], axis=-1)

    monkeypatch.setattr(save, "_cut_out", cut_out)
    decode, made = VideoModel.decode, iter([1, 0, 1])
    monkeypatch.setattr(VideoModel, "decode", lambda *given: decode(*given) * 0 + next(made))
    (tmp_path / "p.txt").write_text("a fox\na cat\na star\n")
    request = GenerateRequest(
        prompts_file=tmp_path / "p.txt",
        output=tmp_path / "out",
        format="webp",
        alpha=True,
        batch_size=3,
    )
    with pytest.raises(IncompleteError, match=r"1 of 3 clips .*\n.*a-cat-1\.webp .* plain"):
        generate_files(request, io.StringIO())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a-fox-0.webp",
        "a-star-2.webp",
    ]


def test_the_only_clip_is_refused_with_its_own_reason(
    model: VideoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_the_cat(monkeypatch)
    with pytest.raises(Refused, match="clip: refused"):
        generate_files(GenerateRequest(prompt="a cat", output=tmp_path / "c.mp4"), io.StringIO())


def test_a_file_in_a_folders_place_is_told_before_the_model_is_loaded(
    model: VideoModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    code, out, err = call(capsys, "generate", FOX, "-o", tmp_path / "file" / "fox.mp4")
    assert (code, out) == (2, "")
    assert f"{tmp_path / 'file'} is a file, not a folder" in err
    assert "loaded" not in err


def test_bad_values_need_no_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(*_: Any) -> VideoModel:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(loading, "load", load)
    for words in (["--steps", "0"], ["--size", "12"], ["--format", "avi"], ["-o", "fox.avi"]):
        assert call(capsys, "generate", FOX, *words)[0] == 2
    assert call(capsys, "generate", " ")[0] == 2


def test_progress_is_drawn_on_terminals_only(model: VideoModel, tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, count in ((Terminal(), 4), (io.StringIO(), 0)):
        generate_files(
            GenerateRequest(prompt="a fox", output=tmp_path / "a.gif", overwrite=True), stream
        )
        assert stream.getvalue().count("clip 1/1, step") == count


def test_python_and_command_line_give_the_same_clip(
    model: VideoModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(capsys, "generate", "a fox", "--seed", 3, "-o", tmp_path / "f.png")[0] == 0
    path = model.generate("a fox", seed=3).save(tmp_path / "g.png")
    assert np.array_equal(Image.open(tmp_path / "f.png"), Image.open(path))


def test_generation_imports_no_more_than_it_needs() -> None:
    code = "import sys, mcm.sampling.generate, mcm.sampling.loading, mcm.media; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    heavy = {"scipy", "matplotlib", "diffusers", "transformers", "accelerate", "peft", "webdataset"}
    assert loaded & heavy == set()


def test_a_process_of_its_own_generates_without_optional_packages(
    teacher: Path, tmp_path: Path
) -> None:
    output = tmp_path / "fox.mp4"
    code = (
        "import sys\nfrom mcm.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert end.code == 0\n"
        "print(*sys.modules)"
    )
    words = ["generate", FOX, "--model", teacher, "--steps", 1, "-o", output, "--device", "cpu"]
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=True
    )
    assert read_metadata(output)["prompt"] == FOX
    assert {"peft", "scipy"} & set(result.stdout.split()) == set()


def test_mistakes_need_no_torch() -> None:
    code = (
        "import sys\nfrom mcm.sampling.generate import generate_files\n"
        "from mcm.sampling.requests import GenerateRequest\n"
        "try: generate_files(GenerateRequest(prompt='a fox', steps=99))\n"
        "except ValueError: print(*sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "mcm.sampling.options" in result.stdout
    assert "torch" not in result.stdout.split()


def test_unknown_models_are_refused() -> None:
    with pytest.raises(UserError, match="model: no embedded model"):
        generate_files(GenerateRequest(prompt="a fox", model="nonsense-model"), io.StringIO())
