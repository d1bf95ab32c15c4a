"""What stands where a clip is to go: nothing foreign is lost, and bad places are named early."""

from pathlib import Path

import numpy as np
import pytest

from mcm.errors import UserError
from mcm.media import save_video
from mcm.media.places import check_free, is_whole, replacing

FRAMES = np.zeros((2, 16, 16, 3), np.uint8)


def save_frames(folder: Path, overwrite: bool = False) -> None:
    save_video(FRAMES, folder, fps=8, format="frames", overwrite=overwrite)


@pytest.mark.parametrize("name", [".git", "src/thesis.tex", "notes.txt", "0000.png/inner", "1.png"])
def test_a_folder_that_holds_more_than_frames_is_never_overwritten(
    name: str, tmp_path: Path
) -> None:
    mine = tmp_path / "keep" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("thesis")
    found = mine.relative_to(tmp_path / "keep").parts[0]
    with pytest.raises(UserError, match=f"holds '{found}', and only a folder of"):
        check_free(tmp_path / "keep", "frames", overwrite=True)
    with pytest.raises(UserError, match="holds"):
        save_frames(tmp_path / "keep", overwrite=True)
    assert mine.read_text() == "thesis"


def test_what_comes_into_a_folder_while_a_clip_is_written_stays(tmp_path: Path) -> None:
    save_frames(tmp_path / "fox")
    with pytest.raises(UserError, match="holds 'notes"), replacing(tmp_path / "fox") as partial:
        partial.mkdir()
        (tmp_path / "fox" / "notes.txt").write_text("mine")
    assert (tmp_path / "fox" / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["fox"]


def test_a_link_to_a_folder_of_frames_is_replaced_and_the_folder_stays(tmp_path: Path) -> None:
    save_frames(tmp_path / "real")
    (tmp_path / "fox").symlink_to(tmp_path / "real")
    save_frames(tmp_path / "fox", overwrite=True)
    assert not (tmp_path / "fox").is_symlink()
    assert is_whole(tmp_path / "real", "frames")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fox", "real"]


def test_a_file_above_and_a_long_name_are_found_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "fox.mp4").write_text("mine")
    with pytest.raises(UserError, match=r"fox\.mp4 is a file, not a folder"):
        check_free(tmp_path / "fox.mp4" / "sub" / "a.mp4", "mp4", overwrite=True)
    with pytest.raises(UserError, match="its name has 244 bytes, expected 230"):
        check_free(tmp_path / f"{'𝔞' * 60}.mp4", "mp4", overwrite=False)
    with pytest.raises(UserError, match="no name for a clip"):
        check_free(Path(), "frames", overwrite=True)


def test_whole_clips_are_told_from_halves(tmp_path: Path) -> None:
    save_frames(tmp_path / "fox")
    (tmp_path / "empty").mkdir()
    assert is_whole(tmp_path / "fox", "frames")
    assert not is_whole(tmp_path / "empty", "frames")
    assert not is_whole(tmp_path / "none", "frames")
    (tmp_path / "a.png").write_bytes(b"")
    assert not is_whole(tmp_path / "a.png", "sheet")
    (tmp_path / "a.json").write_bytes(b"")
    assert is_whole(tmp_path / "a.png", "sheet")
