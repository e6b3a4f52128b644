"""The site has pages and pictures from outside docs/: README, notes, results, benchmarks.

Links are written as they work in the repository. Here docs/ and the root become one folder.
"""

import pathlib

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[1]
PAGES = (
    "README.md",
    "BUILD_NOTES.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "benchmarks/README.md",
    "results/README.md",
    "results/search/README.md",
)


def on_files(files, config):
    """Adds the pages and the pictures of results/ to the site."""
    pictures = (path.relative_to(ROOT).as_posix() for path in (ROOT / "results").rglob("*.png"))
    for path in (*PAGES, *sorted(pictures)):
        file = File(path, str(ROOT), config.site_dir, config.use_directory_urls)
        if path == "README.md":
            file.dest_uri = "readme.html"  # index.html is that of docs/index.md
        files.append(file)
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links between docs/ and the rest into links within one folder."""
    path = page.file.src_uri
    up = "../" * path.count("/")
    if path in PAGES:
        return markdown.replace(f"]({up}docs/", f"]({up}")
    return markdown.replace(f"]({up}../", f"]({up}")
