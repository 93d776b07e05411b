"""Scores of pairs of texts, for the tests of scores and of what is made from them."""

import random

from hypothesis import strategies as st

from asr.scoring.errors import LEVENSHTEIN, score

TEXTS = st.lists(st.text("ab é天", max_size=3), max_size=6).map(" ".join)


def one(reference, hypothesis):
    return score({"u": reference}, {"u": hypothesis}).utterances[0]


def scored(pairs, costs=LEVENSHTEIN):
    """Score (reference, hypothesis) pairs with ids u0, u1, …"""
    return score(
        {f"u{i}": reference for i, (reference, _) in enumerate(pairs)},
        {f"u{i}": hypothesis for i, (_, hypothesis) in enumerate(pairs)},
        costs,
    )


def random_pairs(count, seed):
    rng = random.Random(seed)
    vocabulary = ["a", "b", "the", "cat", "caté", "天气", "o'clock"]
    texts = [" ".join(rng.choices(vocabulary, k=rng.randrange(9))) for _ in range(2 * count)]
    return list(zip(texts[:count], texts[count:]))


def by_speaker(num_speakers, speaker_of=lambda speaker: f"s{speaker}"):
    """Twenty utterances a speaker: all wrong for odd speakers, all right for even ones."""
    pairs = [("a", "x" if speaker % 2 else "a") for speaker in range(num_speakers) for _ in range(20)]
    result = scored(pairs)
    return result, {u.id: speaker_of(i // 20) for i, u in enumerate(result.utterances)}
