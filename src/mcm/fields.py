"""Values that settings may have, and the strict base of all sections of them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict
from pydantic_core import PydanticCustomError

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Name = Annotated[str, Field(min_length=1)]


def _check_device(name: str) -> str:
    if re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d+)?", name):
        return name
    raise PydanticCustomError(
        "device", "Input should be auto, cpu, mps, cuda, cuda:N, xpu or xpu:N"
    )


Device = Annotated[str, AfterValidator(_check_device)]
Size = Annotated[tuple[Count, Count], Strict(False)]
Steps = Annotated[int, Field(ge=1, le=50)]


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise PydanticCustomError("rising", "Input should have its least number first")
    return pair


Guidance = Annotated[tuple[NonNegative, NonNegative], Strict(False), AfterValidator(_rising)]
Span = Annotated[tuple[Fraction, Fraction], Strict(False), AfterValidator(_rising)]


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, int) else value


StepChoices = Annotated[
    tuple[Steps, ...], Strict(False), Field(min_length=1), BeforeValidator(_listed)
]


def _unquoted(value: Any) -> Any:
    """Return what was meant by ``no``, which YAML reads as false."""
    return "no" if value is False else value


Precision = Annotated[Literal["auto", "no", "bf16", "fp16"], BeforeValidator(_unquoted)]

Representation = Literal["raw", "diff", "lcor", "gcor", "sgcor", "freql", "freqh", "learn"]


class Section(BaseModel):
    """Base of all sections: unknown keys, wrong types and non-finite numbers are refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )
