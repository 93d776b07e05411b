"""The built-in corpus: connected digits said by espeak-ng in a made-up room. It is synthetic from end to end.

Everything about an utterance is drawn from a generator seeded with (seed, split, index); what espeak-ng adds
of its own depends on the utterances that its process said before. So utterances are made in blocks of a fixed
size, each by one fresh process from its first to its last: any number of processes makes the same corpus.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soxr

from asr.audio import write_audio
from asr.data.ahead import num_usable_cores
from asr.errors import CorpusError
from asr.types import Utterance

from . import voices
from .common import SPLITS, WORDS, Report, check_at_least, thread_pool
from .room import NOISES, Waveform, add_noise, make_noise, reverberate, set_level
from .synthesis import ACCENTS, Espeak, Manner, Voice, find_espeak
from .synthesis import SAMPLE_RATE as ESPEAK_RATE

SAMPLE_RATE = 16000
BLOCK_UTTERANCES = 200  # a process takes 0.3 s to start and 2 s for these
VARIANTS = {"train": voices.TRAIN, "dev": voices.DEV, "test-strings": voices.TEST, "test-singles": voices.TEST}
PCM_SCALE = 32768.0


@dataclass(frozen=True, slots=True)
class SyntheticOptions:
    """What `asr prepare digits` takes for the synthetic corpus."""

    seed: int = 1  # everything is drawn from it
    num_train: int = 2400  # strings of 1 to max_digits digits
    num_dev: int = 150
    num_test_strings: int = 300
    num_test_singles: int = 200  # one digit each, the ten in turn
    max_digits: int = 7
    num_workers: int = 0  # processes; 0 is one for each core that may be used. The result does not depend on it

    def __post_init__(self) -> None:
        check_at_least(0, seed=self.seed, num_workers=self.num_workers)
        check_at_least(
            1, max_digits=self.max_digits, **{f"num_{k.replace('-', '_')}": v for k, v in self.sizes().items()}
        )

    def sizes(self) -> dict[str, int]:
        numbers = (self.num_train, self.num_dev, self.num_test_strings, self.num_test_singles)
        return dict(zip(SPLITS, numbers))


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is drawn for one utterance, but for the noise itself."""

    digits: tuple[int, ...]
    voice: Voice
    manner: Manner
    pauses_ms: tuple[int, ...]  # after each digit but the last; 0 for none
    margins_seconds: tuple[float, float]  # of silence before and after
    espeak_seed: int
    rt60_seconds: float
    direct_to_reverberant_db: float
    noise: str
    snr_db: float
    level_db: float  # of the speech, below full scale

    @property
    def text(self) -> str:
        return " ".join(WORDS[digit] for digit in self.digits)

    @property
    def ssml(self) -> str:
        breaks = [f' <break time="{pause}ms"/>' if pause else "" for pause in (*self.pauses_ms, 0)]
        return f"<speak>{' '.join(WORDS[d] + b for d, b in zip(self.digits, breaks))}</speak>"


@dataclass(frozen=True, slots=True)
class Block:
    """The utterances `start` to `stop` of a split, made by one process."""

    options: SyntheticOptions
    split: str
    start: int
    stop: int
    directory: str  # where `audio/<split>` lies


def draw(options: SyntheticOptions, split: str, index: int, rng: np.random.Generator) -> Plan:
    """Draw an utterance. One pause in two between digits is no pause at all: they are said in one breath."""
    length = 1 if split == "test-singles" else int(rng.integers(1, options.max_digits, endpoint=True))
    digits = tuple(int(digit) for digit in rng.integers(len(WORDS), size=length))
    if split == "test-singles":
        digits = (index % len(WORDS),)
    gaps = len(digits) - 1
    return Plan(
        digits=digits,
        voice=Voice(str(rng.choice(list(ACCENTS))), str(rng.choice(VARIANTS[split]))),
        manner=Manner(int(rng.integers(120, 241)), int(rng.integers(25, 76)), int(rng.integers(20, 91))),
        pauses_ms=tuple(int(p) for p in rng.integers(50, 401, size=gaps) * rng.integers(2, size=gaps)),
        margins_seconds=(float(rng.uniform(0.1, 0.4)), float(rng.uniform(0.1, 0.4))),
        espeak_seed=int(rng.integers(1, 2**31 - 1)),
        rt60_seconds=float(rng.uniform(0.1, 0.5)),
        direct_to_reverberant_db=float(rng.uniform(3.0, 20.0)),
        noise=str(rng.choice(NOISES)),
        snr_db=float(rng.uniform(10.0, 40.0)),
        level_db=float(rng.uniform(-35.0, -15.0)),
    )


