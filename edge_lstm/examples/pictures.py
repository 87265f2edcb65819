"""What the examples' pictures share: a figure, a heat map of numbers with its labels, fonts that have Chinese signs.

Its rule: where the system has no font with Chinese signs the picture is labelled in English, and `NO_FONT` says so.

Never: import matplotlib before a picture is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.plots.figure import check_plot

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"
_FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "Microsoft YaHei", "SimHei", "PingFang SC", "Noto Sans CJK JP", "AR PL UMing CN",
)  # fmt: skip
NO_FONT = "图中文字为英文：系统里没有中文字体（例如 fonts-noto-cjk）"


@cache
def chinese_font() -> str | None:
    """The name of a font of this system that has Chinese signs."""
    from matplotlib.font_manager import fontManager

    names = {font.name for font in fontManager.ttflist}
    return next((name for name in _FONTS if name in names), None)


def label_language(lang: str) -> str:
    """The language in which a picture can be labelled here."""
    return "zh" if lang == "zh" and chinese_font() else "en"


class Canvas:
    """A figure in the language wanted; `with Canvas(path, lang, size) as canvas:` writes it at the end."""

    def __init__(self, path: Path, lang: str, size: tuple[float, float]) -> None:
        check_plot(path)
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        self.path, self.lang = path, label_language(lang)
        family = [str(chinese_font()), "DejaVu Sans"] if self.lang == "zh" else ["DejaVu Sans"]
        self._fonts = rc_context({"font.family": family, "axes.unicode_minus": False})
        self.figure: Any = Figure(figsize=size, dpi=120, facecolor="white", layout="constrained")

    def __enter__(self) -> Canvas:
        self._fonts.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            if error[0] is None:
                self.figure.savefig(self.path)
        finally:
            self._fonts.__exit__(*error)

    def say(self, en: str, zh: str) -> str:
        """The label that fits the language."""
        return zh if self.lang == "zh" else en

    @property
    def strong(self) -> str:
        """The weight of what stands out; Chinese fonts often have one weight only."""
        return "normal" if self.lang == "zh" else "bold"

    def title(self, en: str, zh: str) -> None:
        """Over the whole figure."""
        self.figure.suptitle(self.say(en, zh), x=0.01, ha="left", fontsize=13, fontweight=self.strong)


def cells(
    axis: Any, values: npt.NDArray[Any], rows: Sequence[str], columns: Sequence[str], *, span: float, signed: bool
) -> None:
    """A table of numbers as colours: signed (blue negative, red positive, white zero) or from white up to `span`."""
    axis.imshow(values, cmap="RdBu_r" if signed else "Blues", vmin=-span if signed else 0, vmax=span, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        dark = abs(value) > 0.6 * span
        text = f"{value:+.2f}" if signed else f"{value:.2f}"
        axis.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "#222222")
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)
    axis.tick_params(length=0, labelsize=8.5)
    for side in axis.spines.values():
        side.set_visible(False)


def plain(axis: Any) -> None:
    """No frame, no ticks."""
    axis.tick_params(length=0, labelsize=8.5)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
