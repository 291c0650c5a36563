"""Damaged and malicious files of every kind: a sentence or a correct table, never a traceback or a shifted column."""

from __future__ import annotations

import csv
import gzip
import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vendors import as_text, explore_rows, grid, manager_rows, real_adat, write_h5ad, write_workbook

from cpivae.data.cells import as_number
from cpivae.data.inspection import inspect_file
from cpivae.data.readers import read_measured, read_table
from cpivae.errors import DataError

pytestmark = pytest.mark.slow

LAB_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"

CASES = 260
"""Damaged copies of every file below ..."""
CASES_IN_PROCESS = 40
"""... and of those that are read in a process of their own, which takes a third of a second; together over 2,000."""

SCRATCH = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def manager_text() -> str:
    """The NPX Manager sheet saved as text."""
    rows = manager_rows()
    width = max(map(len, rows))
    text = io.StringIO()
    csv.writer(text, delimiter=";", lineterminator="\n").writerows(
        [["" if cell is None else cell for cell in row] + [""] * (width - len(row)) for row in rows]
    )
    return text.getvalue()


def in_bytes(write: Callable[[Path], object]) -> Callable[[Path], bytes]:
    def whole(folder: Path) -> bytes:
        write(folder / "whole")
        return (folder / "whole").read_bytes()

    return whole


def workbook(path: Path) -> None:
    write_workbook(path.with_suffix(".xlsx"), manager_rows())
    path.with_suffix(".xlsx").rename(path)


