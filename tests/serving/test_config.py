import math
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
        ({"port": -1}, "port: got -1, expected 0 to 65535"),
        ({"port": 99999}, "port: got 99999, expected 0 to 65535"),
        ({"grace": -1.0}, "grace: got -1.0, expected 0.0 or more"),
        ({"grace": math.nan}, "grace: got nan"),
        ({"keep_hours": math.nan}, "keep_hours: got nan"),
        ({"time_limit": math.nan}, "time_limit: got nan"),
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


def test_times_may_have_no_end() -> None:
    ServeConfig(models=("a",), time_limit=math.inf, grace=math.inf, keep_hours=math.inf).check()


def test_with_keys_any_address_will_do() -> None:
    ServeConfig(models=("a",), host="0.0.0.0", keys=Path("keys")).check()
