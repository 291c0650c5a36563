"""The example that the package ships: a real pair, of the documented size."""

from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cpivae.data.adat import Adat, read_adat
from cpivae.data.example import write_somascan_example
from cpivae.data.tables import Pair, read_groups, read_pair
from cpivae.errors import FolderError


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_somascan_example(tmp_path_factory.mktemp("example") / "new" / "folder")


@pytest.fixture(scope="module")
def pair(example: dict[str, Path]) -> Pair:
    return read_pair({p: example[p] for p in "ab"})


@pytest.fixture(scope="module")
def adat() -> Adat:
    with as_file(files("somadata") / "data" / "example_data.adat") as path:
        return read_adat(path)


def test_the_folder_holds_the_three_files(example: dict[str, Path]) -> None:
    assert set(example) == {"a", "b", "samples"}
    assert sorted(example["a"].parent.iterdir()) == sorted(example.values())


def test_the_pair_has_the_documented_size(pair: Pair) -> None:
    assert pair.join_report() == [
        "platform a: 170 samples x 258 features (platform_a.csv)",
        "platform b: 170 samples x 4721 features (platform_b.csv)",
        "170 shared samples",
    ]
    assert not any(frame.isna().to_numpy().any() for frame in pair.frames.values())


def test_every_human_protein_is_on_one_platform_with_its_own_values(pair: Pair, adat: Adat) -> None:
    both = pd.concat(list(pair.frames.values()), axis="columns")
    both.columns = both.columns.str.rsplit("|", n=1).str[1]
    pd.testing.assert_frame_equal(both[adat.values.columns], adat.values, check_exact=True)


def test_platform_b_has_the_first_reagent_of_every_protein(pair: Pair, adat: Adat) -> None:
    uniprot = {p: adat.features.loc[f.columns.str.rsplit("|", n=1).str[1], "UniProt"] for p, f in pair.frames.items()}
    assert uniprot["b"].is_unique
    assert set(uniprot["a"]) < set(uniprot["b"])
    order = {seq_id: i for i, seq_id in enumerate(adat.features.index)}
    first = {protein: order[seq_id] for seq_id, protein in uniprot["b"].items()}
    assert all(order[seq_id] > first[protein] for seq_id, protein in uniprot["a"].items())


def test_names_are_gene_symbol_and_seq_id(pair: Pair) -> None:
    names = [*pair.frames["a"].columns, *pair.frames["b"].columns]
    assert "CRYBB2|10000-28" in names
    assert len(set(names)) == len(names) == 4979
    assert all(symbol for symbol, _ in (name.rsplit("|", 1) for name in names))


def test_the_rows_of_both_platforms_are_the_same_people(pair: Pair, adat: Adat) -> None:
    """Two reagents for one protein agree strongly (r > 0.5) for about 30 % of the proteins; none by chance."""
    b_of = {adat.features.loc[name.rsplit("|", 1)[1], "UniProt"]: name for name in pair.frames["b"].columns}
    partners = [b_of[adat.features.loc[name.rsplit("|", 1)[1], "UniProt"]] for name in pair.frames["a"].columns]
    a = pair.frames["a"].to_numpy()
    b = pair.frames["b"][partners].to_numpy()
    assert (_correlations(a, b) > 0.5).mean() > 0.25
    assert (_correlations(a, np.roll(b, 1, axis=0)) > 0.5).mean() < 0.02


def _correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = ((x - x.mean(axis=0)) / x.std(axis=0) for x in (a, b))
    return (a * b).mean(axis=0)


def test_the_samples_table_can_group(example: dict[str, Path], pair: Pair) -> None:
    ids = pair.frames["a"].index
    assert read_groups(example["samples"], "PlateId", ids).value_counts().tolist() == [85, 85]
    assert set(read_groups(example["samples"], "Sex", ids)) == {"F", "M"}
    assert read_groups(example["samples"], "Age", ids).astype(int).between(18, 100).all()


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FolderError, match=r"notes\.txt"):
        write_somascan_example(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
