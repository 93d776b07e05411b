"""Prepare LibriSpeech, its small relative mini_librispeech, or the subset that lies in ASR_DATA."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asr.data.lhotse_corpora import (
    fetch,
    find_corpus,
    lhotse_recipe,
    our_transport,
    run_preparer,
    to_utterances,
    write_splits,
)
from asr.data.local_manifests import join_local_manifests
from asr.errors import ConfigError
from asr.recipe import parse_options
from asr.text.normalize import normalize
from asr.types import Utterance

from .parts import GENDERS, LM_TEXT, LM_TEXT_URL, MINI_PARTS, PARTS, RESOURCES, SHA256

SUBSET = {split: (f"librispeech-{split}",) for split in ("train", "dev", "test")}
NUM_READERS = 4  # threads that read the headers of audio files


@dataclass(frozen=True)
class LibrispeechOptions:
    """Where the corpus is, and what of it to prepare."""

    corpus_dir: str = ""  # the folder LibriSpeech; default: in ASR_DATA, else downloaded
    mirror: str = ""  # in place of https://www.openslr.org
    parts: tuple[str, ...] = ("train-clean-100", "dev-clean", "dev-other", "test-clean", "test-other")
    lm_text: bool = False  # fetch the official text for language models as well, 1.4 GB


@dataclass(frozen=True)
class MiniOptions(LibrispeechOptions):
    """The same, of mini_librispeech."""

    parts: tuple[str, ...] = MINI_PARTS


def prepare(name: str, options: Mapping[str, object], out_dir: Path, asr_data: Path | None) -> None:
    """Write `<part>.jsonl` for each part, and `lm-train.txt` with the texts of the training parts.

    Audio stays where it is: in data.options.corpus_dir, in ASR_DATA, or in `downloads` beside `out_dir`.

    Raises `ConfigError` for an unknown name, option or part, and `CorpusError` for all that keeps the corpus from
    being found, fetched or read; `out_dir` is then as it was.
    """
    if name == "librispeech":
        _prepare_parts(name, parse_options(LibrispeechOptions, options), PARTS, out_dir, asr_data)
    elif name == "mini_librispeech":
        _prepare_parts(name, parse_options(MiniOptions, options), MINI_PARTS, out_dir, asr_data)
    elif name != "librispeech_subset":
        expected = "librispeech, mini_librispeech or librispeech_subset"
        raise ConfigError(f"corpus of the recipe librispeech: expected {expected}, got {name!r}")
    elif options:
        raise ConfigError(f"data.options: {name} has none, got {', '.join(options)}")
    else:
        join_local_manifests(SUBSET, out_dir, asr_data)


def _prepare_parts(
    name: str, options: LibrispeechOptions, known: Sequence[str], out_dir: Path, asr_data: Path | None
) -> None:
    unknown = [part for part in options.parts if part not in known]
    if unknown or not options.parts:
        got = ", ".join(unknown) or "none"
        raise ConfigError(f"data.options.parts: expected some of {', '.join(known)}, got {got}")
    downloads = out_dir.absolute().parent / "downloads" / name
    folder = find_corpus(name, options.corpus_dir, asr_data, options.parts, spellings=("LibriSpeech",))
    lhotse = lhotse_recipe("librispeech")
    if folder is None:
        with our_transport(lhotse, checksums=SHA256, mirror=options.mirror):
            folder = lhotse.download_librispeech(downloads, list(options.parts), base_url=RESOURCES)
    if options.lm_text:
        fetch(LM_TEXT_URL, downloads / LM_TEXT, checksums=SHA256, mirror=options.mirror)
    made = run_preparer(lhotse.prepare_librispeech, folder, dataset_parts=list(options.parts), num_jobs=NUM_READERS)
    genders = read_genders(folder / "SPEAKERS.TXT")
    splits = {part: _complete(to_utterances(**made[part]), genders) for part in options.parts}
    training = [part for part in options.parts if part.startswith("train")]
    texts = {"lm-train.txt": [utterance.text for part in training for utterance in splits[part]]}
    write_splits(out_dir, splits, texts=texts, known=known)


def _complete(utterances: Iterable[Utterance], genders: Mapping[str, str]) -> list[Utterance]:
    """Texts in lower case, and the reader's gender where SPEAKERS.TXT states it."""
    return [
        replace(
            utterance,
            text=normalize(utterance.text),
            extra={"gender": genders[utterance.speaker]} if utterance.speaker in genders else {},
        )
        for utterance in utterances
    ]


def read_genders(speakers: Path) -> dict[str, str]:
    """Reader -> "female" or "male", from SPEAKERS.TXT; empty where a copy of the corpus came without that file.

    Its lines are `14   | F | train-clean-360  | 25.03 | Kristin LeMoine`, with `;` before comments. The name may have
    a `|` of its own: `60   | M | train-clean-100  | 20.18 | |CBW|Simon`.
    """
    if not speakers.is_file():
        return {}
    lines = speakers.read_text(encoding="utf-8", errors="replace").splitlines()
    fields = [line.split("|") for line in lines if not line.startswith(";") and "|" in line]
    return {reader.strip(): GENDERS[gender.strip()] for reader, gender, *_ in fields if gender.strip() in GENDERS}
