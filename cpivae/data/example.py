"""A real pair to try everything on: 170 plasma samples from the ADAT file that the ``somadata`` package ships.

SomaScan measures some proteins with several SOMAmers (binding reagents).  The first SOMAmer of a protein goes to
platform b, every further one to platform a, so that the platforms share samples and biology but not reagents.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

import pandas as pd

from cpivae.data.adat import Adat, read_adat
from cpivae.data.readers import write_table
from cpivae.files import folder_written_whole, write_text

FILES: Final = {"a": "platform_a.csv", "b": "platform_b.csv", "samples": "samples.csv"}

_ANNOTATION: Final = ["Age", "Sex", "PlateId"]


def write_somascan_example(output_dir: Path) -> dict[str, Path]:
    """Write the two tables (log2 RFU) and the annotation of their samples into a new folder.

    Platform a has 170 samples x 258 features, platform b 170 x 4,721.  A feature is called by its gene symbol, which
    a biologist recognises, and its SeqId, which makes it unique: ``CRYBB2|10000-28``.

    Returns
    -------
    dict[str, Path]
        The files under ``a``, ``b`` and ``samples``.

    Raises
    ------
    FolderError
        ``output_dir`` is a file, or a folder with contents.
    """
    adat = somascan_example()
    with folder_written_whole(output_dir) as folder:
        for platform, frame in _platforms(adat).items():
            write_table(frame, folder / FILES[platform])
        annotation = adat.samples[_ANNOTATION].to_csv(lineterminator="\n")
        write_text(folder / FILES["samples"], annotation)
    return {key: output_dir / name for key, name in FILES.items()}


def somascan_example() -> Adat:
    """Read the file: 170 samples x 4,979 human proteins, log2 RFU, none missing."""
    with as_file(files("somadata") / "data" / "example_data.adat") as path:
        return read_adat(path)


def _platforms(adat: Adat) -> dict[str, pd.DataFrame]:
    """Divide the SOMAmers, in the order of the file, by whether their UniProt entry has occurred before.

    UniProt is taken as written: a complex such as ``P29460, Q9NPF7`` is a protein of its own, and so is the one SOMAmer
    without an entry.
    """
    names = adat.features["EntrezGeneSymbol"] + "|" + adat.features["SeqId"]
    named = adat.values.set_axis(pd.Index(names, dtype="str"), axis="columns")
    further = adat.features["UniProt"].duplicated().to_numpy(bool)
    return {"a": named.loc[:, further], "b": named.loc[:, ~further]}
