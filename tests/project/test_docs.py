# SPDX-License-Identifier: Apache-2.0
"""The documents: each page is in the site's navigation, and every link leads somewhere."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs.manual.pages import site_pages
from tests.project.source_tree import ROOT, parsed, source_files

DOCS = ROOT / "docs"
SITE = tomllib.loads((DOCS / "zensical.toml").read_text("utf-8"))["project"]
#: What `make docs` puts beside the pages of docs/.
GENERATED = {f"reference/{name}": text for name, text in site_pages().items()}
COPIED = {name: (ROOT / name).read_text("utf-8") for name in ("SECURITY.md", "CHANGELOG.md")}
PAGES = {
    **{str(path.relative_to(DOCS)): path.read_text("utf-8") for path in DOCS.rglob("*.md")},
    **GENERATED,
    **COPIED,
}
_LINK = re.compile(r"!?\[[^][]*\]\(([^()\s]+)\)")
_NAMED_SECTION = re.compile(r'`docs/([^`]+\.md)`, "([^"]+)"')
_CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]*`", re.M | re.S)


def links(text: str) -> Iterator[str]:
    """Where a page leads to within the project."""
    for target in _LINK.findall(_CODE.sub("", text)):
        if not target.startswith(("http://", "https://", "mailto:")):
            yield target


def anchors(text: str) -> set[str]:
    """Of its headings, as the site and the forges make them."""
    titles = re.findall(r"^#+ +(.+)$", _CODE.sub(lambda m: m[0].strip("`"), text), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def navigation(entries: object) -> Iterator[str]:
    """The pages that it names, at any depth."""
    if isinstance(entries, str):
        yield entries
    elif isinstance(entries, dict):
        for inner in entries.values():
            yield from navigation(inner)
    elif isinstance(entries, list):
        for inner in entries:
            yield from navigation(inner)


def test_every_page_is_in_the_navigation() -> None:
    """Once, and nothing else is: a new page has its place in docs/zensical.toml."""
    named = list(navigation(SITE["nav"]))
    assert sorted(named) == sorted(PAGES), "write the page's place into nav of docs/zensical.toml"


@pytest.mark.parametrize("page", sorted(PAGES))
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    """To a page of the site and a heading of it, or to a file of docs/."""
    for link in links(PAGES[page]):
        path, _, anchor = link.partition("#")
        target = str((DOCS / page).parent.joinpath(path).resolve().relative_to(DOCS.resolve()))
        if not path:
            target = page
        assert target in PAGES or (DOCS / target).is_file(), f"{page}: {link} leads nowhere"
        if anchor:
            assert anchor in anchors(PAGES[target]), f"{page}: no such heading: {link}"


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md", "CHANGELOG.md"])
def test_every_link_of_the_project_leads_somewhere(name: str) -> None:
    """Read where it lies, in the checkout or on a forge."""
    for link in links((ROOT / name).read_text("utf-8")):
        path, _, anchor = link.partition("#")
        assert (ROOT / path).exists(), f"{name}: {link} leads nowhere"
        if anchor:
            assert anchor in anchors((ROOT / path).read_text("utf-8")), f"{name}: {link}"


@pytest.mark.parametrize("page", sorted(PAGES))
def test_every_section_that_is_named_in_words_exists(page: str) -> None:
    """SECURITY.md is read outside of the site too, so it names a heading without a link."""
    for path, heading in _NAMED_SECTION.findall(PAGES[page]):
        titles = re.findall(r"^#+ +(.+)$", PAGES[path], re.M)
        assert heading in titles, f"{page}: docs/{path} has no section {heading!r}"


def test_every_file_that_is_named_exists() -> None:
    """Of the source, as docs and README name it between backticks."""
    named = re.compile(r"`((?:backlotfs|tests|docs|benchmarks|systemd)/[\w/@.-]+\.\w+)`")
    for page in [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "SECURITY.md"]:
        for path in named.findall(page.read_text("utf-8")):
            assert (ROOT / path).exists(), f"{page.name} names {path}, which is not there"


def test_every_class_that_the_architecture_names_exists() -> None:
    """Between backticks and in the picture; a class that is renamed takes its page along."""
    trees = (parsed(path) for path in source_files("backlotfs"))
    defined = {
        node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    }
    for page in [DOCS / "architecture.md", *(DOCS / "architecture").glob("*.md")]:
        text = page.read_text("utf-8")
        picture = "".join(re.findall(r"^```\n.*?^```", text, re.M | re.S))
        named = re.findall(r"`([A-Z][a-z]\w*)`", text) + re.findall(
            r"\b[A-Z][a-z]+[A-Z]\w+", picture
        )
        gone = sorted(set(named) - defined)
        assert not gone, f"{page.name} names classes that are not there: {gone}"


def test_the_rules_see_something() -> None:
    """Links, anchors and pages are found, and a wrong one would be."""
    assert len(PAGES) > 20
    assert sum(len(list(links(text))) for text in PAGES.values()) > 20
    assert list(links("[a](b.md) `[c](d.md)` [e](https://f)")) == ["b.md"]
    assert anchors("# mount(8), fstab\n## `backlotfs warm PATH… [--jobs N]`\n") >= {"mount8-fstab"}
    assert not Path(DOCS / "nowhere.md").exists()
