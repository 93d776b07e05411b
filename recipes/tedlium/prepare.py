"""Prepare TED-LIUM release 3 in its `legacy` split, whose dev and test sets are those of releases 1 and 2."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from asr.data.lhotse_corpora import find_corpus, lhotse_recipe, run_preparer, to_utterances, write_splits
from asr.errors import ConfigError, CorpusError
from asr.recipe import parse_options
from asr.text.normalize import normalize
from asr.types import Utterance

SPLITS = ("train", "dev", "test")
MARKERS = tuple(f"legacy/{split}/{folder}" for split in SPLITS for folder in ("sph", "stm"))
ARCHIVE = "TEDLIUM_release-3.tgz"
SHA256 = "ad1e454d14d1ad550bc2564c462d87c7a7ec83d4dc2b9210f22ab4973b9eccdb"  # as torchaudio.datasets has it

UNKNOWN = "<unk>"
UNKNOWN_WORD = re.compile(rf"{UNKNOWN}(?: +'\w+)*")  # with the suffixes that stand apart from it: "<unk> 's"
# A noise such as {BREATH} or [NOISE]; a label such as <sil>; the number of a pronunciation, as in "a(2)"; and, at the
# end of some training lines, the segment's name in parentheses.
NOT_WORDS = re.compile(r"\{[^}]*\}|\[[^\]]*\]|<[^>]*>|\(\d+\)|\([^ ()]*\)\s*$")
SUFFIX = re.compile(r"(?<=\w) +'(?=\w)")  # "it 's", "i 'd 've"
DANGLING = re.compile(r"(?<!\S)' +(?=\w)")  # "' cause"


@dataclass(frozen=True)
class TedliumOptions:
    """Where the corpus is."""

    corpus_dir: str = ""  # the folder TEDLIUM_release-3; default: in ASR_DATA


def prepare(name: str, options: Mapping[str, object], out_dir: Path, asr_data: Path | None) -> None:
    """Write train, dev and test; an utterance is a stretch of a talk, whose audio stays where it is.

    Raises `ConfigError` for an unknown name or option, and `CorpusError`, which says how to get it, when the corpus
    is not on disk, and for all that keeps it from being read; `out_dir` is then as it was.
    """
    if name != "tedlium":
        raise ConfigError(f"corpus of the recipe tedlium: expected tedlium, got {name!r}")
    corpus_dir = parse_options(TedliumOptions, options).corpus_dir
    folder = find_corpus(name, corpus_dir, asr_data, MARKERS, spellings=("TEDLIUM_release-3", "TEDLIUM_release3"))
    if folder is None:
        raise CorpusError(
            f"TED-LIUM 3 is expected on disk: fetch {ARCHIVE} from https://www.openslr.org/51 (50 GB, sha256 {SHA256}) "
            "and unpack it with tar: it holds links, and asr unpacks no archive with links; then set "
            "+data.options.corpus_dir=…/TEDLIUM_release-3, or put that folder into ASR_DATA"
        )
    made = run_preparer(lhotse_recipe("tedlium").prepare_tedlium, folder, dataset_parts=SPLITS)
    write_splits(out_dir, {split: [_clean(u) for u in to_utterances(**made[split])] for split in SPLITS})


def _clean(utterance: Utterance) -> Utterance:
    """The utterance with its words as people write them; `unknown_words` counts those that nobody wrote down."""
    num_unknown = utterance.text.split().count(UNKNOWN)
    extra = {"unknown_words": num_unknown} if num_unknown else {}
    return replace(utterance, text=clean_text(utterance.text), extra=extra)


def clean_text(text: str) -> str:
    """What is left of a line of an STM file when all that is not a word is gone; apostrophes as in Kaldi's recipe.

    >>> clean_text("{BREATH} i 'm a(2) <unk> [NOISE] ' cause they 'd 've <sil> (AlGore_2009-1.00-2.00-F0_M-S1)")
    "i'm a 'cause they'd've"
    """
    words = normalize(NOT_WORDS.sub(" ", UNKNOWN_WORD.sub(" ", text)))
    return DANGLING.sub("'", SUFFIX.sub("'", words))
