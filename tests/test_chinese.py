"""The pages in Chinese, beside those in English that they follow."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "edge_lstm/README.zh.md",
    "edge_lstm/tutorial/README.md": "edge_lstm/tutorial/README.zh.md",
}
COMMANDS = ("cd", "edge-lstm", "python", "sudo", "tools/")
both = pytest.mark.parametrize(("english", "chinese"), PAGES.items())


def text_of(name: str) -> str:
    """A page, without the map of the tree."""
    return re.sub(r"(?s)\n## The map\n.*", "", (ROOT / name).read_text(encoding="utf-8"))


def commands(page: str) -> list[str]:
    """The lines to be typed, without what is said beside them."""
    lines = re.findall(r"(?m)^    (\S.*)$", page)
    return [re.split(r"\s+# ", line)[0] for line in lines if line.startswith(COMMANDS)]


def code(page: str) -> list[str]:
    """The blocks of Python and TOML, without comments."""
    blocks = re.findall(r"(?ms)^```(?:python|toml)\n(.*?)^```", page)
    return [re.sub(r"(?m)\s*#.*$", "", block) for block in blocks]


def named(page: str) -> set[str]:
    """The commands, options and files that stand within sentences."""
    prose = re.sub(r"(?ms)^```.*?^```|^    [^\n]*$", "", page)
    words = re.findall(r"`([^`]+)`", re.sub(r"\s+", " ", prose))
    return {word for word in words if word.startswith(("edge-lstm", "tools/", "--")) or word.endswith((".toml", ".py"))}


@both
def test_both_languages_name_the_same_commands(english: str, chinese: str):
    """Line by line those to be typed; and in the sentences the Chinese page names nothing that the English one does
    not."""
    ours, theirs = text_of(chinese), text_of(english)
    assert commands(ours) == commands(theirs) != []
    assert code(ours) == code(theirs) != []
    assert named(ours) <= named(theirs)
    assert len(named(ours)) >= 0.8 * len(named(theirs))


@both
def test_each_leads_to_the_other(english: str, chinese: str):
    """A link to the page in the other language, in the first lines."""
    for here, there in ((english, chinese), (chinese, english)):
        links = re.findall(r"\]\(([^)]+)\)", "".join(text_of(here).splitlines(keepends=True)[:8]))
        assert any((ROOT / here).parent.joinpath(link).resolve() == ROOT / there for link in links), here


@pytest.mark.parametrize("chinese", PAGES.values())
def test_punctuation_is_chinese(chinese: str):
    """Between Chinese characters stand the full-width forms."""
    prose = re.sub(r"(?ms)^```.*?^```|^    [^\n]*$|`[^`]*`", "", text_of(chinese))
    assert re.findall(r"[\u4e00-\u9fff][,;:?!.]|[,;:?!][\u4e00-\u9fff]", prose) == []
