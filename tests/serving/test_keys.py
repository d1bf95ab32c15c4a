import base64
import hashlib
from pathlib import Path

import pytest

from mcm.errors import UserError
from mcm.serving.keys import ANYONE, Keys, read_keys


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    hashed = hashlib.sha256(b"second").hexdigest()
    file = tmp_path / "keys"
    file.write_text(f"# mine\nfirst\n\nsha256:{hashed}\n")
    return read_keys(file)


def test_keys_open_and_tell_owners_apart(keys: Keys) -> None:
    first, second = keys.owner("Bearer first"), keys.owner("Bearer second")
    assert first and second and first != second
    assert keys.owner("bearer  first") == first
    basic = base64.b64encode(b"anyone:first").decode()
    assert keys.owner(f"Basic {basic}") == first


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer firs", "Bearer first2", "Basic %%%", "Basic", "first"],
)
def test_wrong_keys_do_not(keys: Keys, header: str) -> None:
    assert keys.owner(header) is None


def test_without_keys_everyone_is_let_in() -> None:
    assert Keys().owner("") == ANYONE


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_keys_of_any_letters_are_sent_both_ways(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "keys").write_text("schlüssel\n", encoding="utf-8")
    keys, sent = read_keys(tmp_path / "keys"), "schlüssel".encode(encoding)
    owner = keys.owner(f"Bearer {sent.decode('latin-1')}")
    assert owner
    assert keys.owner(f"Basic {base64.b64encode(b'me:' + sent).decode()}") == owner


def test_comments_may_be_indented_and_a_byte_order_mark_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("\ufefffirst\n  # comment key\n\t#second\n", encoding="utf-8")
    keys = read_keys(tmp_path / "keys")
    assert len(keys.digests) == 1
    assert keys.owner("Bearer first")


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "  # nothing\n", "\ufeff", "sha256:12\n", "sha256:" + "x" * 64]
)
def test_useless_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(UserError, match="keys"):
        read_keys(tmp_path / "keys")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        read_keys(tmp_path / "nowhere")
