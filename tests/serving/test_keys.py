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


@pytest.mark.parametrize("text", ["", "# nothing\n", "sha256:12\n", "sha256:" + "x" * 64])
def test_useless_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(UserError, match="keys"):
        read_keys(tmp_path / "keys")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        read_keys(tmp_path / "nowhere")
