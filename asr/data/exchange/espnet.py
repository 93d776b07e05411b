"""ESPnet's data directories (data/SET, dump/raw/SET): Kaldi's, with utt2num_samples and feats_type beside.

They are read as Kaldi's are; utt2num_samples is not needed, since it does not say at which rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asr.data.exchange.kaldi import KALDI_FILES, kaldi_tables, write_tables
from asr.data.exchange.records import measure_utterances
from asr.types import Utterance

ESPNET_FILES = (*KALDI_FILES, "utt2num_samples", "feats_type")


def write_espnet(directory: Path, utterances: Sequence[Utterance], *, show_progress: bool = False) -> None:
    """Write a data directory, whole or not at all; see `asr.data.exchange.write_corpus`."""
    infos = measure_utterances(utterances, show_progress)
    tables = kaldi_tables(utterances, infos)
    tables["utt2num_samples"] = [
        f"{u.id} {round(u.duration * infos[u.audio_filepath].sample_rate)}" for u in utterances
    ]
    tables["feats_type"] = ["raw"]
    write_tables(directory, tables, replaces=ESPNET_FILES)
