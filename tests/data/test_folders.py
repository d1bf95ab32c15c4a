from pathlib import Path

import pytest

from mcm.data.folders import FolderSource
from mcm.data.samples import Sample, SampleError
from mcm.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clips").mkdir()
    for name in ("clips/a.mp4", "clips/b.v2.mp4"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_csv(folder: Path) -> None:
    table = folder / "captions.csv"
    table.write_text(
        'file,caption,author\nclips/a.mp4,"a fox, moving\nleft",Ann\nclips/b.v2.mp4, a föx ,\n',
        encoding="utf-8-sig",
    )
    source = FolderSource(table)
    assert source.length() == 2
    assert list(source) == [
        Sample(
            "clips/a",
            "a fox, moving\nleft",
            folder / "clips/a.mp4",
            "clips/a.mp4",
            {"author": "Ann"},
        ),
        Sample("clips/b.v2", "a föx", folder / "clips/b.v2.mp4", "clips/b.v2.mp4", {"author": ""}),
    ]


def test_jsonl(folder: Path) -> None:
    table = folder / "captions.jsonl"
    table.write_text('{"file": "clips/a.mp4", "caption": "a\\u2028fox", "n": 3}\n\n', "utf-8")
    (item,) = FolderSource(table)
    assert item == Sample("clips/a", "a\u2028fox", folder / "clips/a.mp4", "clips/a.mp4", {"n": 3})


def test_a_table_elsewhere(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("caption,file\na fox,a.mp4\n")
    (item,) = FolderSource(table, root=folder / "clips")
    assert isinstance(item, Sample)
    assert item.media == folder / "clips" / "a.mp4"


def test_bad_rows_are_named(folder: Path) -> None:
    table = folder / "captions.jsonl"
    table.write_text(
        '{"file": "clips/a.mp4", "caption": "a fox"}\n'
        '{"file": "clips/gone.mp4", "caption": "a fox"}\n'
        '{"file": "clips/a.mp4", "caption": " "}\n'
        '{"file": "clips/a.mp4"}\n'
        '{"caption": "a fox"}\n'
        "not json\n"
    )
    found = [(e.file, e.reason) for e in FolderSource(table) if isinstance(e, SampleError)]
    assert found == [
        ("clips/gone.mp4", "missing"),
        ("clips/a.mp4", "no caption"),
        ("clips/a.mp4", "no caption"),
        ("captions.jsonl, line 5", "no media"),
        ("captions.jsonl, line 6", "corrupt"),
    ]


def test_short_csv_rows_are_bad_samples(folder: Path) -> None:
    table = folder / "captions.csv"
    table.write_text("file,caption\nclips/a.mp4\nclips/a.mp4,a fox,more,cells\n")
    error, item = FolderSource(table)
    assert isinstance(error, SampleError)
    assert (error.reason, error.file) == ("no caption", "clips/a.mp4")
    assert isinstance(item, Sample)
    assert item.metadata == {}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "flie,caption\nx,y\n", "no column 'file' among flie, caption; rename 'flie'"),
        ("a.csv", "file,Captions\nx,y\n", "rename 'Captions' to 'caption'"),
        ("a.csv", "file,b\nx,y\n", "no column 'caption' among file, b; add a column 'caption'"),
        ("a.jsonl", '{"file_name": "x", "caption": "y"}', "rename 'file_name' to 'file'"),
        ("a.csv", "file,caption\n", "no samples"),
        ("a.csv", "", "no column 'file'"),
        ("a.jsonl", "\n", "no samples"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        FolderSource(tmp_path / name)


def test_a_table_that_is_not_utf8_or_missing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("file,caption\na,föx\n".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        FolderSource(tmp_path / "a.csv")
    with pytest.raises(UserError, match="no such file"):
        FolderSource(tmp_path / "b.csv")
