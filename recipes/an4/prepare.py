"""Prepare AN4: `asr prepare an4`. The recordings are fetched from CMU unless they are on disk; they stay as they are.

lhotse does not know this corpus. Its archive holds

    an4/etc/an4_train.fileids           an4_clstk/fash/an251-fash-b
    an4/etc/an4_train.transcription     <s> YES </s> (an251-fash-b)
    an4/wav/an4_clstk/fash/an251-fash-b.sph

and the same for the test, in `an4test_clstk`, whose transcripts have no <s> and </s>.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from asr.audio import probe
from asr.data.corpora import unpack
from asr.data.lhotse_corpora import fetch, find_corpus, write_splits
from asr.errors import ConfigError, CorpusError
from asr.recipe import parse_options
from asr.text.normalize import normalize
from asr.types import Utterance

URL = "http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz"
NUM_UTTERANCES = {"train": 948, "test": 130}
DEV_EVERY = 8  # speakers of the training part, in alphabetical order: the first of eight is in the development set
MARKERS = ("etc/an4_train.fileids", "etc/an4_test.fileids", "wav")
GENDERS = {"f": "female", "m": "male"}  # the first letter of a speaker's name
REPAIR = "remove the folder of AN4, and data.options.corpus_dir if that names it, to fetch the corpus anew"


@dataclass(frozen=True, slots=True)
class An4Options:
    """What `asr prepare an4` takes."""

    corpus_dir: str = ""  # the folder with etc and wav; "" for an4 in ASR_DATA, or else the download
    url: str = URL  # of the archive: CMU's, or a mirror's
    sha256: str = ""  # of the archive; CMU publishes none, so that by default the transcripts' counts have to do


def prepare(name: str, options: Mapping[str, object], out_dir: Path, asr_data: Path | None) -> None:
    """Write train, dev (speakers of the training part, held out) and test.

    Raises `CorpusError` when the corpus cannot be fetched, is not whole, or is the copy without headers.
    """
    if name != "an4":
        raise ConfigError(f"corpus of the recipe an4: expected an4, got {name!r}")
    parsed = parse_options(An4Options, options)
    folder = find_corpus("an4", parsed.corpus_dir, asr_data, MARKERS) or _download(parsed, out_dir)
    known = {part: read_part(folder, part) for part in NUM_UTTERANCES}
    held_out = sorted({str(utterance.speaker) for utterance in known["train"]})[::DEV_EVERY]
    splits = {
        "train": [utterance for utterance in known["train"] if utterance.speaker not in held_out],
        "dev": [utterance for utterance in known["train"] if utterance.speaker in held_out],
        "test": known["test"],
    }
    write_splits(out_dir, splits)


def _download(options: An4Options, out_dir: Path) -> Path:
    downloads = out_dir.absolute().parent / "downloads" / "an4"
    unpacked = downloads / "unpacked"
    if not unpacked.exists():
        archive = downloads / "an4_sphere.tar.gz"
        fetch(options.url, archive, checksums={archive.name: options.sha256} if options.sha256 else {})
        unpack(archive, unpacked)
    found = find_corpus("an4", str(unpacked), None, MARKERS)
    assert found is not None  # it raises where the option's folder is not the corpus
    return found


def read_part(folder: Path, part: str) -> list[Utterance]:
    """The utterances of `train` or `test`, in the order of the list of files."""
    listing = folder / "etc" / f"an4_{part}.fileids"
    transcripts = read_transcripts(folder / "etc" / f"an4_{part}.transcription")
    places = [
        Path(line.strip())
        for line in listing.read_text(encoding="ascii", errors="replace").splitlines()
        if line.strip()
    ]
    listed = [place.name for place in places]
    if sorted(listed) != sorted(transcripts) or len(listed) != NUM_UTTERANCES[part]:
        odd = sorted(set(listed) ^ set(transcripts))[:5]
        raise CorpusError(
            f"{listing}: expected {NUM_UTTERANCES[part]} recordings, each with its transcript, got {len(listed)} "
            f"and {len(transcripts)}; in only one of the two: {', '.join(odd) or 'none'}; {REPAIR}"
        )
    return [read_utterance(folder / "wav" / place, transcripts[place.name]) for place in places]


def read_transcripts(path: Path) -> dict[str, str]:
    """Name of the recording -> normalised words. Sentence marks go; letters that are spelt stay words of one letter."""
    texts: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="ascii", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"(?P<words>.*\S)\s*\((?P<name>[\w-]+)\)\s*", line)
        words = [word for word in match["words"].split() if word not in ("<s>", "</s>")] if match else []
        if match is None or not words or match["name"] in texts:
            raise CorpusError(f"{path}:{number}: expected words and a new (name-of-recording), got {line!r}; {REPAIR}")
        texts[match["name"]] = normalize(" ".join(words))
    return texts


def read_utterance(place: Path, text: str) -> Utterance:
    """The utterance of a recording, given without its suffix: an251-fash-b is the speaker fash."""
    path = place.with_name(f"{place.name}.sph")
    if not path.is_file():
        raw = place.with_name(f"{place.name}.raw")
        advice = f"{raw} has no header; take the archive an4_sphere.tar.gz" if raw.is_file() else REPAIR
        raise CorpusError(f"expected the recording {path}, found none; {advice}")
    info = probe(path)
    if not info.num_samples:
        raise CorpusError(f"{path}: expected a recording, got one without samples; {REPAIR}")
    speaker = place.parent.name
    return Utterance(
        id=place.name,
        audio_filepath=str(path),
        duration=info.num_samples / info.sample_rate,
        text=text,
        speaker=speaker,
        lang="en",
        extra={"gender": GENDERS[speaker[0]]} if speaker[0] in GENDERS else {},
    )
