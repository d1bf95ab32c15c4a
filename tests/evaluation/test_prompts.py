from __future__ import annotations

import json
from pathlib import Path

import pytest

from mcm.errors import UserError
from mcm.evaluation.prompts import read_prompts

FOX, STAR = "A fox, running", "a star"


def test_webvid(tmp_path: Path) -> None:
    path = tmp_path / "results_2M_val.csv"
    path.write_text(f'videoid,contentUrl,name\n1,u,"{FOX}"\n2,u,{STAR}\n3,u,{STAR}\n')
    assert read_prompts(path) == [FOX, STAR]


def test_msr_vtt_takes_one_caption_of_every_video(tmp_path: Path) -> None:
    path = tmp_path / "test_videodatainfo.json"
    sentences = [
        {"video_id": "video7010", "caption": FOX, "sen_id": 0},
        {"video_id": "video7010", "caption": "another", "sen_id": 1},
        {"video_id": "video7011", "caption": STAR, "sen_id": 2},
    ]
    path.write_text(json.dumps({"videos": [], "sentences": sentences}))
    assert read_prompts(path) == [FOX, STAR]


def test_vbench_lists_and_lines(tmp_path: Path) -> None:
    bench = [{"prompt_en": FOX, "dimension": ["color"]}, {"prompt_en": STAR, "dimension": []}]
    (tmp_path / "VBench_full_info.json").write_text(json.dumps(bench))
    (tmp_path / "list.json").write_text(json.dumps([FOX, STAR]))
    (tmp_path / "lines.txt").write_text(f"{FOX}\n\n{STAR}\n")
    for name in ("VBench_full_info.json", "list.json", "lines.txt"):
        assert read_prompts(tmp_path / name) == [FOX, STAR]
    assert read_prompts(tmp_path / "lines.txt", 1) == [FOX]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "id,title\n1,x\n", r"columns \['id', 'title'\], expected one of caption"),
        ("a.json", "{", "not valid JSON"),
        ("a.json", '[{"x": 1}]', "expected MSR-VTT's sentences"),
        (
            "a.json",
            '{"sentences": [{"video_id": 1}]}',
            r"sentences\.0: .*with video_id and caption",
        ),
        ("a.json", '{"sentences": [{"video_id": 1, "caption": null}]}', r"sentences\.0"),
        ("a.json", '{"sentences": [3]}', r"sentences\.0: got '3'"),
        ("a.csv", "caption\n" + 200_000 * "x" + "\n", "after line 1: not valid CSV"),
        ("a.txt", "\n", "holds 0 prompts"),
        ("a.mp4", "", "ends in .csv, .json, .txt"),
    ],
)
def test_other_layouts_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_prompts(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.txt: cannot be read"):
        read_prompts(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", f"{FOX}\n\n{STAR}\x07\n", r"a\.txt: prompt 3: .*U\+0007"),
        ("a.json", '["a fox", "\\ud83d"]', r"a\.json: prompt 2: .*U\+D83D"),
    ],
)
def test_a_prompt_that_no_model_can_read_is_named(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_prompts(tmp_path / name)


def test_lines_that_show_nothing_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"{FOX}\n\u200b\n  \n{STAR}\n", encoding="utf-8")
    assert read_prompts(tmp_path / "a.txt") == [FOX, STAR]
