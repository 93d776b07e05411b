"""Prepare yesno: `asr prepare yesno`. The recordings are fetched from OpenSLR unless they are on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from asr.data.lhotse_corpora import find_corpus, lhotse_recipe, our_transport, run_preparer, to_utterances, write_splits
from asr.errors import ConfigError
from asr.recipe import parse_options
from asr.text.normalize import normalize
from asr.types import Utterance

SHA256 = {  # as torchaudio.datasets has it
    "waves_yesno.tar.gz": "c3f49e0cca421f96b75b41640749167b52118f232498667ca7a5f9416aef8e73",
}
MARKERS = ("0_0_0_0_1_1_1_1.wav",)  # its first recording
DEV_EVERY = 6  # of the thirty training recordings: five


@dataclass(frozen=True, slots=True)
class YesnoOptions:
    """What `asr prepare yesno` takes."""

    corpus_dir: str = ""  # the folder with the sixty .wav files; "" for waves_yesno in ASR_DATA, or else the download
    mirror: str = ""  # in place of http://www.openslr.org


def prepare(name: str, options: Mapping[str, object], out_dir: Path, asr_data: Path | None) -> None:
    """Write train, dev and test: lhotse's split, of whose thirty training recordings every sixth is for development.

    Raises `CorpusError` when the corpus cannot be fetched or is not sixty recordings.
    """
    if name != "yesno":
        raise ConfigError(f"corpus of the recipe yesno: expected yesno, got {name!r}")
    parsed = parse_options(YesnoOptions, options)
    lhotse = lhotse_recipe("yesno")
    folder = find_corpus("yesno", parsed.corpus_dir, asr_data, MARKERS, spellings=("waves_yesno", "yesno/waves_yesno"))
    if folder is None:
        with our_transport(lhotse, checksums=SHA256, mirror=parsed.mirror):
            folder = lhotse.download_yesno(out_dir.absolute().parent / "downloads" / name)
    parts = run_preparer(lhotse.prepare_yesno, folder)
    train, test = (list(map(normalized, to_utterances(**parts[part]))) for part in ("train", "test"))
    dev = train[::DEV_EVERY]
    write_splits(out_dir, {"train": [u for u in train if u not in dev], "dev": dev, "test": test})


def normalized(utterance: Utterance) -> Utterance:
    """lhotse writes YES and NO."""
    return replace(utterance, text=normalize(utterance.text))
