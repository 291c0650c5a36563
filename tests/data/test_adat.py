"""The vendor's format, on a small file in its layout."""

import logging
import warnings
from pathlib import Path

import numpy as np
import pytest

from cpivae.data.adat import read_adat
from cpivae.data.readers import read_table
from cpivae.errors import DataError

ROWS = [["1", "Sample", "F"], ["C", "Calibrator", ""], ["02", "Sample", "M"], ["B", "Buffer", ""]]
RFU = [[8, 16, 2, 4], [9, 9, 9, 9], [1, 0, 5, -3], [7, 7, 7, 7]]


def adat(rows: list[list[str]] = ROWS, rfu: list[list[float]] = RFU, *, seq_id: str = "SeqId") -> str:
    columns = [
        [seq_id, "10-1", "11-2", "12-3", "13-4"],
        ["UniProt", "P1", "P2", "P3", "P4"],
        ["Organism", "Human", "Mouse", "Human", "Human"],
        ["Type", "Protein", "Protein", "Spuriomer", "Protein"],
    ]
    lines = [
        ["!Checksum", "0"],
        ["^HEADER"],
        ["!Version", "1.2"],
        ["^COL_DATA"],
        ["!Name", *(c[0] for c in columns)],
        ["!Type", *["String"] * 4],
        ["^ROW_DATA"],
        ["!Name", "SampleId", "SampleType", "Sex"],
        ["!Type", *["String"] * 3],
        ["^TABLE_BEGIN"],
        *([*[""] * 3, *c] for c in columns),
        ["SampleId", "SampleType", "Sex", *[""] * 5],
        *([*row, "", *map(str, values)] for row, values in zip(rows, rfu, strict=True)),
    ]
    return "".join("\t".join(line) + "\r\n" for line in lines)


def test_clinical_samples_and_human_proteins_as_log2(tmp_path: Path) -> None:
    (tmp_path / "x.adat").write_text(adat(), newline="")
    frame = read_table(tmp_path / "x.adat")
    assert (frame.index.tolist(), frame.index.name) == (["1", "02"], "SampleID")
    assert frame.columns.tolist() == ["10-1", "13-4"]
    np.testing.assert_array_equal(frame.to_numpy(), [[3, 2], [0, np.nan]])


def test_annotation_follows_the_rows_and_columns(tmp_path: Path) -> None:
    (tmp_path / "x.adat").write_text(adat(), newline="")
    content = read_adat(tmp_path / "x.adat")
    assert content.samples["Sex"].to_dict() == {"1": "F", "02": "M"}
    assert content.features["UniProt"].to_dict() == {"10-1": "P1", "13-4": "P4"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            adat()[:-6],
            "line 19: the table is 8 cells wide, this line 6. It is the last line: the file was probably cut",
        ),
        (adat()[: adat().index("^TABLE")], "lacks the sample annotation SampleId, SampleType; it was probably cut off"),
        (adat()[:20], "lacks the sample annotation"),
        (adat().replace("\t16\t", "\tlow\t"), "cannot be read as ADAT: could not convert string to float: 'low'"),
        (adat().replace("\t8\t", "\tinf\t"), "row 1 (sample '1'), column '10-1': 'inf' is infinite"),
        (adat().replace("Human", "Rat"), "has no column of Organism 'Human' and Type 'Protein'"),
        (adat(ROWS[1::2], RFU[1::2]), "has no row of SampleType 'Sample'; it has Calibrator, Buffer"),
        (adat(ROWS[:1] * 2, RFU[:2]), "1 sample id occurs more than once: 1"),
        (adat([["", "Sample", "F"]], RFU[:1]), "the sample id in row 1 is blank"),
        (adat(seq_id="Sequence"), "lacks the protein annotation SeqId"),
    ],
)
def test_unusable_files(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "x.adat").write_text(content, newline="")
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / "x.adat")
    assert expected in str(caught.value)
    assert "x.adat" in str(caught.value)


def test_transpose_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.adat").write_text(adat(), newline="")
    with pytest.raises(DataError, match="an ADAT always has its samples in rows"):
        read_table(tmp_path / "x.adat", transpose=True)


def test_the_vendor_stays_silent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    v3 = adat().replace("10-1", "10000-1_3").replace("11-2", "11000-2_3").replace("12-3", "12000-3_3")
    (tmp_path / "x.adat").write_text(v3.replace("13-4", "13000-4_3"), newline="")
    monkeypatch.setattr(logging.root, "handlers", [])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert read_table(tmp_path / "x.adat").columns.tolist() == ["10000-1", "13000-4"]
    assert seen == []
    assert caplog.text == ""
    assert logging.root.handlers == []
    assert logging.root.manager.disable == logging.NOTSET
