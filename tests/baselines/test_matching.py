"""Features that are the same protein are found, by whatever name both platforms share, and no others."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import pandas as pd
import pytest

from cpivae.baselines.matching import matching_features, names_in_file, read_feature_map
from cpivae.data.adat import read_adat
from cpivae.data.example import write_somascan_example
from cpivae.data.readers import read_table
from cpivae.errors import DataError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.parametrize(
    ("a", "b", "match"),
    [
        ("IL8", "IL8", True),
        ("IL8|OID00471", "IL8|10000-28", True),
        ("il8|x", "IL8", True),
        ("P10145", "IL8_P10145", True),
        ("P10145|IL8", "10000-28;P10145", True),
        ("P29460, Q9NPF7", "IL12B|P29460", True),
        ("A0A024R161|x", "y|A0A024R161", True),
        ("IL8|P10145", "IL6|P05231", False),
        ("IL8|shared", "IL6|shared", False),
        ("IL8", "IL8R", False),
        ("XP10145X", "P10145", False),
        ("a0", "b0", False),
    ],
)
def test_what_matches(a: str, b: str, match: bool) -> None:
    assert matching_features({"a": [a], "b": [b]}) == ([(a, b)] if match else [])
    assert matching_features({"a": [b], "b": [a]}) == ([(b, a)] if match else [])


def test_a_protein_with_several_reagents_has_several_matches_each_once() -> None:
    found = matching_features({"a": ["IL8", "TNF"], "b": ["IL8|1", "TNF|1", "IL8|2", "IL8"]})
    assert found == [("IL8", "IL8|1"), ("IL8", "IL8|2"), ("IL8", "IL8"), ("TNF", "TNF|1")]


def test_the_annotation_of_an_adat_matches_its_seq_ids(tmp_path: Path) -> None:
    with as_file(files("somadata") / "data" / "example_data.adat") as path:
        names, seq_ids, uniprot = names_in_file(path), read_table(path).columns, read_adat(path).features["UniProt"]
    assert set(names) == set(seq_ids[(uniprot != "").to_numpy()])
    olink = ["crystallin_P43320", "nothing"]
    expected = [("crystallin_P43320", s) for s in seq_ids if uniprot[s] == "P43320"]
    assert expected
    assert matching_features({"a": olink, "b": seq_ids}) == []
    assert matching_features({"a": olink, "b": seq_ids}, {"a": {}, "b": names}) == expected
    (tmp_path / "x.csv").write_text("sample,IL8,TNF\nS1,1,2\n")
    assert names_in_file(tmp_path / "x.csv") == {}


def test_every_further_reagent_of_the_example_has_a_match(tmp_path: Path) -> None:
    written = write_somascan_example(tmp_path / "x")
    features = {p: read_table(written[p]).columns for p in "ab"}
    assert {a for a, _ in matching_features(features)} == set(features["a"])


@pytest.mark.parametrize("name", ["tcga_brca_array_vs_rnaseq", "zoodsma_radboud_olink_panels"])
def test_published_pairs_match_as_their_lists_say(name: str) -> None:
    if not (DATA / name).is_dir():
        pytest.skip("the published pairs are not on this machine")
    features = {p: read_table(DATA / name / f"platform_{p}.csv").columns for p in "ab"}
    listed = pd.read_csv(DATA / name / "feature_map.csv")
    expected = set(zip(listed["feature_a"], listed["feature_b"], strict=True))
    assert set(matching_features(features)) == expected
    assert set(read_feature_map(DATA / name / "feature_map.csv", features)) == expected


def test_a_list_of_matches_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text("n,feature_b,feature_a\n1,y,x\n2,z,x\n3,z,gone\n4,y,x\n")
    features = {"a": ["x", "w"], "b": ["y", "z"]}
    assert sorted(read_feature_map(tmp_path / "map.csv", features)) == [("x", "y"), ("x", "z")]
    (tmp_path / "first.tsv").write_text("feature_a\tfeature_b\nx\tz\n")
    assert read_feature_map(tmp_path / "first.tsv", features) == [("x", "z")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("feature_a,featureb\nx,y\n", r"no column 'feature_b'\. Did you mean 'featureb'\?"),
        ("feature_a,feature_b\nx,Y\n", r"has 1 rows, and none names a feature of both tables.*'x' and 'Y'"),
        ("feature_a,feature_b\n", r"header but no"),
        ("", r"empty"),
    ],
)
def test_a_list_that_cannot_be_used(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "map.csv").write_text(text)
    with pytest.raises(DataError, match=told):
        read_feature_map(tmp_path / "map.csv", {"a": ["x"], "b": ["y"]})
