import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcm.errors import UserError
from mcm.settings.yaml_text import parse, to_yaml

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | TEXTS
    | st.sampled_from(["1e-5", "010", "1:30", "no", "0x1f", "~", ".5e3"]),
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)


@given(VALUES)
def test_values_come_back_of_the_same_kind(values: object) -> None:
    back = parse(to_yaml(values), "a text")
    assert back == values
    assert type(back) is type(values)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("-2E6", -2e6),
        (".5e3", 500.0),
        ("0x1f", 31),
        ("1_000", 1000),
        ("010", "010"),
        ("1:30", "1:30"),
        ("{a: &x {b: 1}, c: {<<: *x, d: 2}}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
    ],
)
def test_numbers_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert parse(text, "a text") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "here, line 2: not valid YAML: key 'a' is given twice"),
        ("{[1]: 2}", "here: not valid YAML: key [1] is no name"),
        ("[1", "here: not valid YAML: "),
        ("2026-13-01", "here: not valid YAML: "),
    ],
)
def test_what_is_no_yaml_names_its_place(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text, "here")
    assert str(caught.value).startswith(message)
