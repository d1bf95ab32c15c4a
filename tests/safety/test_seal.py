"""The seal: one changed byte of any signed file, or of the manifest beside it, is seen."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mcm.errors import UserError
from mcm.media import save_video
from mcm.safety.credentials import _certificate
from mcm.safety.formats import SIDECAR_TYPE, sidecar_of
from mcm.safety.inspection import inspect_manifest
from mcm.safety.policy import ProvenanceSection
from mcm.safety.seal import is_sealed, seal_fits, sealed

RULES = ProvenanceSection()
FORMATS = {"mp4": "mp4", "gif": "gif", "webp": "webp", "png": "sheet", "webm": "webm"}
FACTS = {"prompt": "the words jumb and jumdc2pa in a prompt"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed clip of every format; each test puts back what it changes."""
    made = tmp_path_factory.mktemp("sealed")
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    for ending, format in FORMATS.items():
        save_video(noise, made / f"a.{ending}", fps=8, format=format, metadata=FACTS)
    return made


def changed_at(content: bytes, chance: random.Random) -> list[int]:
    """Places of both ends, of the manifest's first boxes, of its padding, and any others."""
    manifest = content.rfind(b"jumdc2pa")
    padding = content.rfind(b"cpad")
    around = [*range(manifest - 40, manifest + 60), *range(padding - 60, padding + 60)]
    ends = [*range(24), *range(len(content) - 24, len(content))]
    every = {*around, *ends, *(chance.randrange(len(content)) for _ in range(40))}
    return sorted(place for place in every if 0 <= place < len(content))


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.webp", "a.png", "a.webm", "a.webm.c2pa"])
def test_one_changed_byte_is_altered(name: str, folder: Path) -> None:
    path, clip = folder / name, folder / name.removesuffix(".c2pa")
    assert inspect_manifest(clip, RULES).state == "valid"
    content, chance = path.read_bytes(), random.Random(name)
    missed = []
    for place in changed_at(content, chance):
        changed = bytearray(content)
        changed[place] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        if inspect_manifest(clip, RULES).state != "altered":
            missed.append(place)
    others = [b"x" + content, content[1:], content + b"\0", content + b"\0\0\0\x08free"]
    for number, other in enumerate([*others, content[:-1], content[: -len(content) // 16]]):
        path.write_bytes(other)
        if inspect_manifest(clip, RULES).state != "altered":
            missed.append(-1 - number)
    path.write_bytes(content)
    assert missed == []


def test_a_sidecar_cut_off_anywhere_is_altered(folder: Path) -> None:
    beside = sidecar_of(folder / "a.webm")
    content = beside.read_bytes()
    for length in (0, 1, 10, 100, len(content) // 2, len(content) - 1):
        beside.write_bytes(content[:length])
        assert inspect_manifest(folder / "a.webm", RULES).state == "altered"
    beside.write_bytes(content)


def test_an_mp4_that_calls_itself_quicktime_is_altered(folder: Path, tmp_path: Path) -> None:
    changed = bytearray((folder / "a.mp4").read_bytes())
    changed[8:12] = b"qt  "
    (tmp_path / "a.mp4").write_bytes(changed)
    report = inspect_manifest(tmp_path / "a.mp4", RULES)
    assert (report.state, report.faults) == ("altered", ["mcm.seal.mismatch"])


@pytest.mark.parametrize("kind", ["image/png", "image/gif", "video/mp4", SIDECAR_TYPE])
def test_what_bears_no_seal_has_none(kind: str, tmp_path: Path) -> None:
    hostile = b"\xff\xff\xff\xffjumb\0\0\0\x1ejumdc2pa" + b"cbor\xd2\x84\x59\xff\xff" * 2
    for content in (b"", b"hello", hostile, hostile + b"\0" * 70_000):
        (tmp_path / "a").write_bytes(content)
        assert not is_sealed(tmp_path / "a", kind)
        assert not seal_fits(content, kind)


def test_a_manifest_without_room_is_a_clear_error() -> None:
    with pytest.raises(UserError, match="no room for its seal"):
        sealed(b"no manifest", SIDECAR_TYPE)


def test_long_signatures_leave_room(tmp_path: Path, policy: Callable[[str], Path]) -> None:
    root, key = (rsa.generate_private_key(65537, size) for size in (2048, 4096))
    chain = b"".join(_certificate(one, root).public_bytes(Encoding.PEM) for one in (key, root))
    (tmp_path / "chain.pem").write_bytes(chain)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(private)
    (tmp_path / "key.pem").chmod(0o600)
    pair = f"certificate: {tmp_path / 'chain.pem'}\n  key: {tmp_path / 'key.pem'}\n"
    policy(f"provenance:\n  {pair}")
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    path = save_video(frames, tmp_path / "a.gif", fps=8)
    assert inspect_manifest(path, RULES).state == "valid"
