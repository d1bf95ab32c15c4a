"""From options and prompts files to jobs with a place each."""

from pathlib import Path
from typing import Any

import pytest

from mcm.errors import UserError
from mcm.sampling.prompts_file import Job, read_prompts
from mcm.sampling.requests import GenerateRequest, parse_size, plan_jobs, slug

FOX = "a fox moving left"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def paths(**options: Any) -> list[str]:
    return [str(job.path) for job in plan_jobs(GenerateRequest(**options))]


def write(name: str, text: str) -> Path:
    Path(name).write_text(text)
    return Path(name)


def test_names_come_from_prompt_and_seed() -> None:
    assert paths(prompt=FOX, seed=7) == ["a-fox-moving-left-7.mp4"]
    assert paths(prompt=FOX, format="gif") == ["a-fox-moving-left-0.gif"]
    assert paths(prompt=FOX, format="frames") == ["a-fox-moving-left-0"]
    assert paths(prompt=FOX, format="sheet") == ["a-fox-moving-left-0.png"]


def test_output_is_a_file_or_a_folder() -> None:
    Path("there.d").mkdir()
    assert paths(prompt=FOX, output=Path("fox.webm")) == ["fox.webm"]
    assert paths(prompt=FOX, output=Path("clips")) == ["clips/a-fox-moving-left-0.mp4"]
    assert paths(prompt=FOX, output=Path("there.d")) == ["there.d/a-fox-moving-left-0.mp4"]
    assert paths(prompt=FOX, output=Path("fox"), format="frames") == ["fox"]


def test_format_follows_the_ending() -> None:
    [job] = plan_jobs(GenerateRequest(prompt=FOX, output=Path("fox.png")))
    assert job.format == "sheet"


def test_slugs_are_safe_names() -> None:
    assert slug("  A fox, on/the: moon!  ") == "a-fox-on-the-moon"
    assert slug("../../etc") == "etc"
    assert slug("läuft schnell") == "läuft-schnell"
    assert slug("🦊") == "clip"
    assert len(slug("fox " * 100)) <= 60


def test_names_fit_a_file_system_in_every_script() -> None:
    """A name of its own has room for a seed, an ending and what is added while it is written."""
    assert slug("狐" * 80) == "狐" * 60
    [path] = paths(prompt="𐐨" * 80, seed=2**64 - 1, format="webm")
    assert path.startswith("𐐨" * 45 + "-")
    assert len(path.encode()) < 230


def test_text_files_hold_a_prompt_per_line() -> None:
    file = write("prompts.txt", f"{FOX}\n\n  a star  \n")
    assert read_prompts(file, 5) == [Job(FOX, 5), Job("a star", 6)]
    assert paths(prompts_file=file, output=Path("out")) == [
        "out/a-fox-moving-left-0.mp4",
        "out/a-star-1.mp4",
    ]


