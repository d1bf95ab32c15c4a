import io
import json
import tarfile
from pathlib import Path

import pytest
import webdataset

from mcm.data.samples import Sample, SampleError
from mcm.data.shards import ShardSource, ShardWriter
from mcm.data.sources import open_source
from mcm.errors import UserError


def samples(count: int) -> list[Sample]:
    return [
        Sample(f"clip{n:03}", f"a föx {n}", f"video {n}".encode(), f"in/clip{n:03}.mp4", {"n": n})
        for n in range(count)
    ]


def write(folder: Path, items: list[Sample], **limits: int) -> list[Path]:
    with ShardWriter(folder, **limits) as writer:
        for item in items:
            writer.write(item)
    return writer.written


def tar_of(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    shards = write(tmp_path / "out", samples(5), max_samples=2)
    assert [path.name for path in shards] == [f"shard-00000{n}.tar" for n in range(3)]
    source = open_source(tmp_path / "out")
    read = [item for item in source if isinstance(item, Sample)]
    assert [(s.key, s.caption, s.media, s.metadata) for s in read] == [
        (s.key, s.caption, s.media, s.metadata) for s in samples(5)
    ]
    assert [s.file for s in read][1:3] == [
        "shard-000000.tar/clip001.mp4",
        "shard-000001.tar/clip002.mp4",
    ]
    assert source.length() == 5


def test_webdataset_reads_what_is_written(tmp_path: Path) -> None:
    write(tmp_path, samples(3), max_samples=2)
    pattern = f"{tmp_path}/shard-{{000000..000001}}.tar"
    read = list(webdataset.WebDataset(pattern, shardshuffle=False).decode().to_tuple("mp4", "json"))
    assert [media for media, _ in read] == [b"video 0", b"video 1", b"video 2"]
    assert read[2][1] == {"caption": "a föx 2", "n": 2}


def test_what_webdataset_writes_is_read(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as tar:
        tar.write({"__key__": "sub/x", "png": b"pixels", "json": {"caption": " a cat ", "w": 3}})
    (item,) = open_source(tmp_path / "a.tar")
    assert item == Sample("sub/x", "a cat", b"pixels", "a.tar/sub/x.png", {"w": 3})


def test_equal_samples_give_equal_bytes(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, samples(3))[0] for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_media_is_taken_from_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.webp").write_bytes(b"pixels")
    write(tmp_path / "out", [Sample("a", "a cat", tmp_path / "a.webp", "a.webp")])
    (item,) = open_source(tmp_path / "out")
    assert item == Sample("a", "a cat", b"pixels", "shard-000000.tar/a.webp")


def test_size_limit_begins_a_new_shard(tmp_path: Path) -> None:
    assert len(write(tmp_path, samples(4), max_bytes=60)) == 2


def test_an_error_leaves_whole_shards_only(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), ShardWriter(tmp_path, max_samples=2) as writer:
        for item in samples(3):
            writer.write(item)
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["shard-000000.tar"]
    assert open_source(tmp_path).length() == 2


def test_shards_are_not_overwritten(tmp_path: Path) -> None:
    write(tmp_path, samples(1))
    with pytest.raises(UserError, match="already holds"):
        ShardWriter(tmp_path)


@pytest.mark.parametrize(
    ("key", "file", "message"),
    [("a.b", "a.b.mp4", "'a.b' is empty or has a dot"), ("a", "a", "no suffix")],
)
def test_names_that_webdataset_would_misread_are_refused(
    tmp_path: Path, key: str, file: str, message: str
) -> None:
    with ShardWriter(tmp_path) as writer, pytest.raises(UserError, match=message):
        writer.write(Sample(key, "a fox", b"", file))


def test_each_bad_sample_is_named_with_its_reason(tmp_path: Path) -> None:
    caption = json.dumps({"caption": "a fox"}).encode()
    members = {
        "good.mp4": b"x",
        "good.json": caption,
        "alone.mp4": b"x",
        "words.json": caption,
        "broken.mp4": b"x",
        "broken.json": b"{",
        "empty.mp4": b"x",
        "empty.json": b'{"caption": "  "}',
        "list.mp4": b"x",
        "list.json": b"[]",
        "last.fluent.mp4": b"x",
        "last.json": caption,
    }
    source = ShardSource([str(tar_of(tmp_path / "a.tar", members))])
    items = list(source)
    assert source.length() == len(items) == 7
    assert [item.key for item in items if isinstance(item, Sample)] == ["good", "last"]
    assert [(e.file, e.reason) for e in items if isinstance(e, SampleError)] == [
        ("a.tar/alone.mp4", "no caption"),
        ("a.tar/words", "no media"),
        ("a.tar/broken.mp4", "corrupt"),
        ("a.tar/empty.mp4", "no caption"),
        ("a.tar/list.mp4", "no caption"),
    ]


def test_a_truncated_shard_loses_only_its_rest(tmp_path: Path) -> None:
    first, _ = write(tmp_path, samples(6), max_samples=3)
    first.write_bytes(first.read_bytes()[:4000])
    items = list(open_source(tmp_path))
    keys = [item.key for item in items if isinstance(item, Sample)]
    assert keys[0] == "clip000"
    assert keys[-3:] == ["clip003", "clip004", "clip005"]
    (error,) = [item for item in items if isinstance(item, SampleError)]
    assert error.reason == "corrupt"
    assert error.file == str(first)
    assert "after 'clip000'" in error.detail


def test_text_named_tar_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("no tar" * 200)
    (error,) = open_source(tmp_path)
    assert isinstance(error, SampleError)
    assert error.reason == "corrupt"
    assert open_source(tmp_path).length() is None
