"""README, docs/ and notes as tests read them."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
_NAMES = ("BUILD_NOTES.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
NOTES = [ROOT / name for name in _NAMES]
PAGES = [ROOT / "README.md", *DOCS, *NOTES]
by_name = {"ids": lambda path: path.relative_to(ROOT).as_posix()}


def blocks(path: pathlib.Path) -> list[tuple[str, str]]:
    """(language, text) of every fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(), flags=re.DOTALL | re.MULTILINE)
