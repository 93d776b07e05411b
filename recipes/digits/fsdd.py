"""Real digits: strings joined of the Free Spoken Digit Dataset's recordings, 6 speakers, 8 kHz.

A string is takes of one speaker with pauses between them; what fills the pauses is noise with the level and
the spectrum of the quietest moments of that speaker's own recordings. Nobody ever said these strings.
The data set: Jackson et al., github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from asr.audio import read_audio, write_audio
from asr.data.ahead import num_usable_cores
from asr.data.corpora import download, unpack
from asr.data.manifest import read_manifest
from asr.errors import ConfigError, CorpusError
from asr.types import Utterance

from .common import SPLITS, WORDS, Report, check_at_least, thread_pool
from .joining import PCM_SCALE, SAMPLE_RATE, JoinedString, SingleTake, Take, draw_strings

Recording: TypeAlias = JoinedString | SingleTake

TAKES_PER_DIGIT = 50
TEST_TAKES = range(0, 5)  # the official test set
DEV_TAKES = range(5, 8)  # ours, out of the official training set

URL = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.tar.gz"
# GitHub makes archives anew when it pleases, so the archive's own checksum is no constant; the samples are.
# SHA-256 over a speaker's 500 takes in the order of their names: name, zero byte, int16 samples (little-endian).
# Computed from lossless FLAC copies of the release's recordings.
SHA256_OF_SPEAKERS = {
    "george": "8e0b560a5640c863636ca9aaeaa2e3d1a22da9668f051b5db9b5a8b4d63800a1",
    "jackson": "c266906d4a98e7f0e19c6e9bba271401c908435914b516222fa3c30b879e1392",
    "lucas": "02b8937ad99370ad2bae29ff52a95ce7ca18d8ac95ff5065c8608db009f971f2",
    "nicolas": "c5010a702c4c5962e9afae6473b5cb7facaab8164f7459b9c17b7596d375ab23",
    "theo": "6650b4ebc81f58e467a3cbf713b80b4bb1fa3f2aea5a1277f8453bed41cc8e45",
    "yweweler": "c2087b3236ac5af1affcc6768e2c8fce8c401321c09148a8dea8482f08f577b7",
}
REPAIR = "Remove it, and unset ASR_DATA, to download the data set again"


@dataclass(frozen=True, slots=True)
class FsddOptions:
    """What `asr prepare digits data=fsdd` takes."""

    seed: int = 1  # everything is drawn from it
    num_train_strings: int = 1200  # beside the single training takes
    num_dev_strings: int = 200  # beside the single development takes
    num_test_strings: int = 300
    max_digits: int = 7
    held_out_speaker: str = ""  # heard in the tests alone, with all takes; "" for the official split
    url: str = URL  # of the archive; not used when the recordings are in the folder ASR_DATA
    sha256: str = ""  # of the archive; "" for none. The samples are checked in any case

    def __post_init__(self) -> None:
        check_at_least(0, seed=self.seed)
        sizes = {"num_train_strings": self.num_train_strings, "num_dev_strings": self.num_dev_strings}
        check_at_least(1, max_digits=self.max_digits, num_test_strings=self.num_test_strings, **sizes)
        if self.held_out_speaker and self.held_out_speaker not in SHA256_OF_SPEAKERS:
            raise ConfigError(
                f"held_out_speaker: expected one of {', '.join(SHA256_OF_SPEAKERS)}, got {self.held_out_speaker!r}"
            )


def make_corpus(
    options: FsddOptions, asr_data: Path | None, downloads: Path, directory: Path, report: Report
) -> dict[str, list[Utterance]]:
    """Make the audio of all splits below `directory`.

    The recordings come from `asr_data` when that is given, else they are fetched into `downloads`.
    Raises `CorpusError` when they are incomplete or others than those of release 1.0.10.
    """
    paths = find_shared(asr_data) if asr_data is not None else fetch(options, downloads)
    takes = load_takes(paths)
    check_takes(takes, downloads if asr_data is None else asr_data)
    return make_splits(options, takes, directory, report)


def make_splits(
    options: FsddOptions, takes: Sequence[Take], directory: Path, report: Report
) -> dict[str, list[Utterance]]:
    """Write the four splits' audio below `directory`."""
    takes_of = split_takes(takes, options.held_out_speaker)
    train, dev, test = takes_of["train"], takes_of["dev"], takes_of["test"]
    plans = {
        "train": _strings(options, "train", train, options.num_train_strings) + _singles(train),
        "dev": _strings(options, "dev", dev, options.num_dev_strings) + _singles(dev),
        "test-strings": _strings(options, "test-strings", test, options.num_test_strings),
        "test-singles": _singles(test),
    }
    total = sum(len(recordings) for recordings in plans.values())
    splits: dict[str, list[Utterance]] = {}
    with thread_pool(num_usable_cores()) as pool:
        for split, recordings in plans.items():
            folder = directory / "audio" / split
            folder.mkdir(parents=True)
            splits[split] = []
            for utterance in pool.map(partial(_write, folder), recordings):
                splits[split].append(utterance)
                report(1, total)
    return splits


