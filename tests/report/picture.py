"""Take the picture of a report that the README shows.

After the commands of docs/first_hour.md, up to its report:

    python tests/report/picture.py outputs_tune/first/report.html docs/images/report.png

``--dark`` takes it as it looks where people have chosen a dark theme, ``--tab`` of another tab than the overview.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from browser import Page, browser

WIDTH, HEIGHT = 1280, 700


def take(page: Page, report: Path, picture: Path, *, tab: str = "overview", dark: bool = False) -> None:
    """Show a tab of a report in a window, and write what is seen of it as PNG."""
    page.open(report, dark=dark, width=WIDTH, height=HEIGHT)
    page.tab(tab)
    page.screenshot(picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--tab", default="overview")
    parser.add_argument("--dark", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as profile, browser(Path(profile)) as page:
        take(page, given.report, given.picture, tab=given.tab, dark=given.dark)


if __name__ == "__main__":
    main()
