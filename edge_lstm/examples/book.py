"""The children's book: five words, six sentences, and what can be wrong with a sentence that a network writes.

Its rule: "A saw B." with two different names is right, everything else is one of four mistakes. A sentence ends at
its full stop.

Never: be lenient, or know which network it judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from edge_lstm.core.channels import Channel

NAMES = ("Doug", "Jane", "Spot")
WORDS = (*NAMES, "saw", ".")
WORD = Channel("word", vocabulary=WORDS)
STOP = WORDS.index(".")
SENTENCES = tuple((a, "saw", b, ".") for a in NAMES for b in NAMES if a != b)
# verdict → an example of it, as the founding text has them
VERDICTS = {
    "right": "Doug saw Jane.",
    "same name": "Doug saw Doug.",
    "run-on": "Doug saw Jane saw Spot saw Doug.",
    "no verb": "Doug.",
    "other": "saw Doug.",
}


def book(sentences: int, seed: int) -> npt.NDArray[np.int64]:
    """So many sentences drawn with equal chances, as word numbers, from a full stop on."""
    picks = np.random.default_rng(seed).integers(len(SENTENCES), size=sentences)
    words = [word for k in picks for word in SENTENCES[k]]
    return np.array([STOP, *(WORDS.index(w) for w in words)], np.int64)


def sentences(words: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Cut at the full stops; what follows the last one is dropped."""
    sentence: list[str] = []
    for word in words:
        sentence.append(word)
        if word == ".":
            yield tuple(sentence)
            sentence = []


def verdict(sentence: Sequence[str]) -> str:
    """Which of VERDICTS a sentence is."""
    if tuple(sentence) in SENTENCES:
        return "right"
    body = sentence[:-1]
    grammatical = len(body) % 2 == 1 and all((w == "saw") == (k % 2 == 1) for k, w in enumerate(body))
    if not grammatical:
        return "other"
    return {1: "no verb", 3: "same name"}.get(len(body), "run-on")


def written(sentence: Sequence[str]) -> str:
    """As people write it: no space before the full stop."""
    return " ".join(sentence[:-1]) + sentence[-1]
