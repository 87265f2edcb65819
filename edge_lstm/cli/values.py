"""What stands for a value in the help: `--rate HZ` teaches, `--rate FLOAT` does not.

Its rule: an option of one name takes the same kind of value in every command; the few that do not are here by their
command as well, or say their own `metavar`. Every option that takes a value is here: a test looks.
"""

from __future__ import annotations

import click

VALUES = {
    "--activations": "NAME,…",
    "--against": "FILE.onnx",
    "--ahead": "SECONDS",
    "--at": "SECONDS",
    "--bad": "FILE.npz",
    "--baud": "BAUD",
    "--calibrate": "LOG",
    "--channels": "NAMES",
    "--config": "ROBOT.toml",
    "--cpu": "CORE",
    "--dialect": "NAME",
    "--encoding": "NAME",
    "--end": "TIME",
    "--episode": "COLUMN",
    "--every": "SECONDS",
    "--expect": "TABLE.csv",
    "--fault-seed": "N",
    "--faults": "FAULT=RATE,…",
    "--feedback": "OUTPUT=INPUT",
    "--for": "SECONDS",
    "--foxglove": "PORT",
    "--from": "SECONDS",
    "--gates": "NAME",
    "--good": "FILE.npz",
    "--held-out": "LOG",
    "--host": "ADDRESS",
    "--ignore": "ARRAY",
    "--inputs": "LOG",
    "--jobs": "N",
    "--joints": "NAMES",
    "--keep": "LAYER",
    "--last": "SECONDS",
    "--link": "PATH",
    "--log": "LOG",
    "--longest-gap": "READINGS",
    "--max-age": "MS",
    "--missing": "POLICY",
    "--model": "FILE.npz",
    "--mqtt": "URL",
    "--name": "NAME",
    "--names": "NAMES",
    "--normalize": "FILE",
    "--order": "LAYERS",
    "--origin": "SITE",
    "--output": "FILE",
    "--outputs": "NAMES",
    "--plot": "PICTURE.png",
    "--plotjuggler": "HOST:PORT",
    "--port": "PORT",
    "--priority": "1…99",
    "--rate": "HZ",
    "--readings": "N",
    "--record": "FILE.mcap",
    "--report": "PAGE.html",
    "--root": "FOLDER",
    "--runs": "N",
    "--seconds": "SECONDS",
    "--seed": "N",
    "--set": "NAME=NUMBER",
    "--show": "NAMES",
    "--size": "NAME=SIZE",
    "--skip-lines": "N",
    "--speed": "TIMES",
    "--start": "TIME",
    "--state": "INPUT=OUTPUT",
    "--step": "N",
    "--steps": "N",
    "--teleplot": "HOST:PORT",
    "--test": "FILE.py",
    "--tick": "TOPIC",
    "--time": "COLUMN",
    "--time-axis": "AXIS",
    "--time-unit": "UNIT",
    "--to": "SECONDS",
    "--token-file": "FILE",
    "--tolerance": "SHARE",
    "--topic": "TOPIC",
    "--truth": "FILE.csv",
    "--user": "USER",
    "--wait": "SECONDS",
    "--where": "CONDITION",
    "--why": "REASON",
    "--window": "READINGS",
    "--within": "LIMIT",
    "--workers": "N",
    "bisect --tolerance": "DIFFERENCE",
    "explain --output": "FOLDER",
    "firmware --output": "MODEL.h",
    "gate --against": "OLD.npz",
    "import --output": "MODEL.npz",
    "init --from": "DEPLOY.yaml",
    "quantize --output": "MODEL.npz",
    "replay --output": "TABLE.csv",
    "shadow --model": "NAME",
    "shrink --output": "FILE.mcap",
    "simulate --from": "LOG",
    "state --model": "NAME",
    "storm --keep": "FOLDER",
    "swap --model": "NAME",
    "swap --within": "SECONDS",
}


HELP = ["-h", "--help"]


def taught(name: str, command: click.Command) -> click.Command:
    """The command with these words in its help, and those of a group with them in theirs."""
    if isinstance(command, click.Group):
        for inner, one in command.commands.items():
            taught(inner, one)
    if (asked := command.get_help_option(click.Context(command, help_option_names=HELP))) is not None:
        asked.callback = _show_help
    for option in command.params:
        if isinstance(option, click.Argument) and option.name == "config":
            option.metavar = VALUES["--config"] if option.required else f"[{VALUES['--config']}]"
        if isinstance(option, click.Option) and option.metavar is None and takes_words(option):
            spelled = option.opts[-1]
            option.metavar = VALUES.get(f"{name} {spelled}") or VALUES.get(spelled)
    return command


def _show_help(ctx: click.Context, option: click.Parameter, asked: bool) -> None:
    """As click does, but to the stream that the command has: click makes one in UTF-8 of its own where letters are
    ASCII."""
    if asked and not ctx.resilient_parsing:
        print(ctx.get_help())
        ctx.exit()


def takes_words(option: click.Option) -> bool:
    """Whether something must stand for its value: it is no flag, and its help does not list what it may be."""
    return not (option.is_flag or option.count or isinstance(option.type, click.Choice))
