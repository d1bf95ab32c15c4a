from pathlib import Path

import pytest

from mcm.data.folders import FolderSource
from mcm.data.samples import Sample
from mcm.data.shards import ShardSource, ShardWriter
from mcm.data.sources import open_source
from mcm.errors import UserError


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    for folder in ("a", "b"):
        with ShardWriter(tmp_path / folder, max_samples=1) as writer:
            for number in range(3):
                writer.write(Sample(f"{folder}{number}", "a fox", b"x", "x.mp4"))
    return tmp_path


def keys(source) -> list[str]:
    return [item.key for item in source]


def test_patterns_and_folders_of_shards(shards: Path) -> None:
    assert keys(open_source(f"{shards}/a/shard-{{000000..000001}}.tar")) == ["a0", "a1"]
    assert keys(open_source(f"{shards}/*/shard-000002.tar")) == ["a2", "b2"]
    assert keys(open_source(f"{shards}/{{b,a}}/*0.tar")) == ["b0", "a0"]
    assert keys(open_source(shards / "b")) == ["b0", "b1", "b2"]
    assert keys(open_source(shards)) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    lists = [f"{shards}/b/shard-000000.tar", f"{shards}/a/*1.tar"]
    assert keys(open_source(lists)) == ["b0", "a1"]


def test_addresses_are_left_to_webdataset(shards: Path) -> None:
    source = open_source("https://example.org/shard-{00..02}.tar")
    assert isinstance(source, ShardSource)
    assert source.shards == tuple(f"https://example.org/shard-0{n}.tar" for n in range(3))
    assert keys(open_source(f"pipe:cat {shards}/a/shard-000001.tar")) == ["a1"]


def test_tables(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "captions.csv").write_text("file,caption\na.mp4,a fox\n")
    (tmp_path / "other.jsonl").write_text('{"file": "a.mp4", "caption": "a cat"}')
    assert [item.caption for item in open_source(tmp_path)] == ["a fox"]
    assert [item.caption for item in open_source(tmp_path / "other.jsonl")] == ["a cat"]
    chosen = open_source(tmp_path, captions=tmp_path / "other.jsonl")
    assert isinstance(chosen, FolderSource)
    assert [item.caption for item in chosen] == ["a cat"]


def test_what_is_not_there_is_refused_with_the_nearest(shards: Path) -> None:
    with pytest.raises(UserError, match=r"shard-000009\.tar: no such data; the nearest is .*tar"):
        open_source(f"{shards}/a/shard-000009.tar")
    with pytest.raises(UserError, match="no such data; check the path"):
        open_source("nowhere/*.tar")


def test_ambiguous_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds neither captions\.csv nor captions\.jsonl nor tar"):
        open_source(tmp_path)
    for name in ("captions.csv", "captions.jsonl"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="name the one you mean"):
        open_source(tmp_path)
    with pytest.raises(UserError, match="not a folder"):
        open_source(tmp_path / "captions.csv", captions="captions.jsonl")
