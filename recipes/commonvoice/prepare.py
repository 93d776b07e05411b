"""Prepare Common Voice (Ardila et al. 2020), one language of one release.

lhotse's reader wants the columns of one release and leaves clips that are missing out in silence; this one reads all
releases, and says what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from rich.console import Console

from asr.data.corpora import unpack
from asr.data.lhotse_corpora import fetch, write_splits
from asr.errors import ConfigError, CorpusError
from asr.recipe import parse_options
from asr.types import Utterance

from .release import read_split
from .sentences import spoken

BENCHMARK_OPTION = "language"  # `--benchmark commonvoice/de/test` sets it to "de"
SPLITS = ("train", "dev", "test")
RELEASES = "cv-corpus-*"
HOW_TO_GET_IT = (
    "accept the terms at https://datacollective.mozillafoundation.org (Mozilla Data Collective, the only place since "
    "October 2025), unpack the archive, and name the folder that holds cv-corpus-… "
    "with +data.options.corpus_dir=FOLDER, or put it into ASR_DATA; a download address that you were given goes into "
    "+data.options.url"
)


@dataclass(frozen=True)
class CommonVoiceOptions:
    """Which language, and where it is."""

    language: str = "en"  # a folder of the release: de, zh-TW, …
    version: str = ""  # such as 17.0; default: the newest that is there
    corpus_dir: str = ""  # holds cv-corpus-…, or is that, or the language's folder; default: in ASR_DATA
    url: str = ""  # of the archive, as it was given to you
    sha256: str = ""  # of the archive, as it was given to you
    keep_punctuation: bool = False
    validated: bool = False  # train on all validated clips whose speaker and sentence are in neither dev nor test
    skip_missing_clips: bool = False  # else a clip that is not there is an error

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9-]+", self.language):
            raise ConfigError(f"data.options.language: expected a language such as de or zh-TW, got {self.language!r}")


def prepare(name: str, options: Mapping[str, object], out_dir: Path, asr_data: Path | None) -> None:
    """Write train, dev and test; audio stays where it is: in corpus_dir, in ASR_DATA, or in `downloads`.

    Raises `ConfigError` for an unknown name or option, and `CorpusError` for all that keeps the corpus from being
    found, fetched or read; `out_dir` is then as it was.
    """
    if name != "commonvoice":
        raise ConfigError(f"corpus of the recipe commonvoice: expected commonvoice, got {name!r}")
    parsed = parse_options(CommonVoiceOptions, options)
    roots = [Path(parsed.corpus_dir).expanduser()] if parsed.corpus_dir else []
    if parsed.url:
        roots = [_download(parsed, out_dir)]
    elif not roots and asr_data is not None:
        roots = [asr_data, asr_data / "commonvoice"]
    folder = find_language([root.absolute() for root in roots], parsed.language, parsed.version)
    write_splits(out_dir, read_splits(folder, parsed))


def find_language(roots: Sequence[Path], language: str, version: str) -> Path:
    """The folder with a language's train.tsv, of the release asked for or the newest.

    That is cv-corpus-17.0-2024-03-15/de; up to release 4 it is cv-corpus-3_de, or what it was unpacked into by hand.

    Raises `CorpusError` that says which languages there are, or how to get the corpus.
    """
    releases = [release for root in roots for release in (root, *root.glob(RELEASES))]
    if version:
        wanted = re.compile(rf"cv-corpus-{re.escape(version)}(?![\d.])")
        releases = [release for release in releases if wanted.match(release.name)]
    folders = [release / language for release in releases]
    folders += [release for release in releases if release in roots or release.name.endswith(f"_{language}")]
    found = [folder for folder in folders if (folder / "train.tsv").is_file()]
    if found:
        return max(found, key=_version)
    there = sorted({path.parent.name for release in releases for path in release.glob("*/train.tsv")})
    where = ", ".join(map(str, roots)) or "no folder: neither data.options.corpus_dir nor ASR_DATA is set"
    raise CorpusError(
        f"expected Common Voice{f' {version}' if version else ''}, language {language!r}, in {where}; "
        f"found {', '.join(there) or 'none of it'}. To get it, {HOW_TO_GET_IT}"
    )


def read_splits(folder: Path, options: CommonVoiceOptions) -> dict[str, list[Utterance]]:
    """The official splits, texts as they are spoken; people of the test set are in no other, those of dev not in train.

    Raises `CorpusError` for a malformed line, another language's file and, unless they may be skipped, missing clips.
    """
    read = partial(read_split, folder, options.language, skip_missing_clips=options.skip_missing_clips)
    rows = {split: read(split) for split in SPLITS}
    if options.validated:
        held_out = [utterance for split in ("dev", "test") for utterance in rows[split]]
        sentences = {utterance.text for utterance in held_out}
        rows["train"] = [utterance for utterance in read("validated") if utterance.text not in sentences]
    rows["dev"] = _without_speakers_of(rows["test"], rows["dev"], "dev", "test")
    for other in ("dev", "test"):
        rows["train"] = _without_speakers_of(rows[other], rows["train"], "train", other)
    return {
        split: [replace(u, text=spoken(u.text, options.keep_punctuation)) for u in utterances]
        for split, utterances in rows.items()
    }


def _without_speakers_of(
    held_out: Sequence[Utterance], others: list[Utterance], name: str, other: str
) -> list[Utterance]:
    """`others` without those who are in `held_out`; says so where there are any: the official splits have none."""
    speakers = {utterance.speaker for utterance in held_out} - {None}
    kept = [utterance for utterance in others if utterance.speaker not in speakers]
    if len(kept) < len(others):
        left_out = f"left out of {name}: {len(others) - len(kept):,} clips of speakers who are in {other}"
        Console(stderr=True, markup=False, highlight=False, soft_wrap=True).print(left_out)
    return kept


def _download(options: CommonVoiceOptions, out_dir: Path) -> Path:
    downloads = out_dir.absolute().parent / "downloads"
    name = PurePosixPath(urlsplit(options.url).path).name or "archive"
    unpacked = downloads / name.removesuffix(".gz").removesuffix(".tar")
    if not unpacked.exists():
        fetch(options.url, downloads / name, checksums={name: options.sha256} if options.sha256 else {})
        unpack(downloads / name, unpacked)
    return unpacked


def _version(folder: Path) -> tuple[int, ...]:
    """The numbers of "cv-corpus-17.0-2024-03-15/de" or "cv-corpus-3_de", by which releases are ordered."""
    release = folder.name if folder.match(RELEASES) else folder.parent.name
    return tuple(map(int, re.findall(r"\d+", release)))
