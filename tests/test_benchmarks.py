"""What a benchmark calls a failure."""

import pytest
from benchmarks.memory import fail, failures

from mcm.doctor.doctor import GIB


def test_memory_has_a_limit_for_each_model() -> None:
    assert failures("animatediff", 19.9 * GIB, 1.0, 1.0) == []
    assert failures("modelscope", 11.9 * GIB) == []
    assert failures("recipes/mine.yaml", 100.0 * GIB) == []
    [said] = failures("animatediff", 20.1 * GIB)
    assert said == "memory: 20.10 GiB is above the limit of 20 GiB"
    assert len(failures("modelscope", 12.1 * GIB)) == 1


@pytest.mark.parametrize(("ratio", "count"), [(0.84, 2), (0.86, 0), (1.14, 0), (1.16, 2)])
def test_predictions_may_be_fifteen_per_cent_off(ratio: float, count: int) -> None:
    assert len(failures("modelscope", GIB, ratio, ratio)) == count


def test_a_failure_is_said_and_ends_with_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    fail([])
    with pytest.raises(SystemExit) as caught:
        fail(failures("modelscope", 13.0 * GIB))
    assert caught.value.code == 1
    assert capsys.readouterr().err == "failed: memory: 13.00 GiB is above the limit of 12 GiB\n"
