"""`edge-lstm example NAME`: one of the founding text's systems, run here and now from the model that ships."""

from __future__ import annotations

from pathlib import Path

import click

from edge_lstm.cli.common import check_writable, json_option, print_json, say, writing
from edge_lstm.examples import EXAMPLES, LANGUAGES

_EPILOG = "\b\n" + "\n".join(f"{name:14} {what}" for name, (_, what) in EXAMPLES.items())


@click.command(name="example", short_help="The founding text's systems: dinner, the children's book …", epilog=_EPILOG)
@click.argument("name", type=click.Choice(list(EXAMPLES)))
@click.option("--lang", type=click.Choice(LANGUAGES), default="en", show_default=True, help="English or Chinese.")
@click.option("--plot", "picture", type=click.Path(path_type=Path), help="Draw the picture here (.png, .svg, .pdf).")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="What is drawn by chance.")
@json_option
def command(name: str, lang: str, picture: Path | None, seed: int, as_json: bool) -> None:
    """Run an example with its trained model: its measured numbers, and its picture with --plot."""
    from edge_lstm.examples import run

    if picture is not None:
        from edge_lstm.plots.figure import check_plot

        check_plot(picture)
        check_writable(picture)
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
            say(f"{'图' if lang == 'zh' else 'picture'}: {picture}")
    for note in notes:
        say(note, as_json)
