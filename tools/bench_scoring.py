"""Scoring a million words on one core, and the same texts in jiwer.

Texts are made up: words whose frequencies follow Zipf, 20 an utterance, of which one in seven is wrong. Words are those
of the references. Everybody's time is the best of several rounds, and is that of word and character errors together.
"""

import time
from collections.abc import Callable

import jiwer
import numpy as np

from asr.scoring.errors import SCLITE, Score, score

UTTERANCES, WORDS = 50_000, 20  # a million words
COMPARED = 5_000  # utterances that jiwer scores too: it takes four times as long
ROUNDS = 3
OMITTED, INSERTED, REPLACED = 0.03, 0.03, 0.08  # of the words

Texts = dict[str, str]


def run() -> dict[str, float]:
    references, hypotheses = made_up_texts()
    count = UTTERANCES * WORDS
    part = dict(list(references.items())[:COMPARED]), dict(list(hypotheses.items())[:COMPARED])
    marked = {id: f"{{ {text} / @ }} (uh)" for id, text in part[0].items()}
    taken = {
        "": seconds(lambda: score(references, hypotheses)),
        "sclite_": seconds(lambda: score(references, hypotheses, SCLITE)),
    }
    figures = {f"{name}words_per_second": count / each for name, each in taken.items()}
    networks = seconds(lambda: score(marked, part[1], SCLITE, markup=True))
    ours, theirs = seconds(lambda: score(*part)), seconds(lambda: by_jiwer(*part))
    return {
        **figures,
        "seconds_for_a_million_words": taken[""] * 1e6 / count,
        "markup_words_per_second": COMPARED * WORDS / networks,
        "jiwer_words_per_second": COMPARED * WORDS / theirs,
        "over_jiwer": theirs / ours,
        "counts_other_than_jiwer": float(differences(score(*part), *by_jiwer(*part))),
    }


def seconds(work: Callable[[], object]) -> float:
    """The best of several rounds after one that compiles."""
    times = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times[1:])


def by_jiwer(references: Texts, hypotheses: Texts) -> tuple[jiwer.WordOutput, jiwer.CharacterOutput]:
    texts = list(references.values()), [hypotheses[id] for id in references]
    return jiwer.process_words(*texts), jiwer.process_characters(*texts)


def differences(ours: Score, words: jiwer.WordOutput, characters: jiwer.CharacterOutput) -> int:
    """How many of the eight counts are not the same."""
    return sum(
        getattr(mine, name) != getattr(theirs, name)
        for mine, theirs in ((ours.words, words), (ours.characters, characters))
        for name in ("hits", "substitutions", "deletions", "insertions")
    )


def made_up_texts() -> tuple[Texts, Texts]:
    """References and hypotheses."""
    rng = np.random.default_rng(1)
    letters = np.array(list("etaoinshrdlucmfwypvbgkqjxz"))
    weights = 1.0 / np.arange(1, len(letters) + 1)
    lengths = rng.integers(1, 10, 20_000)
    vocabulary = np.array(["".join(rng.choice(letters, n, p=weights / weights.sum())) for n in lengths])
    zipf = 1.0 / np.arange(1, len(vocabulary) + 1)
    spoken = vocabulary[rng.choice(len(vocabulary), (UTTERANCES, WORDS), p=zipf / zipf.sum())]
    others = vocabulary[rng.integers(0, len(vocabulary), (2, UTTERANCES, WORDS))]
    heard = np.where(rng.random(spoken.shape) < REPLACED, others[0], spoken)
    heard = np.where(rng.random(spoken.shape) < OMITTED, "", heard)
    inserted = np.where(rng.random(spoken.shape) < INSERTED, others[1], "")
    hypotheses = np.stack([inserted, heard], axis=2).reshape(UTTERANCES, 2 * WORDS)
    return (
        {str(n): " ".join(words) for n, words in enumerate(spoken.tolist())},
        {str(n): " ".join(filter(None, words)) for n, words in enumerate(hypotheses.tolist())},
    )