def test_rows_may_say_seed_steps_and_output() -> None:
    csv = write("p.csv", f'prompt,seed,steps,output\n"{FOX}, slowly",9,2,fox.gif\na star,,,\n')
    jsonl = write(
        "p.jsonl",
        f'{{"prompt": "{FOX}, slowly", "seed": 9, "steps": 2, "output": "fox.gif"}}\n'
        '\n{"prompt": "a star"}\n',
    )
    expected = [Job(f"{FOX}, slowly", 9, 2, Path("fox.gif")), Job("a star", 1)]
    assert read_prompts(csv, 0) == read_prompts(jsonl, 0) == expected
    jobs = plan_jobs(GenerateRequest(prompts_file=csv, steps=8, output=Path("out")))
    assert [(str(job.path), job.format, job.steps) for job in jobs] == [
        ("out/fox.gif", "gif", 2),
        ("out/a-star-1.mp4", "mp4", 8),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.txt", "\n\n", "holds no prompt"),
        ("p.csv", "prompt\n", "holds no prompt"),
        ("p.csv", "promt,seed\nfox,1\n", "line 1: 'promt' is unknown.*did you mean prompt"),
        ("p.csv", "prompt,seed\nfox,one\n", "line 2: seed: got 'one'"),
        ("p.csv", "prompt,seed\n,1\n", "line 2: prompt: it is empty"),
        ("p.csv", "prompt\na fox, red\n", "line 2: .* is unknown"),
        ("p.csv", "prompt,steps\nfox,0\n", "line 2: steps: got 0, expected 1 to 50"),
        ("p.jsonl", '{"prompt": "fox"}\n{"prompt"', "line 2: not JSON"),
        ("p.jsonl", '["fox"]', "line 1: .* expected an object"),
        ("p.jsonl", '{"prompt": "fox", "style": 1}', "line 1: 'style' is unknown"),
        ("p.jsonl", '{"prompt": "fox", "output": 5}', "line 1: output: got 5, expected text"),
        ("p.jsonl", '{"prompt": ["fox"]}', "line 1: prompt: got .*, expected text"),
        ("p.jsonl", '{"prompt": "fox", "output": "a\\u0000.mp4"}', r"output: holds .* U\+0000"),
        ("p.jsonl", "[" * 100_000, "line 1: not JSON"),
        ("p.csv", f"prompt\n{'x' * 131_073}\n", "line 1: not CSV: field larger"),
        ("p.csv", "prompt\na\x00b\n", r"line 2: (not CSV|prompt: holds .* U\+0000)"),
        ("p.csv", "prompt,seed\nfox,99999999999999999999\n", "line 2: seed: got 9999.* expected"),
    ],
)
def test_malformed_files_name_the_line(name: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_prompts(write(name, text), 0)


def test_missing_or_binary_files_are_refused() -> None:
    with pytest.raises(UserError, match="no such prompts file"):
        read_prompts(Path("missing.txt"), 0)
    Path("binary.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UserError, match="not a text file"):
        read_prompts(Path("binary.txt"), 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either a prompt or --prompts-file"),
        ({"prompt": FOX, "prompts_file": Path("p.txt")}, "either a prompt"),
        ({"prompt": " "}, "it is empty"),
        ({"prompt": FOX, "steps": 0}, "steps: got 0"),
        ({"prompt": FOX, "seed": 2**64}, "seed: got 18446744073709551616, expected -9223"),
        ({"prompt": "a fox \udcff"}, "prompt: holds the control character U\\+DCFF"),
        ({"prompt": "\u200b\u2060\ufe0f"}, "prompt: it is empty"),
        ({"prompt": FOX, "negative_prompt": "a\x00"}, "negative_prompt: holds the control"),
        ({"prompt": FOX, "overwrite": True, "skip_existing": True}, "give one of them"),
        ({"prompt": FOX, "batch_size": 0}, "batch_size: got 0"),
        ({"prompt": FOX, "format": "mp5"}, "did you mean mp4"),
        ({"prompt": FOX, "output": Path("fox.avi")}, "names no format"),
        ({"prompt": FOX, "output": Path("fox.mp4"), "format": "gif"}, "ends in .gif"),
        ({"prompt": FOX, "alpha": True}, "mp4 holds no transparency; write frames, webp or sheet"),
    ],
)
def test_bad_requests_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan_jobs(GenerateRequest(**options))


def test_taken_places_are_refused_before_any_work() -> None:
    write("fox.mp4", "mine")
    request = {"prompt": FOX, "output": Path("fox.mp4")}
    with pytest.raises(UserError, match="exists already"):
        plan_jobs(GenerateRequest(**request))
    assert paths(**request, overwrite=True) == ["fox.mp4"]
    file = write("p.csv", f"prompt,output\n{FOX},a.mp4\na star,a.mp4\n")
    with pytest.raises(UserError, match="the place of two clips"):
        plan_jobs(GenerateRequest(prompts_file=file))


@pytest.mark.parametrize(
    ("outputs", "options", "message"),
    [
        (("x.png", "x.PNG"), {"format": "sheet"}, r"x\.json is the place of two clips"),
        (("x.mp4", "../b/x.mp4"), {"output": Path("b")}, r"x\.mp4 is the place of two clips"),
        (("linked/x.mp4", "b/x.mp4"), {}, r"x\.mp4 is the place of two clips"),
        (("fox", "fox/inner"), {"format": "frames"}, "inner .* lies inside .*fox, the place of"),
        (("fox/inner", "fox"), {"format": "frames"}, "inner .* lies inside .*fox, the place of"),
        (("a.mp4", "b.mp4"), {"output": Path("p.txt")}, r"p\.txt is a file, not a folder"),
    ],
)
def test_clips_that_would_meet_are_refused(
    outputs: tuple[str, str], options: dict[str, Any], message: str
) -> None:
    Path("b").mkdir()
    Path("linked").symlink_to("b")
    write("p.txt", "")
    rows = "".join(f"{FOX},{output}\n" for output in outputs)
    file = write("p.csv", f"prompt,output\n{rows}")
    with pytest.raises(UserError, match=message):
        plan_jobs(GenerateRequest(prompts_file=file, **options))


def test_clips_that_are_there_may_stay() -> None:
    write("fox.mp4", "made")
    file = write("p.csv", f"prompt,output\n{FOX},fox.mp4\na star,star.mp4\n")
    jobs = plan_jobs(GenerateRequest(prompts_file=file, skip_existing=True))
    assert [(str(job.path), job.is_made) for job in jobs] == [
        ("fox.mp4", True),
        ("star.mp4", False),
    ]
    write("half.png", "a sheet without its JSON")
    with pytest.raises(UserError, match=r"half\.png: exists already"):
        plan_jobs(GenerateRequest(prompt=FOX, output=Path("half.png"), skip_existing=True))


def test_sizes_are_width_by_height() -> None:
    assert parse_size("128x96") == (96, 128)
    with pytest.raises(UserError, match="WIDTHxHEIGHT"):
        parse_size("128")
