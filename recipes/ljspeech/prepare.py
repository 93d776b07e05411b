"""Prepare LJ Speech: 24 hours of one woman reading, cut into training, development and test set as ESPnet cuts it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from asr.data.lhotse_corpora import (
    find_corpus,
    lhotse_recipe,
    our_transport,
    run_preparer,
    to_utterances,
    write_splits,
)
from asr.errors import ConfigError
from asr.recipe import parse_options
from asr.text.normalize import normalize
from asr.types import Utterance

MARKERS = ("metadata.csv", "wavs")
SHA256 = {  # as torchaudio.datasets has it
    "LJSpeech-1.1.tar.bz2": "be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5",
}
# ESPnet's recipe sorts the ids; the last 250 are its test set, the 250 before them its development set.
FIRST_OF_DEV = "LJ049-0008"
FIRST_OF_TEST = "LJ050-0029"
SPEAKER = "LJ"

# How the reader says what the texts abbreviate, after the corpus's README (which has "misess" for Mrs.); numbers are
# spelt out in them already.
ABBREVIATIONS = {
    "Mr": "mister", "Mrs": "missus", "Dr": "doctor", "St": "saint", "Co": "company", "Jr": "junior", "Maj": "major",
    "Gen": "general", "Drs": "doctors", "Rev": "reverend", "Lt": "lieutenant", "Hon": "honorable", "Sgt": "sergeant",
    "Capt": "captain", "Esq": "esquire", "Ltd": "limited", "Col": "colonel", "Ft": "fort",
}  # fmt: skip
ABBREVIATION = re.compile(rf"\b({'|'.join(ABBREVIATIONS)})\.")
NUMBER = re.compile(r"\bNo\. (?=[a-z])")  # "No. five", whereas "No. He" is the end of a sentence
NOT_LETTERS = re.compile(r"[^a-z' ]+")
LIGATURES = str.maketrans({"æ": "ae", "œ": "oe", "ß": "ss", "ø": "o", "&": " and "})


@dataclass(frozen=True)
class LjspeechOptions:
    """Where the corpus is."""

    corpus_dir: str = ""  # the folder LJSpeech-1.1; default: in ASR_DATA, else downloaded
    mirror: str = ""  # in place of http://data.keithito.com


def prepare(name: str, options: Mapping[str, object], out_dir: Path, asr_data: Path | None) -> None:
    """Write train, dev and test; audio stays where it is: in corpus_dir, in ASR_DATA, or in `downloads`.

    Raises `ConfigError` for an unknown name or option, and `CorpusError` for all that keeps the corpus from being
    found, fetched or read; `out_dir` is then as it was.
    """
    if name != "ljspeech":
        raise ConfigError(f"corpus of the recipe ljspeech: expected ljspeech, got {name!r}")
    parsed = parse_options(LjspeechOptions, options)
    folder = find_corpus(name, parsed.corpus_dir, asr_data, MARKERS, spellings=("LJSpeech-1.1", "LJSpeech"))
    lhotse = lhotse_recipe("ljspeech")
    if folder is None:
        with our_transport(lhotse, checksums=SHA256, mirror=parsed.mirror):
            folder = lhotse.download_ljspeech(out_dir.absolute().parent / "downloads" / name)
    made = run_preparer(lhotse.prepare_ljspeech, folder)
    splits: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for utterance in to_utterances(**made):
        text = spoken_text(str(utterance.extra["normalized_text"]))
        extra = {"gender": utterance.extra["gender"]}
        splits[split_of(utterance.id)].append(replace(utterance, text=text, speaker=SPEAKER, extra=extra))
    write_splits(out_dir, splits)


def split_of(identifier: str) -> str:
    """The split of an id such as "LJ001-0001"."""
    if identifier >= FIRST_OF_TEST:
        return "test"
    return "dev" if identifier >= FIRST_OF_DEV else "train"


def spoken_text(text: str) -> str:
    """A line of metadata.csv, its numbers spelt out already, as the words that are heard: a-z and apostrophes.

    >>> spoken_text("“Mr. Jones’s raison d’être,” he said -- No. five of the 'Hamlet-like' prisoners' tales.")
    "mister jones's raison d'etre he said number five of the hamlet like prisoners' tales"
    """
    expanded = ABBREVIATION.sub(lambda match: ABBREVIATIONS[match[1]], NUMBER.sub("number ", text))
    lower = normalize(expanded).translate(LIGATURES)
    letters = "".join(c for c in unicodedata.normalize("NFKD", lower) if not unicodedata.combining(c))
    words = NOT_LETTERS.sub(" ", letters)
    return " ".join(word for word in (_without_quotes(word) for word in words.split()) if word)


def _without_quotes(word: str) -> str:
    """A word without single quotation marks; the apostrophe of a plural's possessive looks like one and stays."""
    inner = word.strip("'")
    return inner + "'" if inner.endswith("s") and word.endswith("'") else inner
