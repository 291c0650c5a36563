"""Features that are the same protein are found, by whatever name both platforms share, and no others."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import pandas as pd
import pytest
from vendors import as_text, explore_rows, real_adat

from cpivae.baselines.matching import matching_features, names_in_file, read_feature_map
from cpivae.config.schema import DataSettings
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
        names, seq_ids, annotation = names_in_file(path), read_table(path).columns, read_adat(path).features
    uniprot, genes = annotation["UniProt"], annotation["EntrezGeneSymbol"]
    assert set(names) == set(seq_ids[((uniprot != "") | (genes != "")).to_numpy()])
    olink = ["crystallin_P43320", "nothing"]
    expected = [("crystallin_P43320", s) for s in seq_ids if uniprot[s] == "P43320"]
    assert expected
    assert matching_features({"a": olink, "b": seq_ids}) == []
    assert matching_features({"a": olink, "b": seq_ids}, {"a": {}, "b": names}) == expected
    by_gene = matching_features({"a": ["CRYBB2", "raf1", "IL12B", "RAF"], "b": seq_ids}, {"b": names})
    assert by_gene == [
        *(("CRYBB2", s) for s in seq_ids if genes[s] == "CRYBB2"),
        *(("raf1", s) for s in seq_ids if genes[s] == "RAF1"),
        *(("IL12B", s) for s in seq_ids if "IL12B" in genes[s].split()),
    ]
    assert {a for a, _ in by_gene} == {"CRYBB2", "raf1", "IL12B"}
    assert any(" " in genes[s] for a, s in by_gene if a == "IL12B"), "a complex, such as IL12A IL12B"
    (tmp_path / "x.csv").write_text("sample,IL8,TNF\nS1,1,2\n")
    assert names_in_file(tmp_path / "x.csv") == {}


def test_a_table_of_gene_names_and_an_olink_export_match_an_adat(tmp_path: Path) -> None:
    """By gene symbol the one, by UniProt the other, whose assays have names of their own."""
    (tmp_path / "x.adat").write_text(real_adat())
    first = read_adat(tmp_path / "x.adat").samples.index[0]
    (tmp_path / "x.adat").write_text(real_adat().replace(f"\t{first}\t", f"\t{first} \t", 1))
    annotation = read_adat(tmp_path / "x.adat").features
    crystallin, kinase = (annotation.index[annotation["EntrezGeneSymbol"] == gene][0] for gene in ("CRYBB2", "RAF1"))
    (tmp_path / "x.csv").write_text("sample,CRYBB2,RAF1,NOBODY\nS1,1,2,3\n")
    assays = {"IL6": "beta crystallin", "TNF": "c-Raf"}
    accessions = {"IL6": annotation.loc[crystallin, "UniProt"], "TNF": annotation.loc[kinase, "UniProt"]}
    rows = [row for row in explore_rows() if row["Panel"] == "Inflammation"]
    rows = [{**row, "Assay": assays[row["Assay"]], "UniProt": accessions[row["Assay"]]} for row in rows]
    (tmp_path / "npx.csv").write_text(as_text(rows))
    for name, of_a in (("x.csv", ["CRYBB2", "RAF1"]), ("npx.csv", ["beta crystallin|OID20101", "c-Raf|OID20074"])):
        paths = {"a": tmp_path / name, "b": tmp_path / "x.adat"}
        more = {p: names_in_file(path, DataSettings(strip_ids=True)) for p, path in paths.items()}
        assert more["b"] == names_in_file(paths["b"])
        features = {p: read_table(path).columns for p, path in paths.items()}
        assert matching_features(features, more) == [(of_a[0], crystallin), (of_a[1], kinase)]


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
