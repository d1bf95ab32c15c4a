"""Manifests through the real library: written, read, broken, handed on, switched off."""

import json
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import c2pa
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.safety.conftest import FACTS, Frames

from mcm.errors import UserError
from mcm.media import FORMATS, read_metadata, save_image, save_video
from mcm.safety.audit import digest
from mcm.safety.credentials import (
    KEY,
    ROOT,
    Credentials,
    _certificate,
    credentials,
    local_folder,
)
from mcm.safety.formats import OPAQUE, sidecar_of
from mcm.safety.home import secret, write_private
from mcm.safety.inspection import inspect_manifest
from mcm.safety.policy import ProvenanceSection
from mcm.safety.publishing import prepare
from mcm.safety.verify import verify

RULES = ProvenanceSection()


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_bears_a_valid_manifest(format: str, tmp_path: Path, clean: Frames) -> None:
    path = tmp_path / f"clip{FORMATS[format]}"
    save_video(clean[:3], path, fps=8, metadata=FACTS, format=format)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    for file in files:
        report = inspect_manifest(file, RULES)
        assert (report.state, report.trust, report.faults) == ("valid", "this machine", [])
        assert report.actions == ["c2pa.created"]
        assert report.generation is not None
        assert {key: report.generation[key] for key in FACTS} == FACTS
    assert read_metadata(path) == FACTS
    assert sidecar_of(path).is_file() == (format == "webm")


def test_another_reader_finds_the_trained_algorithm(signed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(signed)
    with c2pa.Reader(path) as reader:
        assert reader.get_validation_state() == "Valid"
        told = reader.json()
    assert "digitalsourcetype/trainedAlgorithmicMedia" in told
    assert '"name": "mcm"' in told


@settings(max_examples=60)
@given(data=st.data())
def test_one_changed_byte_is_altered(
    signed: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(signed) - 1))
    flip = data.draw(st.integers(1, 255))
    changed = bytearray(signed)
    changed[place] ^= flip
    path = tmp_path_factory.mktemp("changed") / "a.mp4"
    path.write_bytes(bytes(changed))
    assert inspect_manifest(path, RULES).state == "altered"


@pytest.mark.parametrize("place", [8, 20, 30, 60, -60, -40, -1])
def test_bytes_that_c2pa_leaves_out_count_too(signed: bytes, tmp_path: Path, place: int) -> None:
    changed = bytearray(signed)
    changed[place] ^= 1
    (tmp_path / "a.mp4").write_bytes(bytes(changed))
    assert inspect_manifest(tmp_path / "a.mp4", RULES).state == "altered"


def test_a_webm_changed_or_parted_from_its_sidecar(tmp_path: Path, clean: Frames) -> None:
    path = save_video(clean[:3], tmp_path / "a.webm", fps=8)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    assert inspect_manifest(path, RULES).state == "altered"
    sidecar_of(path).unlink()
    assert inspect_manifest(path, RULES).state == "absent"


@pytest.mark.parametrize("source", ["in.mp4", "in.webm", "in.txt"])
def test_editing_names_its_source_and_keeps_its_chain(
    source: str, tmp_path: Path, clean: Frames
) -> None:
    origin = tmp_path / source
    if origin.suffix == ".txt":
        origin.write_text("nobody reads this")
    else:
        save_video(clean[:3], origin, fps=8, metadata=FACTS)
    path = save_video(clean[:3], tmp_path / "out.mp4", fps=8, source=origin)
    report = inspect_manifest(path, RULES)
    assert (report.state, report.ingredients) == ("valid", [source])
    assert report.actions == ["c2pa.opened", "c2pa.edited"]
    with c2pa.Reader(path) as reader:
        assert len(json.loads(reader.json())["manifests"]) == (1 if source == "in.txt" else 2)


