from pathlib import Path

import pytest

from mcm.errors import UserError
from mcm.serving.config import ServeConfig


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"queue_limit": 0}, "queue_limit"),
        ({"time_limit": 0.0}, "time_limit"),
        ({"attempts": 0}, "attempts"),
        ({"port": -1}, "port"),
        ({"host": "0.0.0.0"}, "--keys"),
        ({"host": "example.org"}, "--keys"),
    ],
)
def test_bad_values_are_named(changes: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=named):
        ServeConfig(models=("a",), **changes).check()  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_this_machine_needs_no_keys(host: str) -> None:
    ServeConfig(models=("a",), host=host).check()


def test_with_keys_any_address_will_do() -> None:
    ServeConfig(models=("a",), host="0.0.0.0", keys=Path("keys")).check()
