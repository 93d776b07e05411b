"""Manifests from and to what other toolkits read: Kaldi, ESPnet, lhotse, NeMo, tables.

    utterances = read_corpus("kaldi", "data/train")
    write_corpus("lhotse", "train.jsonl.gz", utterances)

Each format's module says what it holds and what of a manifest it cannot. Nothing that a source contains is executed,
and audio stays where it is. What is written appears whole or not at all.

    faults      records that are errors, or are left out and listed
    records     what all readers have in common: fields of manifest lines, checked, measured and named
    kaldi       data directories
    espnet      the same as ESPnet wants them
    lhotse_cuts cuts, as JSON lines
    nemo        NeMo's manifests
    rows, table CSV and TSV
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asr.data.exchange.espnet import write_espnet
from asr.data.exchange.faults import FaultError, Faults, LeftOut
from asr.data.exchange.kaldi import read_kaldi, write_kaldi
from asr.data.exchange.lhotse_cuts import read_lhotse, write_lhotse
from asr.data.exchange.nemo import read_nemo, write_nemo
from asr.data.exchange.table import Columns, read_table, write_table
from asr.errors import ConfigError, CorpusError
from asr.types import Utterance

__all__ = ["FORMATS", "Columns", "FaultError", "Faults", "LeftOut", "read_corpus", "write_corpus"]

FORMATS = ("kaldi", "espnet", "lhotse", "nemo", "csv", "tsv")
TABLES = ("csv", "tsv")
CHOSEN_BY_NAME = Columns()


def read_corpus(
    format: str,
    source: str | Path,
    *,
    audio_root: Path | None = None,
    columns: Columns = CHOSEN_BY_NAME,
    faults: Faults | None = None,
    show_progress: bool = False,
) -> list[Utterance]:
    """Read the utterances of `source`, durations measured from the audio where it states none.

    Args:
        format: one of `FORMATS`.
        source: a directory (kaldi, espnet) or a file.
        audio_root: what relative audio paths are relative to; None: for kaldi and espnet the working directory,
            from which their scripts run, for the others the folder of `source`.
        columns: csv and tsv only.
        faults: told of records that no manifest can hold, such as one without audio; None: the first is an error.
        show_progress: a bar while audio is measured.

    Raises:
        ConfigError: an unknown format, or `columns` for one that has none.
        CorpusError: a malformed line (file and line), a missing file, audio that is not there or has to be converted.
    """
    source = Path(source)
    if columns != CHOSEN_BY_NAME and format not in TABLES:
        raise ConfigError(f"columns belong to {' and '.join(TABLES)}; {format} has none")
    match format:
        case "kaldi" | "espnet":
            return read_kaldi(source, audio_root=audio_root, faults=faults, show_progress=show_progress)
        case "lhotse":
            return read_lhotse(source, audio_root=audio_root, faults=faults, show_progress=show_progress)
        case "nemo":
            return read_nemo(source, audio_root=audio_root, faults=faults, show_progress=show_progress)
        case "csv" | "tsv":
            return read_table(
                source, format, columns, audio_root=audio_root, faults=faults, show_progress=show_progress
            )
    raise _unknown(format)


def write_corpus(
    format: str, target: str | Path, utterances: Sequence[Utterance], *, show_progress: bool = False
) -> None:
    """Write utterances as `format` holds them; an earlier export in the same place is replaced.

    Args:
        format: one of `FORMATS`.
        target: a directory (kaldi, espnet) or a file.
        utterances: those of a manifest, audio paths absolute.
        show_progress: a bar while the headers of the audio are read (kaldi, espnet, lhotse).

    Raises:
        ConfigError: an unknown format.
        CorpusError: an utterance that the format cannot hold, or whose audio is not there; names it. None at all.
        OutputError: the target cannot be written.
    """
    target = Path(target)
    if format not in FORMATS:
        raise _unknown(format)
    if not utterances:
        raise CorpusError(f"expected utterances to write to {target}, got none")
    match format:
        case "kaldi":
            write_kaldi(target, utterances, show_progress=show_progress)
        case "espnet":
            write_espnet(target, utterances, show_progress=show_progress)
        case "lhotse":
            write_lhotse(target, utterances, show_progress=show_progress)
        case "nemo":
            write_nemo(target, utterances)
        case "csv" | "tsv":
            write_table(target, format, utterances)


def _unknown(format: str) -> ConfigError:
    return ConfigError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")
