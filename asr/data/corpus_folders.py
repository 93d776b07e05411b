"""Where a corpus lies on disk, and the folder of manifests that a recipe makes of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from asr.data.archives import whole_directory
from asr.data.manifest import write_manifest
from asr.errors import CorpusError
from asr.files import write_text
from asr.types import Utterance


def find_corpus(
    name: str, corpus_dir: str, asr_data: Path | None, markers: Sequence[str], *, spellings: Sequence[str] = ()
) -> Path | None:
    """The folder of a corpus that is on disk, absolute; None where it has to be fetched.

    It is `corpus_dir`, the option in which the user named it, else a folder `name` in `asr_data`. Either may be the
    folder itself or hold it under `name` or one of `spellings`, such as "LibriSpeech". `markers` are what it is known
    by: paths inside it that must all exist.

    Raises `CorpusError`, naming what is expected, when `corpus_dir` is given and is not the corpus.
    """
    names = (name, *spellings)
    if corpus_dir:
        root = Path(corpus_dir).expanduser().absolute()
        folders = (root, *(root / spelling for spelling in names))
    elif asr_data is not None:
        roots = [asr_data.absolute() / spelling for spelling in names]
        folders = (*roots, *(root / spelling for root in roots for spelling in names))
    else:
        return None
    for folder in folders:
        if not _missing(folder, markers):
            return folder
    if not corpus_dir:
        return None
    # Of those that lack equally much, the one with the corpus's name.
    nearest = min(reversed(folders), key=lambda folder: (len(_missing(folder, markers)), not folder.is_dir()))
    raise CorpusError(
        f"data.options.corpus_dir: expected the folder of {name}, with {', '.join(markers)} in it, got {nearest} "
        f"without {', '.join(_missing(nearest, markers))}; name the folder that holds them, or leave the option out"
    )


def _missing(folder: Path, markers: Sequence[str]) -> list[str]:
    return [marker for marker in markers if not (folder / marker).exists()]


def write_splits(
    out_dir: Path,
    splits: Mapping[str, Sequence[Utterance]],
    *,
    texts: Mapping[str, Sequence[str]] | None = None,
    known: Collection[str] = (),
) -> None:
    """Write `<split>.jsonl` for each split, and text files for language models, all or nothing.

    An earlier preparation in `out_dir` is replaced; it may hold what these parameters name and nothing else.

    Args:
        out_dir: the folder of the manifests.
        splits: name of the split -> its utterances; none may be empty.
        texts: name of a text file -> its lines.
        known: further splits that an earlier preparation, with other options, may have left there.

    Raises:
        CorpusError: a split without an utterance; something else in `out_dir`.
    """
    texts = texts or {}
    if empty := [name for name, utterances in splits.items() if not utterances]:
        raise CorpusError(f"expected utterances in {', '.join(empty)}, found none; is the corpus whole?")
    products = ["prepared.json", *texts, *(f"{name}.jsonl" for name in {*splits, *known})]
    with whole_directory(out_dir.absolute(), replaces=products) as temporary:
        for name, utterances in splits.items():
            write_manifest(temporary / f"{name}.jsonl", utterances)
        for name, lines in texts.items():
            write_text(temporary / name, "".join(f"{line}\n" for line in lines))
