"""Prepare TIMIT: `asr prepare timit +data.options.corpus_dir=FOLDER`. Audio stays where it is.

lhotse's preparer is not used: it finds one of the layouts in which the corpus is passed on, keeps the dialect
sentences SA1 and SA2, which every published figure leaves out, and gives words as the text.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from asr.audio import probe
from asr.data.corpus_folders import find_corpus, write_splits
from asr.errors import ConfigError, CorpusError
from asr.progress import track
from asr.recipe import parse_options
from asr.types import Utterance

from .speakers import CORE_TEST_SPEAKERS, DEV_SPEAKERS

_PHONES = """
    iy ih eh ey ae aa aw ay ah ao oy ow uh uw ux er ax ix axr ax-h  jh ch s sh z zh f th v dh  m n ng em en eng nx
    l r w y hh hv el  b d g p t k dx q  bcl dcl gcl pcl tcl kcl  pau epi h#
"""
PHONES = frozenset(_PHONES.split())
NUM_UTTERANCES = {"train": 3696, "dev": 400, "test": 192}
DIALECT_SENTENCES = ("sa1", "sa2")  # read by everybody: they would teach a few phone sequences by heart
PARTS = (("TRAIN", "TEST"), ("train", "test"))  # copies differ in case
FOLDERS = ("TIMIT", "data", "timit/data", "TIMIT/data")  # between a named folder and its TRAIN
HOW_TO_GET_IT = (
    "TIMIT is licensed and cannot be downloaded: the Linguistic Data Consortium sells it as LDC93S1 "
    "(https://catalog.ldc.upenn.edu/LDC93S1). Copy it whole and name the folder that holds TRAIN and TEST "
    "(or train and test), +data.options.corpus_dir=FOLDER, or put it at timit or TIMIT in the folder ASR_DATA"
)


@dataclass(frozen=True, slots=True)
class TimitOptions:
    """What `asr prepare timit` takes."""

    corpus_dir: str = ""  # the folder that holds TRAIN and TEST


def prepare(name: str, options: Mapping[str, object], out_dir: Path, asr_data: Path | None) -> None:
    """Write train, dev and test: phones as they were marked by hand, 61 kinds, without the dialect sentences.

    Raises `CorpusError` when the corpus is not there, not whole, or has other phones.
    """
    if name != "timit":
        raise ConfigError(f"corpus of the recipe timit: expected timit, got {name!r}")
    folder = find_timit(parse_options(TimitOptions, options).corpus_dir, asr_data)
    transcripts = list(transcript_paths(folder))
    splits: dict[str, list[Utterance]] = {split: [] for split in NUM_UTTERANCES}
    for path in track(transcripts, "reading TIMIT", shown=sys.stderr.isatty()):
        if (split := split_of(path)) is not None:
            splits[split].append(read_utterance(path))
    found = {split: len(utterances) for split, utterances in splits.items()}
    if found != NUM_UTTERANCES:
        raise CorpusError(
            f"TIMIT in {folder}: expected {_counts(NUM_UTTERANCES)} utterances, got {_counts(found)}: "
            f"this copy is not whole, and figures on it would compare with no other. {HOW_TO_GET_IT}"
        )
    write_splits(out_dir, splits)


def find_timit(corpus_dir: str, asr_data: Path | None) -> Path:
    """The folder that holds TRAIN and TEST, in either case; raises `CorpusError` that says where it is sold."""
    for parts in PARTS:
        with suppress(CorpusError):  # of a wrong corpus_dir: the message below says more
            if (folder := find_corpus("timit", corpus_dir, asr_data, parts, spellings=FOLDERS)) is not None:
                return folder
    looked = f"data.options.corpus_dir={corpus_dir}" if corpus_dir else f"ASR_DATA ({asr_data or 'which is not set'})"
    raise CorpusError(f"expected TIMIT in {looked}, found no folders TRAIN and TEST there. {HOW_TO_GET_IT}")


def transcript_paths(folder: Path) -> Iterator[Path]:
    """Every phone transcript, PART/DIALECT/SPEAKER/SENTENCE.PHN in either case, in order."""
    for path in sorted(folder.glob("*/*/*/*")):
        if path.suffix.lower() == ".phn" and path.parts[-4].lower() in ("train", "test"):
            yield path


def split_of(transcript: Path) -> str | None:
    """The split that a transcript is in; None for a dialect sentence, and for test speakers in no set."""
    speaker = transcript.parent.name.lower()
    if transcript.stem.lower() in DIALECT_SENTENCES:
        return None
    if transcript.parts[-4].lower() == "train":
        return "train"
    if speaker in CORE_TEST_SPEAKERS:
        return "test"
    return "dev" if speaker in DEV_SPEAKERS else None


def read_utterance(transcript: Path) -> Utterance:
    """The utterance of a phone transcript, with its audio beside it."""
    speaker = transcript.parent.name.lower()
    audio = find_audio(transcript)
    info = probe(audio)
    if not info.num_samples:
        raise CorpusError(f"{audio}: expected a recording, got one without samples; copy it anew")
    return Utterance(
        id=f"{speaker}-{transcript.stem.lower()}",
        audio_filepath=str(audio),
        duration=info.num_samples / info.sample_rate,
        text=" ".join(read_phones(transcript)),
        speaker=speaker,
        lang="en",
        extra={"gender": "female" if speaker[0] == "f" else "male", "dialect": transcript.parts[-3].lower()},
    )


def find_audio(transcript: Path) -> Path:
    """SX127.WAV beside SX127.PHN, in NIST's SPHERE format or RIFF; or SX127.WAV.wav, as converted copies have it."""
    wanted = [f"{transcript.stem}{suffix}".lower() for suffix in (".wav", ".wav.wav")]
    beside = {path.name.lower(): path for path in transcript.parent.iterdir()}
    for name in wanted:
        if name in beside:
            return beside[name]
    raise CorpusError(
        f"{transcript}: expected its audio beside it, {' or '.join(wanted)}, found none. Copy TIMIT whole"
    )


def read_phones(transcript: Path) -> list[str]:
    """The phones of a .PHN file, whose lines are `begin end phone`, times in samples of 16 kHz."""
    phones = []
    lines = transcript.read_text(encoding="ascii", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) != 3 or not (fields[0].isdigit() and fields[1].isdigit()) or fields[2] not in PHONES:
            raise CorpusError(
                f"{transcript}:{number}: expected begin, end (samples) and one of TIMIT's {len(PHONES)} phones, "
                f"got {line!r}; copy the file anew"
            )
        phones.append(fields[2])
    if not phones:
        raise CorpusError(f"{transcript}: expected phones, found none; copy the file anew")
    return phones


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} ({split})" for split, number in numbers.items())
