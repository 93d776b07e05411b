"""Prepare the digits: `asr prepare digits` (synthetic) and `asr prepare digits data=fsdd` (real).

Both leave `train.jsonl`, `dev.jsonl`, `test-strings.jsonl`, `test-singles.jsonl` and the folder `audio`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from asr.data.corpora import whole_directory
from asr.data.manifest import write_manifest
from asr.errors import ConfigError
from asr.recipe import parse_options

from . import fsdd, synthetic
from .common import SPLITS

# What may lie in `out_dir` from an earlier time; `prepared.json` is the command line's note of how it was made.
PRODUCTS = ("audio", "prepared.json", *(f"{split}.jsonl" for split in SPLITS))


def prepare(name: str, options: Mapping[str, object], out_dir: Path, asr_data: Path | None) -> None:
    """Make the corpus `name`, "synthetic" or "fsdd", in `out_dir`: whole, or after an error not at all.

    `options` are fields of `SyntheticOptions` or `FsddOptions`; the same options make the same files. A corpus
    that lies in `out_dir` is replaced. `asr_data` is the folder with the recordings of fsdd; without it they
    are downloaded into `downloads` beside `out_dir`.

    Raises `ConfigError` for an unknown name, option or value, and `CorpusError` for everything that keeps the
    corpus from being made.
    """
    out_dir = Path(out_dir).absolute()
    if name == "synthetic":
        make = partial(synthetic.make_corpus, parse_options(synthetic.SyntheticOptions, options))
    elif name == "fsdd":
        parsed = parse_options(fsdd.FsddOptions, options)
        make = partial(fsdd.make_corpus, parsed, asr_data, out_dir.parent / "downloads")
    else:
        raise ConfigError(f"corpus of the recipe digits: expected synthetic or fsdd, got {name!r}")
    with whole_directory(out_dir, replaces=PRODUCTS) as temporary, _progress() as bar:
        task = bar.add_task(f"prepare {name} digits", total=None)
        splits = make(temporary, lambda done, total: bar.update(task, advance=done, total=total))
        for split in SPLITS:
            write_manifest(temporary / f"{split}.jsonl", splits[split])


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)
