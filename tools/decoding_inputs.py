"""What the benchmark of decoding decodes: real log-probabilities and a real language model, or made-up ones."""

import gzip
import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from asr.emissions import load_emissions
from asr.ngram.arpa_writer import write_arpa
from asr.ngram.kneser_ney import estimate
from asr.text.tokenizer import CharTokenizer

BATCH = 32
FRAME_SECONDS = 0.03
LM_WEIGHT, WORD_BONUS = 1.0, 1.0


@dataclass(frozen=True)
class Speech:
    """A batch and its tokenizer."""

    tokenizer: CharTokenizer
    rows: list[np.ndarray]  # (T, V) float32 each

    @property
    def num_frames(self) -> int:
        return sum(map(len, self.rows))


@dataclass(frozen=True)
class Inputs:
    """Speech, and an ARPA file in plain text."""

    speech: Speech
    arpa: Path


def load_inputs(emissions: Path | None, lm: Path | None, folder: Path) -> Inputs:
    """What was given, the rest made up; files that are made go into `folder`."""
    texts = made_up_texts() if emissions is None or lm is None else []
    speech = made_up_speech(texts[:BATCH]) if emissions is None else real_speech(emissions)
    return Inputs(speech, made_up_model(texts, folder) if lm is None else unpacked(lm, folder))


def real_speech(path: Path) -> Speech:
    """The middle of a file of log-probabilities."""
    table = load_emissions(path)
    rows = np.split(table.log_probs.astype(np.float32), np.cumsum(table.lengths)[:-1])
    first = max(0, (len(rows) - BATCH) // 2)
    return Speech(CharTokenizer(table.tokens[1:]), rows[first : first + BATCH])


def made_up_texts(num_texts: int = 3000) -> list[str]:
    """Sentences of made-up words whose frequencies follow Zipf, each word leading to some others more than to most."""
    rng = np.random.default_rng(1)
    letters = np.array(list("etaoinshrdlucmfwypvbgkqjxz"))
    weights = 1.0 / np.arange(1, len(letters) + 1)
    lengths = rng.integers(1, 10, 5000)
    vocabulary = sorted({"".join(rng.choice(letters, n, p=weights / weights.sum())) for n in lengths})
    rng.shuffle(vocabulary)
    zipf = 1.0 / np.arange(1, len(vocabulary) + 1)
    likely = rng.integers(0, 200, (len(vocabulary), 8))
    texts = []
    for _ in range(num_texts):
        word, words = int(rng.choice(len(vocabulary), p=zipf / zipf.sum())), []
        for _ in range(int(rng.integers(8, 25))):
            words.append(vocabulary[word])
            follows = rng.random() < 0.6
            word = int(likely[word, rng.integers(8)] if follows else rng.choice(len(vocabulary), p=zipf / zipf.sum()))
        texts.append(" ".join(words))
    return texts


def made_up_speech(texts: Sequence[str]) -> Speech:
    """What a fair CTC model gives: peaks two frames apart on average, some of them wrong, blanks in between."""
    rng = np.random.default_rng(2)
    tokenizer = CharTokenizer(tuple(" 'abcdefghijklmnopqrstuvwxyz"))
    rows = []
    for text in texts:
        labels = []
        for token in tokenizer.encode(text):
            labels += [0] * int(rng.integers(1, 4)) + [token]
        logits = rng.normal(0.0, 2.0, (len(labels), tokenizer.vocab_size))
        logits[np.arange(len(labels)), labels] += rng.normal(8.0, 3.0, len(labels))
        logits[:, 0] += 2.0
        rows.append(torch.from_numpy(logits).log_softmax(-1).float().numpy())
    return Speech(tokenizer, rows)


def made_up_model(texts: Sequence[str], folder: Path) -> Path:
    (folder / "texts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    tables = estimate([folder / "texts.txt"], 4, discount_fallback=True)
    write_arpa(folder / "lm.arpa", tables)
    return folder / "lm.arpa"


def unpacked(arpa: Path, folder: Path) -> Path:
    """KenLM in flashlight reads plain files."""
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(arpa.suffix)
    if opener is None:
        return arpa
    plain = folder / "lm.arpa"
    with opener(arpa, "rb") as packed, plain.open("wb") as file:
        while block := packed.read(1 << 24):
            file.write(block)
    return plain