def render(plan: Plan, espeak: Espeak, rng: np.random.Generator) -> Waveform:
    """(N,) samples at 16 kHz: the speech, with margins, in its room, with its noise, at its level."""
    spoken = espeak.say(plan.ssml, plan.voice, plan.manner, plan.espeak_seed).astype(np.float64) / PCM_SCALE
    speech = soxr.resample(_trim(spoken), ESPEAK_RATE, SAMPLE_RATE)
    before, after = (round(seconds * SAMPLE_RATE) for seconds in plan.margins_seconds)
    clean = np.pad(speech, (before, after))
    echoing = reverberate(clean, SAMPLE_RATE, plan.rt60_seconds, plan.direct_to_reverberant_db, rng)
    noise = make_noise(plan.noise, len(clean), SAMPLE_RATE, rng)
    return set_level(add_noise(echoing, noise, plan.snr_db, SAMPLE_RATE), plan.level_db, SAMPLE_RATE)


def make_block(block: Block) -> list[Utterance]:
    """Make and write the utterances of a block; to be called once a process (see `Espeak`)."""
    espeak = Espeak()
    return [_make(block, index, espeak) for index in range(block.start, block.stop)]


def make_corpus(options: SyntheticOptions, directory: Path, report: Report) -> dict[str, list[Utterance]]:
    """Make the audio of all splits below `directory`.

    Raises `CorpusError` when espeak-ng is missing or a process fails.
    """
    find_espeak()
    blocks = _blocks(options, directory)
    for split in SPLITS:
        (directory / "audio" / split).mkdir(parents=True)
    splits: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
    with thread_pool(options.num_workers or num_usable_cores()) as pool:
        for block, utterances in zip(blocks, pool.map(_run_block, blocks)):
            splits[block.split] += utterances
            report(len(utterances), sum(options.sizes().values()))
    return splits


def _blocks(options: SyntheticOptions, directory: Path) -> list[Block]:
    return [
        Block(options, split, start, min(start + BLOCK_UTTERANCES, size), str(directory.absolute()))
        for split, size in options.sizes().items()
        for start in range(0, size, BLOCK_UTTERANCES)
    ]


def _make(block: Block, index: int, espeak: Espeak) -> Utterance:
    rng = np.random.default_rng((block.options.seed, SPLITS.index(block.split), index))
    plan = draw(block.options, block.split, index, rng)
    waveform = render(plan, espeak, rng)
    identifier = f"synthetic-{block.split}-{index:05d}"
    path = Path(block.directory, "audio", block.split, f"{identifier}.flac")
    write_audio(path, waveform.astype(np.float32), SAMPLE_RATE)
    return Utterance(
        id=identifier,
        audio_filepath=str(path),
        duration=len(waveform) / SAMPLE_RATE,
        text=plan.text,
        speaker=f"synthetic-{plan.voice.name}",
        lang="en",
        extra={"synthetic": True, "accent": plan.voice.accent, "noise": plan.noise, "snr_db": round(plan.snr_db, 1)},
    )


def _run_block(block: Block) -> list[Utterance]:
    """Make a block in a fresh process. The command line loads recipes by their path, so no name would lead
    `multiprocessing` here; `python -m` started in the folder of the recipes finds this package."""
    package = Path(__file__).resolve().parent
    search_path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    finished = subprocess.run(
        [sys.executable, "-m", f"{package.name}.worker"],
        cwd=package.parent,
        env=os.environ | {"PYTHONPATH": search_path, "OPENBLAS_NUM_THREADS": "1"},
        input=json.dumps(asdict(block)),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if finished.returncode != 0:
        reason = finished.stderr.strip().splitlines()[-1:] or [f"exit status {finished.returncode}"]
        raise CorpusError(f"synthesis of {block.split} {block.start}-{block.stop} failed: {reason[0]}")
    return [Utterance(**record) for record in json.loads(finished.stdout)]


def _trim(speech: Waveform) -> Waveform:
    """Cut the silence at both ends: what is 50 dB below the peak, and less."""
    loud = np.flatnonzero(np.abs(speech) > np.abs(speech).max() * 10.0 ** (-50.0 / 20.0))
    return speech[loud[0] : loud[-1] + 1]
