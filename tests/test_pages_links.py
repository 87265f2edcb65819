"""Pages and docstrings point to what is there: links, headings, and files that are named in `code`.

Its rule: a link is relative to its page; a file in `code` may be written from the page's folder, or as the end of its
path in the tree (`streams/stream.py`), as people say it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("edge_lstm", "firmware_bridge", "tests", "tools")
FILES = sorted([p for p in ROOT.iterdir() if p.is_file()] + [p for f in FOLDERS for p in (ROOT / f).rglob("*.*")])
PAGES = [path for path in FILES if path.suffix == ".md"]
TEXTS = [path for path in FILES if path.suffix in (".md", ".py", ".c", ".h")]
ENDS = {"/".join(path.parts[-n:]) for path in FILES for n in range(1, len(path.relative_to(ROOT).parts) + 1)}


def place(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(page: str) -> str:
    """A page without its blocks of code, which hold brackets of other kinds."""
    return re.sub(r"(?ms)^```.*?^```|^    [^\n]*$", "", page)


def headings(page: str) -> Iterator[str]:
    """The anchors of a page's headings, as GitHub and GitLab make them."""
    seen: dict[str, int] = {}
    for title in re.findall(r"(?m)^#+ +(.*?) *$", prose(page)):
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        seen[anchor] = seen.get(anchor, -1) + 1
        yield anchor if not seen[anchor] else f"{anchor}-{seen[anchor]}"


def broken_links(page: Path) -> list[str]:
    """The links of a page that lead nowhere in the tree; those to other hosts are left alone."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in headings(target.read_text())):
            broken.append(link)
    return broken


def strange_files(path: Path) -> list[str]:
    """The files of code and pages that a text names in `code` and nobody finds."""
    named = re.findall(r"`((?:\.\./)*[\w\-./]*\w\.(?:py|md))`", path.read_text())
    return [name for name in named if name not in ENDS and not (path.parent / name).exists()]


def test_every_link_leads_somewhere() -> None:
    """Files, folders and headings that a page links to are in the tree."""
    assert len(PAGES) > 50
    assert not {place(page): broken for page in PAGES if (broken := broken_links(page))}


def test_every_file_that_is_named_is_there() -> None:
    """Files that a page, a docstring or a comment names."""
    assert len(TEXTS) > 900
    assert not {place(path): strange for path in TEXTS if (strange := strange_files(path))}


def test_broken_ones_would_be_seen(tmp_path: Path) -> None:
    """The guard itself: a file that is gone, a heading that is gone, and an old module; what stands in code is none."""
    page, gone = tmp_path / "PAGE.md", "edge_lstm/runtime" + ".py"
    page.write_text(
        "# One heading, `with` code\n\n[a](GONE.md) [b](#gone) [c](#one-heading-with-code) [d](https://example.org/x)\n"
        f"`streams/stream.py`, `{gone}`\n\n    x[k](GONE.md)\n"
    )
    assert broken_links(page) == ["GONE.md", "#gone"]
    assert strange_files(page) == [gone]
