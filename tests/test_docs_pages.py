"""README and docs/ are short, complete and linked, and their code imports the package alone."""

import ast
import pathlib
import re

import pytest
import yaml
from pages import DOCS, PAGES, ROOT, blocks, by_name


def test_every_block_is_python_commands_or_the_layout():
    for path in PAGES:
        for language, text in blocks(path):
            first = text.split()[0]
            known = language in ("python", "toml") or first in (
                "make",
                "python",
                ".",
                "pip",
                "#",
                "metanet/data,",
            )
            assert known, f"{path.name}: {text}"


def test_the_layout_in_readme_is_that_of_the_repository():
    (layout,) = (text for _, text in blocks(ROOT / "README.md") if text.startswith("metanet/"))
    for line in layout.splitlines():
        first, *others = line.partition("   ")[0].split(", ")
        parent = pathlib.Path(first).parent
        for name in (first, *(other if "/" in other else parent / other for other in others)):
            assert (ROOT / name).is_dir(), name


def test_the_code_of_pages_imports_the_package_and_its_public_names():
    for path in PAGES:
        for text in (text for language, text in blocks(path) if language == "python"):
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    module = getattr(node, "module", None) or node.names[0].name
                    assert module.split(".")[0] not in ("experiments", "benchmarks", "tests")
                    assert not any(alias.name.startswith("_") for alias in node.names)


def test_readme_is_two_screens():
    assert len((ROOT / "README.md").read_text().split()) <= 900


def anchors(path: pathlib.Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", path.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w]+", "-", head.lower()).strip("-") for head in heads}


@pytest.mark.parametrize("path", PAGES, **by_name)
def test_no_link_of_a_page_is_broken(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_every_page_is_in_the_navigation():
    def leaves(item):
        if isinstance(item, str):
            return [item]
        return [leaf for one in (item.values() if isinstance(item, dict) else item)
                for leaf in leaves(one)]  # fmt: skip

    listed = set(leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert {path.relative_to(ROOT / "docs").as_posix() for path in DOCS} <= listed
    assert all((ROOT / "docs" / path).exists() or (ROOT / path).exists() for path in listed)


def test_nobody_is_told_to_install_the_package_index_s_metanet():
    folders = [ROOT / name for name in ("metanet", "experiments", "configs", "examples")]
    sources = [path for folder in folders for path in folder.rglob("*.*") if path.is_file()]
    texts = [path for path in sources if path.suffix in (".py", ".md", ".ipynb")]
    for path in (*PAGES, *texts):
        assert not re.search(r"pip install '?metanet", path.read_text()), path
