"""The founding text's systems, each a trained model that ships and a picture of a feature that robots need.

    dinner          missing readings are bridged by the model's own predictions
    book-rnn        a memory of one step, and the mistakes that come of it
    book-lstm       gates: what is ignored, forgotten and selected, read from a live stream
    robot-dropout   a robot that loses 30 % of its readings in bursts: hold, skip or predict
    translate       a sentence read by one program and written in another language by a second

Its rule: an example measures what it prints, here and now, from the shipped model files and a seed. Each is a module
with `run(lang, seed) -> Report`.

Never: import torch, or print a number that was not computed by this run.
"""

from __future__ import annotations

from importlib import import_module

from edge_lstm.examples.report import LANGUAGES, Report

# name → (its module, one sentence)
EXAMPLES = {
    "dinner": ("edge_lstm.examples.dinner", "what is for dinner tonight, after two weeks away"),
    "book-rnn": ("edge_lstm.examples.book_rnn", "a children's book by a plain RNN, and its typical mistakes"),
    "book-lstm": ("edge_lstm.examples.book_lstm", "the same book by an LSTM, and its gates step by step"),
    "robot-dropout": ("edge_lstm.examples.robot_dropout", "30 % of a robot's readings lost: hold, skip, predict"),
    "translate": ("edge_lstm.examples.translate", "a sentence read by an encoder, written in Chinese by a decoder"),
}


def run(name: str, lang: str = "en", seed: int = 0) -> Report:
    """Run one example. lang is "en" or "zh"; the seed decides what is sampled and which days or drives are scored."""
    report: Report = import_module(EXAMPLES[name][0]).run(lang, seed)
    return report


__all__ = ["EXAMPLES", "LANGUAGES", "Report", "run"]
