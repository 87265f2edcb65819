"""[recording] of robot.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_lstm.errors import ConfigError
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.recording import RecordingConfig
from firmware_bridge.recordings.limits import Limits

ROBOT = '[model]\nfile = "m.npz"\n[readings]\nformat = "r"\n[recording]\n'


def recording(text: str) -> RecordingConfig:
    return parse_config(ROBOT + text, "robot.toml", Path()).recording


def test_all_of_it_arrives() -> None:
    """Times in s, sizes in bytes."""
    found = recording(
        'directory = "out"\nrequired = true\nrotate = "100 MB"\nkeep = ["2 GB", "7 days"]\nfloor = "1 GB"\n'
        'compression = "zstd"\nkeyframe = "2 s"\nresume = "30 s"'
    )
    limits = Limits(None, 10**8, 2 * 10**9, 7 * 86400.0, 10**9)
    assert found == RecordingConfig("out", None, True, limits, "zstd", 2.0, 30.0)


def test_what_is_left_out_deletes_nothing() -> None:
    """A folder alone: one file a run, none goes, keyframes each 5 s, 100 MB of the disk stay free; a memory is not gone
    on with. Where something is kept, files follow each other."""
    found = recording('directory = "out"')
    assert found == RecordingConfig("out", limits=Limits(floor_bytes=10**8))
    assert (found.keyframe_s, found.resume_s, found.compression) == (5.0, None, "lz4")
    assert recording('directory = "out"\nkeep = "2 GB"').limits.rotate_s == 600.0
    assert recording('directory = "out"\nkeep = "7 days"\nrotate = "1 h"').limits == Limits(
        3600.0, None, None, 604800.0, 10**8
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "give either directory or file"),
        ('directory = "a"\nfile = "b"', "give either directory or file"),
        ('file = "b"\nrotate = "10 min"', "rotate: needs directory"),
        ('file = "b"\nkeep = "2 GB"', "keep: needs directory"),
        ('directory = "a"\nkeep = ["2 GB", "3 GB"]', "says two sizes: 2 GB, 3 GB"),
        ('directory = "a"\nkeep = ["2 h", "3 h"]', "says two times"),
        ('directory = "a"\nkeep = "1 MB"', "less than 50 MB"),
        ('directory = "a"\nrotate = "10"', 'must be a time ("10 min") or a size'),
        ('directory = "a"\nfloor = "10 min"', "must be a size such as"),
        ('directory = "a"\nkeyframe = "5"', "must be a time such as"),
        ('directory = "a"\nkeyframe = "1 ms"', "shorter than 0.1 s"),
        ('directory = "a"\nresume = 5', "must be text in quotes"),
        ('directory = "a"\ncompression = "gzip"', "'gzip' is unknown"),
        ('directory = "a"\nrotat = "10 min"', "rotate"),
    ],
)
def test_mistakes_name_the_key(text: str, words: str) -> None:
    """And say what to write."""
    with pytest.raises(ConfigError) as error:
        recording(text)
    assert words in str(error.value)
