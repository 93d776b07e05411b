"""Prepare Speech Commands v0.02 (Warden 2018): one-second recordings of single words, in the official split.

lhotse's preparer takes its test set from another archive, in which most words are called unknown; the figures that
people compare are those of testing_list.txt, so that the corpus is read here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from asr.data.corpora import unpack
from asr.data.exchange.records import Record, read_lines, to_utterances
from asr.data.lhotse_corpora import fetch, find_corpus, write_splits
from asr.errors import ConfigError, CorpusError
from asr.recipe import parse_options
from asr.types import Utterance

URL = "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz"
SHA256 = {  # as torchaudio.datasets has it
    "speech_commands_v0.02.tar.gz": "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
}
LISTS = {"dev": "validation_list.txt", "test": "testing_list.txt"}
NOISE = "_background_noise_"
MARKERS = (*LISTS.values(), NOISE)
# Where torchaudio and lhotse unpack it.
SPELLINGS = (
    "speech_commands_v0.02",
    "SpeechCommands/speech_commands_v0.02",
    "SpeechCommands2/speech_commands_v0.02",
)
SPEAKER_END = "_nohash_"  # SPEAKER_nohash_TAKE.wav


@dataclass(frozen=True)
class SpeechCommandsOptions:
    """Where the corpus is."""

    corpus_dir: str = ""  # the folder speech_commands_v0.02; default: in ASR_DATA, else downloaded
    mirror: str = ""  # in place of http://download.tensorflow.org


def prepare(name: str, options: Mapping[str, object], out_dir: Path, asr_data: Path | None) -> None:
    """Write train, dev, test and noise; audio stays where it is: in corpus_dir, in ASR_DATA, or in `downloads`.

    Raises `ConfigError` for an unknown name or option, and `CorpusError` for all that keeps the corpus from being
    found, fetched or read; `out_dir` is then as it was.
    """
    if name != "speech_commands":
        raise ConfigError(f"corpus of the recipe speech_commands: expected speech_commands, got {name!r}")
    parsed = parse_options(SpeechCommandsOptions, options)
    folder = find_corpus(name, parsed.corpus_dir, asr_data, MARKERS, spellings=SPELLINGS)
    write_splits(out_dir, read_splits(folder or _download(parsed, out_dir)))


def read_splits(folder: Path) -> dict[str, list[Utterance]]:
    """The words of each list, those of no list as training set, and the background noise.

    Raises `CorpusError` for a recording that a list names and that is not there.
    """
    words = [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] not in "_."]
    recordings = {f"{word.name}/{path.name}": path for word in words for path in sorted(word.glob("*.wav"))}
    splits = {split: _listed(folder / name, recordings) for split, name in LISTS.items()}
    if both := splits["dev"] & splits["test"]:
        raise CorpusError(f"{folder}: {min(both)} and {len(both) - 1} more recordings are in both lists")
    splits["train"] = recordings.keys() - splits["dev"] - splits["test"]
    made = {split: _words(folder, sorted(names), recordings) for split, names in splits.items()}
    noise = [
        Record(str(path), {"id": path.stem, "audio_filepath": str(path), "text": ""})
        for path in sorted((folder / NOISE).glob("*.wav"))
    ]
    return made | {"noise": to_utterances(noise, folder, folder / NOISE)}


def _download(options: SpeechCommandsOptions, out_dir: Path) -> Path:
    downloads = out_dir.absolute().parent / "downloads" / "speech_commands"
    unpacked = downloads / "speech_commands_v0.02"
    if not unpacked.exists():
        archive = downloads / URL.rpartition("/")[2]
        fetch(URL, archive, checksums=SHA256, mirror=options.mirror)
        unpack(archive, unpacked)
    return unpacked


def _listed(path: Path, recordings: Mapping[str, Path]) -> set[str]:
    names = set()
    for place, line in read_lines(path):
        if line.strip() not in recordings:
            raise CorpusError(f"{place}: no such recording: {path.parent / line.strip()}; is the corpus whole?")
        names.add(line.strip())
    return names


def _words(folder: Path, names: Iterable[str], recordings: Mapping[str, Path]) -> list[Utterance]:
    return to_utterances(
        [_record(name, recordings[name]) for name in names], folder, folder, show_progress=sys.stderr.isatty()
    )


def _record(name: str, path: Path) -> Record:
    """A recording such as "bed/0a7c2a8d_nohash_0.wav"."""
    place = PurePosixPath(name)
    speaker, separator, _ = place.stem.partition(SPEAKER_END)
    if not separator or not speaker:
        raise CorpusError(f"{path}: expected a name like 0a7c2a8d_nohash_0.wav, with the speaker in it")
    word = place.parent.name
    fields = {"id": f"{word}-{place.stem}", "audio_filepath": str(path), "text": word, "speaker": speaker}
    return Record(str(path), fields)
