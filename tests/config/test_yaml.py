"""YAML as people mean it: numbers are numbers, a key stands once, and whatever is written reads back."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cpivae.config.yaml import dump_yaml, parse_yaml, read_yaml_mapping
from cpivae.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-8", 1e-8),
        ("1E5", 1e5),
        ("-1.5e+3", -1500.0),
        (".5", 0.5),
        ("3", 3),
        ("-3", -3),
        ("1_000", 1000),
        ("010", 10),  # octal in YAML 1.1
        ("08", 8),
        (".inf", float("inf")),
        ("true", True),
        ("on", True),
        ("off", False),
        ("no", False),
        ("~", None),
        ("", None),
        ("2024-01-31", "2024-01-31"),
        ("12:30", "12:30"),  # a number of base 60 in YAML 1.1
        ("1e", "1e"),
        ("'1e-8'", "1e-8"),
        ("0x1F", "0x1F"),
        ("[1, 1.0, one]", [1, 1.0, "one"]),
    ],
)
def test_scalars(text: str, value: object) -> None:
    parsed = parse_yaml(text, "text")
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3", "line 3, column 1: the key 'a' stands twice"),
        ("model: {x: 1, x: 1}", "line 1, column 15: the key 'x' stands twice"),
        ("a: [1, 2", "line 1, column 9"),
        ("a: b: c", "line 1, column 5: mapping values are not allowed here"),
        ("? [a]\n: 1", "line 1, column 3: found unhashable key"),
        ("{{a}}", "found unhashable key"),
        ("!!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("!!int x", "not valid YAML: invalid literal for int"),
        ("!!bool x", "not valid YAML"),
        ("!!timestamp x", "not valid YAML"),
        ("\x00", "not valid YAML: unacceptable character"),
        ("[" * 5000, "not valid YAML"),
    ],
)
def test_what_is_not_yaml(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "my.yaml")
    assert str(caught.value).startswith("my.yaml: ")
    assert expected in str(caught.value)
    assert len(caught.value.problems) == 1


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=8)
    | st.from_regex(r"[-+]?[0-9._]{1,4}([eE][-+]?[0-9]{1,3})?", fullmatch=True),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc1e-.", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(plain)
@settings(max_examples=200, deadline=None)
def test_plain_data_round_trips_with_its_types(data: object) -> None:
    assert repr(parse_yaml(dump_yaml(data), "dump")) == repr(data)


@given(st.floats(allow_nan=False))
@settings(deadline=None)
def test_numbers_are_numbers_to_other_yaml_readers_too(value: float) -> None:
    text = dump_yaml({"x": value})
    assert yaml.safe_load(text) == {"x": value}
    assert "!!" not in text


def test_short_lists_stand_on_one_line_and_keys_keep_their_order() -> None:
    assert dump_yaml({"z": [1, 2], "a": {"m": []}, "é": "µ"}) == "z: [1, 2]\na:\n  m: []\né: µ\n"


@given(st.text(max_size=40) | st.text("{}[]:,-? !&*'\"\n#|>%@a1", max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_is_parsed_or_answered(text: str) -> None:
    try:
        parse_yaml(text, "text")
    except ConfigError as error:
        assert error.problems[0]


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    for content, expected in (
        (b"", {}),
        (b"# nothing\n", {}),
        (b"\xef\xbb\xbfa: 1\n", {"a": 1}),
        (b"a: 1\r\n", {"a": 1}),
    ):
        path.write_bytes(content)
        assert read_yaml_mapping(path) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"- a\n- b\n", "the top level must be 'key: value' lines, not a list"),
        (b"text", "not a str"),
        (b"\xff\xfe\x00", "is not a text file in UTF-8"),
        (b"PK\x03\x04", "unacceptable character"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_yaml_mapping(tmp_path / "x.yaml")
    assert expected in str(caught.value)
    assert "x.yaml" in str(caught.value)


def test_folders_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder; a YAML file is needed"):
        read_yaml_mapping(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_yaml_mapping(tmp_path / "absent.yaml")
