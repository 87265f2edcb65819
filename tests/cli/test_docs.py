"""`edge-lstm docs`: every page that comes with the program is on the index once, and shown by its name."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

import edge_lstm
from edge_lstm.cli import codes, docs, main

ROOT = Path(edge_lstm.__file__).parents[1]


def test_the_index_is_whole() -> None:
    """Every page of both packages, README.md and CHANGELOG.md, and nothing twice; each is there."""
    known = docs.pages()
    there = [path for package in ("edge_lstm", "firmware_bridge") for path in (ROOT / package).rglob("*.md")]
    wanted = Counter(str(path) for path in [*there, ROOT / "README.md", ROOT / "CHANGELOG.md"] if path != docs.INDEX)
    assert Counter(page.path for page in known.values()) == wanted
    rows = [line for line in docs.INDEX.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert len(rows) == len(known), "a name stands twice, or a row is not one"


def test_a_list_a_page_and_a_path(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a name all pages with a line each; with one its text as it is in the file, or where that is."""
    assert main(["docs"]) == codes.DONE
    listed = capsys.readouterr().out
    for name, page in docs.pages().items():
        assert f"  {name} " in listed
        assert page.about in listed
    path = ROOT / "edge_lstm" / "logs" / "CSV.md"
    assert main(["docs", "csv"]) == codes.DONE
    assert capsys.readouterr().out == path.read_text(encoding="utf-8")
    assert main(["docs", "csv", "--path"]) == codes.DONE
    assert capsys.readouterr().out == f"{path}\n"
    assert main(["docs", "--path"]) == codes.DONE
    assert capsys.readouterr().out == f"{docs.INDEX}\n"


def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The index as a list of records, a page as one of them with its text."""
    assert main(["docs", "--json"]) == codes.DONE
    (first, *_) = json.loads(capsys.readouterr().out)["pages"]
    assert first["name"] == "readme"
    assert main(["docs", "glossary", "--json"]) == codes.DONE
    page = json.loads(capsys.readouterr().out)
    assert page["text"].startswith("# Glossary")
    assert page["group"] == "To begin with"


def test_a_misspelt_name(capsys: pytest.CaptureFixture[str]) -> None:
    """Is answered with the nearest one."""
    assert main(["docs", "tutrial"]) == codes.MEND
    assert "did you mean 'tutorial'? (edge-lstm docs lists them)" in capsys.readouterr().err


def test_a_link_of_a_page_stands_for_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    """In a terminal nobody can follow "../logs/CSV.md", so it may be typed; every link between our pages leads to the
    page, but for a bare README.md or README.zh.md, which is many: they are named."""
    known = docs.pages()
    by_path = {page.path: page for page in known.values()}
    for page in known.values():
        for link in re.findall(r"\]\(([\w./-]+\.md)\b", Path(page.path).read_text(encoding="utf-8")):
            target = by_path.get(str((Path(page.path).parent / link).resolve()))
            if target and link.lstrip("./") not in ("README.md", "README.zh.md"):
                assert docs.found(link, known) == target
    assert main(["docs", "../logs/CSV.md#units", "--path"]) == codes.DONE
    assert capsys.readouterr().out == f"{ROOT / 'edge_lstm' / 'logs' / 'CSV.md'}\n"
    assert main(["docs", "README.md"]) == codes.MEND
    assert "README.md is the file of several pages: readme, tutorial," in capsys.readouterr().err


def test_a_link_does_not_depend_on_the_folder_in_which_the_project_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout that is called "daemon": its README is no page of the daemon's."""
    monkeypatch.setattr(docs, "INDEX", tmp_path / "daemon" / "edge_lstm" / "PAGES.md")
    paths = {"readme": "daemon/README.md", "operating": "daemon/edge_lstm/daemon/README.md"}
    known = {name: docs.Page(name, name, str(tmp_path / path), "", "") for name, path in paths.items()}
    known["elsewhere"] = docs.Page("elsewhere", "", "/usr/share/daemon/README.md", "", "")
    assert docs.found("../daemon/README.md", known) is known["operating"]


def test_pages_beside_the_packages_are_found_where_a_wheel_puts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """README.md of an installation is that of share/doc, and never a stranger's beside the packages."""
    packages, ours = tmp_path / "lib", tmp_path / "share/doc/edge-lstm/README.md"
    for file in (packages / "edge_lstm" / "PAGES.md", packages / "README.md", ours):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(docs.INDEX.read_text(encoding="utf-8"), encoding="utf-8")
    info = packages / "edge_lstm-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edge-lstm\nVersion: 1\n")
    (info / "RECORD").write_text("edge_lstm/PAGES.md,,\n../share/doc/edge-lstm/README.md,,\n")
    monkeypatch.syspath_prepend(packages)
    monkeypatch.setattr(docs, "INDEX", packages / "edge_lstm" / "PAGES.md")
    assert docs.pages()["readme"].path == str(ours)