@pytest.mark.parametrize("output", ["out.mp4", "out.webm"])
def test_a_source_that_does_not_fit_its_sidecar_is_told(
    output: str, tmp_path: Path, clean: Frames
) -> None:
    origin = save_video(clean[:3], tmp_path / "in.webm", fps=8, metadata=FACTS)
    content = bytearray(origin.read_bytes())
    content[len(content) // 2] ^= 1
    origin.write_bytes(bytes(content))
    path = save_video(clean[:3], tmp_path / output, fps=8, source=origin)
    assert inspect_manifest(path, RULES).ingredients == ["in.webm"]
    assert inspect_manifest(path, RULES).state == "valid"
    with path.open("rb") as file:
        beside = sidecar_of(path)
        sidecar = beside.read_bytes() if beside.is_file() else None
        kind = OPAQUE if sidecar else "video/mp4"
        with c2pa.Reader(kind, file, manifest_data=sidecar) as reader:
            ingredient = (reader.get_active_manifest() or {})["ingredients"][0]
    failures = ingredient["validation_results"]["activeManifest"]["failure"]
    assert "assertion.dataHash.mismatch" in [failure["code"] for failure in failures]


def test_a_sidecar_that_is_none_costs_no_clip(tmp_path: Path, clean: Frames) -> None:
    origin = save_video(clean[:3], tmp_path / "in.webm", fps=8)
    sidecar_of(origin).write_bytes(b"no manifest")
    path = save_video(clean[:3], tmp_path / "out.mp4", fps=8, source=origin)
    report = inspect_manifest(path, RULES)
    assert (report.state, report.ingredients) == ("valid", ["in.webm"])


def test_a_source_that_is_gone_is_a_clear_error(tmp_path: Path, clean: Frames) -> None:
    with pytest.raises(UserError, match=r"gone\.mp4, which was edited, cannot be read"):
        save_video(clean[:2], tmp_path / "a.mp4", fps=8, source=tmp_path / "gone.mp4")
    assert not list(tmp_path.glob("*a.mp4*"))


def test_frames_edited_without_a_file_are_not_called_wholly_generated(
    tmp_path: Path, clean: Frames
) -> None:
    path = save_video(clean[:2], tmp_path / "a.mp4", fps=8, metadata={**FACTS, "strength": 0.5})
    with c2pa.Reader(path) as reader:
        assert "digitalsourcetype/compositeWithTrainedAlgorithmicMedia" in reader.json()


def test_frames_too_small_for_the_mark_say_so(home: Path, tmp_path: Path, clean: Frames) -> None:
    path = save_video(clean[:2, :40, :96], tmp_path / "a.mp4", fps=8, metadata=FACTS)
    report = inspect_manifest(path, RULES)
    assert report.generation is not None
    assert report.generation["watermark"] is None
    told = json.loads((home / "audit.jsonl").read_text())
    for facts in (report.generation, told):
        assert facts["unmarked"] == "frames of 96x40 pixels are too small, the least side is 64"
    assert "marked with: none, frames of 96x40" in verify(path).as_text()


def test_what_no_model_made_is_not_signed(tmp_path: Path, clean: Frames) -> None:
    path = save_image(clean[0], tmp_path / "a.png", generated=False)
    assert inspect_manifest(path, RULES).state == "absent"


def test_keys_are_their_owners_and_never_told(
    home: Path, tmp_path: Path, clean: Frames, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    before = os.umask(0)
    try:
        save_video(clean[:2], tmp_path / "a.mp4", fps=8, metadata=FACTS)
    finally:
        os.umask(before)
    for path in home.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    key = (local_folder() / KEY).read_text()
    secrets = [secret("instance"), secret("audit")]
    told = caplog.text + (home / "audit.jsonl").read_text() + repr(credentials(RULES))
    assert key.split("\n")[1] not in told
    assert not [one for one in secrets if one.hex() in told or one in told.encode()]
    assert key.encode() not in (tmp_path / "a.mp4").read_bytes()
    assert "KEY" not in repr(Credentials(b"chain", b"KEY", local=True))


def test_a_key_that_others_can_read_is_refused(home: Path) -> None:
    credentials(RULES)
    (local_folder() / KEY).chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        credentials(RULES)


def test_a_certificate_of_ones_own_is_trusted_under_its_authority(
    home: Path, tmp_path: Path, clean: Frames, policy: Callable[[str], Path]
) -> None:
    credentials(RULES)
    own = tmp_path / "own"
    os.rename(local_folder(), own)
    pair = f"certificate: {own / 'chain.pem'}\n  key: {own / KEY}\n"
    policy(f"provenance:\n  {pair}")
    path = save_video(clean[:2], tmp_path / "a.mp4", fps=8)
    assert not local_folder().exists()
    assert inspect_manifest(path, RULES).trust == "untrusted"
    trusting = ProvenanceSection(anchors=(own / ROOT,))
    assert inspect_manifest(path, trusting).trust == "trusted"


KEYS: dict[str, Callable[[], Any]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("kind", KEYS)
def test_the_key_says_the_algorithm(
    kind: str, tmp_path: Path, clean: Frames, policy: Callable[[str], Path]
) -> None:
    root, key = KEYS["P-256"](), KEYS[kind]()
    chain = b"".join(_certificate(one, root).public_bytes(Encoding.PEM) for one in (key, root))
    (tmp_path / "chain.pem").write_bytes(chain)
    form = PrivateFormat.TraditionalOpenSSL if kind != "Ed25519" else PrivateFormat.PKCS8
    write_private(tmp_path / "key.pem", key.private_bytes(Encoding.PEM, form, NoEncryption()))
    pair = f"certificate: {tmp_path / 'chain.pem'}\n  key: {tmp_path / 'key.pem'}\n"
    policy(f"provenance:\n  {pair}")
    path = save_video(clean[:2], tmp_path / "a.mp4", fps=8)
    assert inspect_manifest(path, RULES).state == "valid"
    expected = {"P-256": "Es256", "P-384": "Es384", "P-521": "Es512", "RSA": "Ps256"}
    with c2pa.Reader(path) as reader:
        signature = (reader.get_active_manifest() or {})["signature_info"]
    assert signature["alg"] == expected.get(kind, kind)


def test_a_key_of_another_kind_is_a_clear_error(
    tmp_path: Path, clean: Frames, policy: Callable[[str], Path]
) -> None:
    key = ec.generate_private_key(ec.SECP256K1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    place = tmp_path / "key.pem"
    write_private(place, pem)
    policy(f"provenance:\n  certificate: {place}\n  key: {place}\n")
    with pytest.raises(UserError, match=r"provenance\.key: .*key\.pem cannot sign .*P-384"):
        save_video(clean[:2], tmp_path / "a.mp4", fps=8)


def test_a_key_that_does_not_fit_is_a_clear_error(
    home: Path, tmp_path: Path, clean: Frames, policy: Callable[[str], Path]
) -> None:
    place = tmp_path / "no.pem"
    write_private(place, b"nothing")
    policy(f"provenance:\n  certificate: {place}\n  key: {place}\n")
    with pytest.raises(UserError, match=r"provenance\.key: .*no\.pem cannot sign"):
        save_video(clean[:2], tmp_path / "a.mp4", fps=8)
    assert not (tmp_path / "a.mp4").exists()
    assert not list(tmp_path.glob(".a.mp4*"))


def own_signer(folder: Path) -> str:
    """Write a certificate and its key, and return the policy that names them."""
    root, key = KEYS["P-256"](), KEYS["P-256"]()
    chain = b"".join(_certificate(one, root).public_bytes(Encoding.PEM) for one in (key, root))
    (folder / "chain.pem").write_bytes(chain)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(folder / "key.pem", pem)
    pair = f"certificate: {folder / 'chain.pem'}\n  key: {folder / 'key.pem'}\n"
    return f"provenance:\n  {pair}"


def test_the_key_of_another_certificate_is_refused(
    home: Path, tmp_path: Path, clean: Frames, policy: Callable[[str], Path]
) -> None:
    policy(own_signer(tmp_path))
    other = KEYS["P-256"]().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(other)
    with pytest.raises(UserError, match="is not the key of the first certificate"):
        save_video(clean[:2], tmp_path / "a.mp4", fps=8)
    assert not list(tmp_path.glob("*.mp4"))


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o666])
@pytest.mark.parametrize("name", ["key.pem", "instance.key", "audit.key"])
def test_a_key_that_others_can_reach_is_refused(
    home: Path, tmp_path: Path, clean: Frames, policy: Callable[[str], Path], mode: int, name: str
) -> None:
    policy(own_signer(tmp_path))
    save_video(clean[:2], tmp_path / "a.mp4", fps=8)
    digest("a prompt")
    key = tmp_path / name if name == "key.pem" else home / name
    key.chmod(mode)
    with pytest.raises(UserError, match=f"{name}: other users can read or change this key"):
        digest("a prompt") if name == "audit.key" else save_video(
            clean[:2], tmp_path / "b.mp4", fps=8
        )
    assert not (tmp_path / "b.mp4").exists()


def test_a_damaged_local_signer_is_named(home: Path, tmp_path: Path, clean: Frames) -> None:
    save_video(clean[:2], tmp_path / "a.mp4", fps=8)
    (home / "credentials" / "key.pem").unlink()
    with pytest.raises(UserError, match=r"move the folder .*credentials away"):
        save_video(clean[:2], tmp_path / "b.mp4", fps=8)
    (home / "credentials" / "chain.pem").unlink()
    with pytest.raises(UserError, match=r"chain\.pem cannot be read"):
        save_video(clean[:2], tmp_path / "b.mp4", fps=8)


def test_clips_of_other_frames_or_facts_bear_other_marks(home: Path, clean: Frames) -> None:
    darker = clean // 2
    ids = {
        prepare(clean, "a", {}).mark,
        prepare(darker, "a", {}).mark,
        prepare(clean, "b", {}).mark,
    }
    assert len(ids) == 3
    assert prepare(clean, "a", {}).mark in ids


def test_every_file_stands_in_the_log_under_an_id_of_its_own(
    home: Path, tmp_path: Path, clean: Frames
) -> None:
    sources = [save_image(frame, tmp_path / f"in-{frame.sum()}.png") for frame in clean[:2]]
    save_video(clean[:3], tmp_path / "a.mp4", fps=8)
    save_video(clean[3:6], tmp_path / "b.mp4", fps=8)
    save_video(clean[6:9], tmp_path / "c.mp4", fps=8, metadata=FACTS, source=sources[0])
    save_video(clean[9:12], tmp_path / "d.mp4", fps=8, metadata=FACTS, source=sources[1])
    told = [json.loads(line) for line in (home / "audit.jsonl").read_text().splitlines()]
    ids = {event["file"]: event["watermark"] for event in told}
    assert len(ids) == len(set(ids.values())) == 6
    for name in ("a.mp4", "d.mp4"):
        report = inspect_manifest(tmp_path / name, RULES)
        assert report.generation is not None
        assert report.generation["watermark"] == ids[name]


def test_switching_off_is_logged_and_told(
    home: Path, tmp_path: Path, clean: Frames, policy: Callable[[str], Path]
) -> None:
    policy("provenance: {sign: false}\nwatermark: {mark: false}\n")
    path = save_video(clean[:2], tmp_path / "a.mp4", fps=8, metadata=FACTS)
    assert inspect_manifest(path, RULES).state == "absent"
    assert read_metadata(path) == {**FACTS, "switched_off": ["provenance", "watermark"]}
    events = [json.loads(line) for line in (home / "audit.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["switched off", "written"]
    assert events[0]["layers"] == ["provenance", "watermark"]