def split_takes(takes: Sequence[Take], held_out_speaker: str) -> dict[str, list[Take]]:
    """Takes to train on, to validate on and to test on; a held-out speaker is in the test alone, and alone in it."""
    others = [take for take in takes if take.speaker != held_out_speaker]
    test = [take for take in others if take.number in TEST_TAKES]
    if held_out_speaker:
        test = [take for take in takes if take.speaker == held_out_speaker]
    train = [take for take in others if take.number not in TEST_TAKES and take.number not in DEV_TAKES]
    return {"train": train, "dev": [take for take in others if take.number in DEV_TAKES], "test": test}


def load_takes(paths: Sequence[Path]) -> list[Take]:
    """Read recordings named DIGIT_SPEAKER_NUMBER; sorted by name."""
    with thread_pool(num_usable_cores()) as pool:
        return list(pool.map(_load, sorted(paths, key=lambda path: path.stem)))


def check_takes(takes: Sequence[Take], folder: Path) -> None:
    """Raise `CorpusError` unless these, from `folder`, are the recordings of the release, sample for sample."""
    expected = SHA256_OF_SPEAKERS
    names = {take.name for take in takes}
    wanted = {f"{d}_{s}_{n}" for d in range(len(WORDS)) for s in expected for n in range(TAKES_PER_DIGIT)}
    if names != wanted or len(takes) != len(wanted):
        missing, unknown = sorted(wanted - names), sorted(names - wanted)
        raise CorpusError(
            f"Free Spoken Digit Dataset in {folder}: expected {len(wanted)} recordings, got {len(takes)}; "
            f"missing: {_some(missing)}; unknown: {_some(unknown)}. {REPAIR}"
        )
    digests = digest_speakers(takes)
    if changed := [speaker for speaker in expected if digests[speaker] != expected[speaker]]:
        raise CorpusError(
            f"Free Spoken Digit Dataset in {folder}: the samples of {', '.join(changed)} are not those of release "
            f"1.0.10 (sha256 {digests[changed[0]]} for {changed[0]}, expected {expected[changed[0]]}). {REPAIR}"
        )


def digest_speakers(takes: Sequence[Take]) -> dict[str, str]:
    """SHA-256 over the samples of each speaker (see SHA256_OF_SPEAKERS)."""
    digests = {take.speaker: hashlib.sha256() for take in takes}
    for take in sorted(takes, key=lambda take: take.name):
        digests[take.speaker].update(take.name.encode() + b"\0" + take.samples.astype("<i2").tobytes())
    return {speaker: digest.hexdigest() for speaker, digest in digests.items()}


def fetch(options: FsddOptions, downloads: Path) -> list[Path]:
    """The recordings of the archive at `options.url`, which is fetched and unpacked unless that is done."""
    folder = downloads / "fsdd"
    if not folder.exists():
        archive = download(options.url, downloads / "fsdd.tar.gz", sha256=options.sha256 or None)
        unpack(archive, folder)
    paths = sorted(folder.glob("*/recordings/*.wav"))
    if not paths:
        raise CorpusError(f"expected */recordings/*.wav in {folder}, got none; remove it and {downloads}/fsdd.tar.gz")
    return paths


def find_shared(asr_data: Path) -> list[Path]:
    """The recordings that `fsdd-train.jsonl` and `fsdd-test.jsonl` in `asr_data` name."""
    manifests = [asr_data / f"fsdd-{part}.jsonl" for part in ("train", "test")]
    if absent := [str(manifest) for manifest in manifests if not manifest.is_file()]:
        raise CorpusError(
            f"expected the Free Spoken Digit Dataset in ASR_DATA, but there is no {' and no '.join(absent)}; "
            "correct ASR_DATA, or unset it to download the data set"
        )
    return [Path(utterance.audio_filepath) for manifest in manifests for utterance in read_manifest(manifest)]


def _load(path: Path) -> Take:
    match = re.fullmatch(r"(\d)_([a-z]+)_(\d+)", path.stem)
    if match is None:
        raise CorpusError(f"{path}: expected a name such as 7_theo_12, a digit, a speaker and a number")
    waveform = read_audio(path, SAMPLE_RATE).waveform
    samples = np.rint(waveform * PCM_SCALE).astype(np.int16)  # 16-bit files: nothing is lost
    return Take(int(match[1]), match[2], int(match[3]), samples)


def _strings(options: FsddOptions, split: str, takes: Sequence[Take], count: int) -> list[Recording]:
    seed = (options.seed, SPLITS.index(split))
    return [*draw_strings(f"fsdd-{split}", takes, count, options.max_digits, seed)]


def _singles(takes: Sequence[Take]) -> list[Recording]:
    return [SingleTake(f"fsdd-{take.name}", (take,)) for take in takes]


def _write(folder: Path, recording: Recording) -> Utterance:
    waveform = recording.render()
    path = folder / f"{recording.id}.flac"
    write_audio(path, waveform.astype(np.float32), SAMPLE_RATE)
    return Utterance(
        id=recording.id,
        audio_filepath=str(path),
        duration=len(waveform) / SAMPLE_RATE,
        text=" ".join(WORDS[take.digit] for take in recording.takes),
        speaker=f"fsdd-{recording.takes[0].speaker}",
        lang="en",
        extra={"takes": [take.name for take in recording.takes]},
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "none"
