"""`edge-lstm example NAME`: one of the founding text's systems, run here and now from the model that ships;
`edge-lstm example copy FOLDER`: the files that the pages go on with, brought to where one may change them.

Its rule: a copy overwrites nothing: a file that is there already, and is another one, ends it before it begins.
"""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Iterator
from pathlib import Path

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import (
    Commands,
    Failure,
    check_writable,
    json_option,
    note,
    print_json,
    said_after,
    say,
    writing,
)
from edge_lstm.cli.console import writes
from edge_lstm.examples import EXAMPLES, LANGUAGES

_OURS = Path(__file__).resolve().parents[1]
# folder of the copy → where its files are, which of them, what they are for
COPIED = {
    "tutorial": (_OURS / "tutorial", ("*.csv", "*.json", "*.onnx", "train.py"), "edge-lstm docs tutorial"),
    "robot": (_OURS / "examples", ("robot.toml", "slip_stall.*"), "edge-lstm docs example"),
    "recipes": (_OURS / "examples", ("slip_stall.npz", "robot_dropout.npz"), "edge-lstm docs recipes"),
    "firmware": (
        _OURS.parent / "firmware_bridge" / "c",
        ("*.[ch]", "library.properties", "examples/**/*"),
        "edge-lstm docs firmware",
    ),
}


class _Examples(Commands):
    noun = "example"


@click.group(
    cls=_Examples,
    name="example",
    short_help="The founding text's systems: dinner, the children's book …; files to copy.",
)
def command() -> None:
    """Run an example with its trained model: its measured numbers, and its picture with --plot. `copy` brings the files
    of the tutorial, of the example robot and of the firmware to a folder."""


def _example(name: str, what: str) -> click.Command:
    """The command of one example."""

    @click.command(name=name, short_help=what, help=f"{what[0].upper()}{what[1:]}.")
    @click.option("--lang", type=click.Choice(LANGUAGES), default="en", show_default=True, help="English or Chinese.")
    @click.option(
        "--plot", "picture", type=click.Path(path_type=Path), help="Draw the picture here (.png, .svg, .pdf)."
    )
    @click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="What is drawn by chance.")
    @json_option
    def run_it(lang: str, picture: Path | None, seed: int, as_json: bool) -> None:
        _run(name, lang, picture, seed, as_json)

    return run_it


for _name, (_, _what) in EXAMPLES.items():
    command.add_command(_example(_name, _what))


def _run(name: str, lang: str, picture: Path | None, seed: int, as_json: bool) -> None:
    from edge_lstm.examples import run

    if picture is not None:
        from edge_lstm.plots.figure import check_plot

        check_plot(picture)
        check_writable(picture)
    with said_after(f"{name}: running"):
        report = run(name, lang, seed)
    notes = []
    if picture is not None:
        from edge_lstm.examples.pictures import NO_FONT, label_language

        with writing(picture):
            report.picture(picture, lang)
        if label_language(lang) != lang:
            notes.append(NO_FONT)
    if as_json:
        print_json({"example": name, "seed": seed, **report.data})
    else:
        say(report.title)
        for line in report.lines:
            say(line)
        if picture is not None:
            say(f"{'图：' if lang == 'zh' else 'picture: '}{picture}")
    for one in notes:
        say(one, as_json)
    if lang == "zh" and not as_json and not writes("中文"):
        note("this terminal has no Chinese signs; LANG=C.UTF-8 before the command, where it can show them")


@command.command(short_help="The files of the tutorial, the example robot and the firmware, to a folder.")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def copy(folder: Path, as_json: bool) -> None:
    """Copy files to FOLDER, which is made where it is missing: tutorial/ (a log, its training script and what it
    exported), robot/ (the example robot's robot.toml and model), recipes/ (two models for those in Python) and
    firmware/ (the C files for a board).

    Nothing is overwritten: where one of the files is there already and is another one, nothing is copied.
    """
    wanted = [(source, folder / name / rest) for name in COPIED for source, rest in _files(name)]
    for source, target in wanted:
        if target.exists() and not (target.is_file() and filecmp.cmp(source, target, shallow=False)):
            raise Failure(
                codes.MEND,
                f"{target} is there already, and is another file; nothing was copied. Name another folder",
            )
    new = [target for _, target in wanted if not target.exists()]
    for source, target in wanted:
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            if target in new:
                shutil.copyfile(source, target)
    if as_json:
        print_json({"folder": str(folder), "files": [str(t) for _, t in wanted], "new": [str(t) for t in new]})
        return
    for name, (_, _, page) in COPIED.items():
        say(f"{folder / name}/: {', '.join(str(rest) for _, rest in _files(name))}   ({page})")
    if len(new) < len(wanted):
        say(f"{len(wanted) - len(new)} of {len(wanted)} were there already")


def _files(name: str) -> Iterator[tuple[Path, Path]]:
    """(source, place in the copy) of every file of one of the folders."""
    source, patterns, _ = COPIED[name]
    found = {path for pattern in patterns for path in source.glob(pattern) if path.is_file()}
    return ((path, path.relative_to(source)) for path in sorted(found))