def damaged_inside(whole: bytes, rng: random.Random) -> bytes:
    """Damage the sheet of a workbook and pack it again, so that the archive's checksums agree with it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive, zipfile.ZipFile(packed, "w") as again:
        for name in archive.namelist():
            content = archive.read(name)
            again.writestr(
                name, damaged(content, rng) if name.endswith(("sheet1.xml", "sharedStrings.xml")) else content
            )
    return packed.getvalue()


def long_parquet(path: Path) -> None:
    pd.DataFrame(explore_rows()).astype({"NPX": float, "LOD": float}).to_parquet(path)


FILES: dict[str, Callable[[Path], bytes]] = {
    "wide.csv": lambda _: grid().to_csv().encode(),
    "wide.csv.gz": lambda _: gzip.compress(grid().to_csv().encode(), mtime=0),
    "wide.parquet": in_bytes(lambda path: grid().reset_index().to_parquet(path)),
    "long.csv": lambda _: as_text(explore_rows()).encode(),
    "long.parquet": in_bytes(long_parquet),
    "manager.xlsx": in_bytes(workbook),
    "manager_inside.xlsx": in_bytes(workbook),
    "manager.csv": lambda _: manager_text().encode(),
    "dense.h5ad": in_bytes(lambda path: write_h5ad(path, grid(), {"plate": list("PQPQPQPQ")})),
    "sparse.h5ad": in_bytes(lambda path: write_h5ad(path, grid(), kind="csr_matrix")),
    "real.adat": lambda _: real_adat().encode(),
}


def test_there_are_two_thousand_cases() -> None:
    assert sum(map(n_cases, FILES)) >= 2_000


def n_cases(name: str) -> int:
    return CASES_IN_PROCESS if name.endswith(".h5ad") else CASES


def answer(path: Path, read: Callable[[Path], object] = read_measured) -> object:
    """Read a file: what is read, or None where one sentence that names the file refuses it."""
    try:
        return read(path)
    except DataError as error:
        assert path.name in str(error)
        assert "\n" not in str(error)
        assert len(str(error)) < 1_500
        return None


def damaged(whole: bytes, rng: random.Random) -> bytes:
    content = bytearray(whole)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(content) or 1)
        match rng.randrange(6):
            case 0 if content:
                content[at] = rng.randrange(256)
            case 1 if content:
                content[at] ^= 1 << rng.randrange(8)
            case 2:
                del content[at : at + rng.randint(1, 8)]
            case 3:
                content[at:at] = rng.choice(
                    [b'"', b",", b";", b"\n", b"\r", b"\xff", b"\0", b"\t", b"-", b"\xef\xbb\xbf"]
                )
            case 4:
                content[at:at] = content[max(at - 40, 0) : at]
            case _:
                del content[max(at, 1) :]
    return bytes(content)


@pytest.mark.parametrize("name", FILES)
def test_damaged_bytes_are_refused_in_a_sentence_or_read_as_a_table(tmp_path: Path, name: str) -> None:
    whole = FILES[name](tmp_path)
    (tmp_path / name).write_bytes(whole)
    assert answer(tmp_path / name) is not None
    rng, refused = random.Random(name), 0
    for case in range(n_cases(name)):
        damage = damaged_inside if "inside" in name else damaged
        (tmp_path / name).write_bytes(damage(whole, rng))
        measured = answer(tmp_path / name)
        if case % 5 == 0:
            answer(tmp_path / name, inspect_file)
        if measured is None:
            refused += 1
            continue
        frame = measured.values
        assert min(frame.shape) > 0
        assert frame.index.is_unique
        assert frame.columns.is_unique
        assert set(frame.dtypes) == {np.dtype("float64")}
        assert not np.isinf(frame.to_numpy()).any()
        for mask in (measured.flagged, measured.below_lod):
            assert mask is None or mask.shape == frame.shape
    assert refused > n_cases(name) / 20


# ---------------------------------------------------------------------------------------------- shifted columns


def restructured(text: str, delimiter: str, rng: random.Random) -> str:
    """Change one thing that decides which cell is where: a delimiter, a line end, a quote, a cell, a line."""
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    cells = lines[at].split(delimiter)
    cell = rng.randrange(len(cells))
    match rng.randrange(7):
        case 0 if len(cells) > 1:  # two cells run into one
            cells[cell - 1 : cell + 1] = ["".join(cells[cell - 1 : cell + 1])]
        case 1:
            cells.insert(cell, "")
        case 2:
            del cells[cell]
        case 3:
            cells.insert(cell, cells[cell])
        case 4:
            cells[cell] = f'"{cells[cell]}'
        case 5:  # the line ends early
            lines.insert(at + 1, delimiter.join(cells[cell:]))
            cells = cells[:cell]
        case _:  # two lines run into one
            cells += lines.pop(at + 1).split(delimiter) if at + 1 < len(lines) else []
    lines[at] = delimiter.join(cells)
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("name", "delimiter"), [("wide.csv", ","), ("long.csv", ";"), ("manager.csv", ";"), ("real.adat", "\t")]
)
def test_no_value_comes_under_another_name(tmp_path: Path, name: str, delimiter: str) -> None:
    text = FILES[name](tmp_path).decode()
    path = tmp_path / name
    path.write_text(text)
    truth = read_table(path)
    rng, read = random.Random(name), 0
    for _ in range(300):
        path.write_text(restructured(text, delimiter, rng))
        measured = answer(path)
        if measured is None:
            continue
        read += 1
        found = measured.values
        known = found.loc[found.index.intersection(truth.index), found.columns.intersection(truth.columns)]
        same = known.isna() | (known == truth.loc[known.index, known.columns])
        assert same.to_numpy().all(), path.read_text()
    assert read < 150, "most changes of the structure show"


# ---------------------------------------------------------------------------------------------- any text at all

NASTY = [
    *(
        "",
        "NA",
        "NaN",
        "-",
        " ",
        "1",
        "-1.5",
        "+2",
        ".5",
        "5.",
        "1e3",
        "1E-3",
        "1,5",
        "1.234,5",
        "1 000",
        "1'000",
        "1_000",
    ),
    *(
        "=A1",
        "@x",
        '"',
        "x",
        " 1",
        "1 ",
        "\t1",
        "0x10",
        "inf",
        "-Infinity",
        "1e999",
        "１",
        "٣",
        "\u00a01",
        "TRUE",
        "1d",
        "1f",
    ),
    *("<LOD", "NULL", "#N/A", "1.5.2", "--1", "1-", "1e", "e5", "\ufeff1", "½"),
]


@given(
    header=st.lists(
        st.sampled_from(["id", "IL6", "TNF", "IL6 ", "il6", "", "NPX", "SampleID"]), min_size=1, max_size=4
    ),
    rows=st.lists(st.lists(st.sampled_from(NASTY), min_size=1, max_size=4), min_size=1, max_size=4),
    delimiter=st.sampled_from(",;\t"),
    start=st.sampled_from(["", "\ufeff", "\n", "\r\n"]),
)
@SCRATCH
def test_what_is_read_of_a_text_is_what_a_second_reader_finds(
    tmp_path: Path, header: list[str], rows: list[list[str]], delimiter: str, start: str
) -> None:
    text = start + "\n".join(delimiter.join(row) for row in [header, *rows]) + "\n"
    (tmp_path / "x.csv").write_bytes(text.encode())
    answer(tmp_path / "x.csv", inspect_file)
    measured = answer(tmp_path / "x.csv")
    if measured is None or not measured.origin.form.startswith("wide"):
        return
    delimiters = {"comma": ",", "semicolon": ";", "tab": "\t"}
    chosen = next(d for word, d in delimiters.items() if word in measured.origin.form)
    found = [row for row in csv.reader(io.StringIO(text.removeprefix("\ufeff")), delimiter=chosen) if row]
    assert measured.values.columns.tolist() == found[0][1:]
    assert measured.values.index.tolist() == [row[0] for row in found[1:]]
    numbers = [[as_number(cell) for cell in row[1:]] for row in found[1:]]
    np.testing.assert_array_equal(measured.values.to_numpy(), np.array(numbers, dtype=float))


@given(
    content=st.binary(max_size=300),
    head=st.sampled_from([b"", b"PAR1", b"PK\x03\x04", b"^HEADER\n"]),
)
@SCRATCH
def test_any_bytes_at_all(tmp_path: Path, content: bytes, head: bytes) -> None:
    (tmp_path / "x").write_bytes(head + content)
    answer(tmp_path / "x")
    answer(tmp_path / "x", inspect_file)


@given(order=st.permutations(range(32)), n_kept=st.integers(1, 32))
@SCRATCH
def test_a_long_export_in_any_order_and_with_gaps(tmp_path: Path, order: list[int], n_kept: int) -> None:
    rows = [explore_rows()[i] for i in order[:n_kept]]
    (tmp_path / "x.csv").write_text(as_text(rows))
    frame, truth = read_table(tmp_path / "x.csv"), grid()
    assert int(frame.notna().to_numpy().sum()) == n_kept
    assert (frame.isna() | (frame == truth.loc[frame.index, frame.columns])).to_numpy().all()


def test_damaged_tables_of_the_lab(tmp_path: Path) -> None:
    if not LAB_DATA.is_dir():
        pytest.skip("no lab data beside this checkout")
    for name in ("gisby_serum_olink/serum_npx_long.csv.gz", "gisby_serum_olink/platform_a.csv"):
        whole = (LAB_DATA / name).read_bytes()
        rng = random.Random(name)
        for _ in range(60):
            path = tmp_path / Path(name).name
            path.write_bytes(damaged(whole, rng))
            measured = answer(path)
            assert measured is None or measured.values.index.is_unique
