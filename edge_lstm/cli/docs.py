"""`edge-lstm docs [NAME]`: the pages that come with the program, also where only a wheel was installed.

Its rule: which pages there are stands on one page, edge_lstm/PAGES.md, and is read from there. The pages beside the
packages (README.md, CHANGELOG.md) are at the top of a checkout, and below share/doc of an installation.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import Failure, json_option, print_json, say

INDEX = Path(__file__).resolve().parents[1] / "PAGES.md"
_ROW = re.compile(r"\| `(?P<name>[\w-]+)` \| \[(?P<title>[^\]]+)\]\((?P<link>[^)]+)\) \| (?P<about>.+?) \|")


@dataclass(frozen=True)
class Page:
    """One page: what it is called here, its title, where it is, what is there, under which heading of the index."""

    name: str
    title: str
    path: str
    about: str
    group: str


def pages() -> dict[str, Page]:
    """Every page by its name, in the order of the index."""
    found: dict[str, Page] = {}
    group = ""
    for line in INDEX.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            group = line.removeprefix("## ")
        elif row := _ROW.fullmatch(line):
            name = row["name"]
            found[name] = Page(name, row["title"], str(_place(row["link"])), row["about"], group)
    return found


def _place(link: str) -> Path:
    """The file that a link of the index leads to."""
    path = (INDEX.parent / link).resolve()
    top = INDEX.parents[1]
    if path.parent != top or (top / "pyproject.toml").is_file():
        return path
    from importlib.metadata import PackageNotFoundError, files

    try:
        installed = files("edge-lstm") or []
    except PackageNotFoundError:
        installed = []
    ours = (file.locate() for file in installed if file.match(f"share/doc/edge-lstm/{path.name}"))
    return next((Path(str(file)).resolve() for file in ours), path)


def _parts(page: Page) -> tuple[str, ...]:
    """Of its way in the project, wherever that lies; of a page that is installed elsewhere its file's name."""
    path, top = Path(page.path), INDEX.parents[1]
    return path.relative_to(top).parts if path.is_relative_to(top) else (path.name,)


def found(name: str, known: Mapping[str, Page]) -> Page:
    """The page that is meant: by its name, or as another page links to it ("../logs/CSV.md#times"), as far as that is
    one page's alone. Raises Failure with what could be meant."""
    if name in known:
        return known[name]
    wanted = [part for part in name.partition("#")[0].split("/") if part not in ("", ".", "..")]
    meant = [page for page in known.values() if wanted and list(_parts(page)[-len(wanted) :]) == wanted]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise Failure(codes.MEND, f"{name} is the file of several pages: {', '.join(page.name for page in meant)}")
    from edge_lstm.errors import nearest

    raise Failure(codes.MEND, f"there is no page {name!r}{nearest(name, known)} (edge-lstm docs lists them)")


@click.command(name="docs", short_help="The pages that come with the program: a list, or one of them.")
@click.argument("name", required=False)
@click.option("--path", "as_path", is_flag=True, help="Print where the page's file is, not the page.")
@json_option
def command(name: str | None, as_path: bool, as_json: bool) -> None:
    """List the pages that come with the program, or show the page NAME, on a terminal by $PAGER.

    A link on a page may stand for the name: edge-lstm docs ../logs/CSV.md
    """
    known = pages()
    if name is None:
        if as_path:
            say(str(INDEX))
        elif as_json:
            print_json({"pages": [asdict(page) for page in known.values()]})
        else:
            _list(known)
        return
    page = found(name, known)
    if as_path:
        say(page.path)
        return
    text = Path(page.path).read_text(encoding="utf-8")
    if as_json:
        print_json(asdict(page) | {"text": text})
    elif sys.stdout.isatty():
        click.echo_via_pager(text)
    else:
        print(text, end="")


def _list(known: dict[str, Page]) -> None:
    group = ""
    for page in known.values():
        if page.group != group:
            say(f"{'' if not group else chr(10)}{page.group}")
            group = page.group
        say(f"  {page.name:16} {page.about}")
    say("\nedge-lstm docs NAME shows one, and so does a link that stands on a page: edge-lstm docs ../logs/CSV.md")
    say("edge-lstm example copy FOLDER brings the tutorial's files")
