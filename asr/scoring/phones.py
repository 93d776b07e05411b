"""Phones that count as the same when a phone error rate is measured.

TIMIT is transcribed in 61 phones and scored in 39: Lee and Hon, "Speaker-independent phone recognition using hidden
Markov models", IEEE Transactions on Acoustics, Speech, and Signal Processing 37 (1989), table I. They train 48 phones
and let those within a group count as one; the glottal stop `q` is removed. Every phone error rate on TIMIT that one
finds in print is of these 39.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from asr.errors import ScoringError

# Each line: the phone that counts, then those of the 61 and of the 48 that it stands for besides itself.
_TIMIT39_GROUPS = """
aa ao
ah ax ax-h
er axr
hh hv
ih ix
l el
m em
n en nx
ng eng
sh zh
uw ux
sil bcl dcl gcl pcl tcl kcl cl vcl pau epi h#
"""
_TIMIT39_ALONE = "ae aw ay b ch d dh dx eh ey f g iy jh k ow oy p r s t th uh v w y z"
_TIMIT_REMOVED = "q"
_COMMENTS = ("#", ";;")
_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class FoldingMap:
    """What each phone counts as."""

    name: str
    phones: Mapping[str, str | None]  # None: it is removed


def _timit39() -> FoldingMap:
    groups = [line.split() for line in _TIMIT39_GROUPS.strip().splitlines()]
    phones: dict[str, str | None] = {phone: group[0] for group in groups for phone in group}
    return FoldingMap("timit39", phones | {phone: phone for phone in _TIMIT39_ALONE.split()} | {_TIMIT_REMOVED: None})


TIMIT39 = _timit39()
_BUILT_IN = {TIMIT39.name: TIMIT39}


def folding_map(name: str | Path) -> FoldingMap:
    """Give a built-in map by its name, or read a file.

    The file has a line for each phone: the phone and what it counts as; a phone alone is removed. In three columns, as
    in Kaldi's `phones.60-48-39.map`, the first two both count as the third. What phones count as may itself occur in
    texts. A word that begins with `#` or `;;` begins a comment.

    Raises:
        ScoringError: neither a name nor a file; a line with more columns, or one that contradicts another; names the
            file and the line.
    """
    if str(name) in _BUILT_IN:
        return _BUILT_IN[str(name)]
    path = Path(name)
    phones: dict[str, str | None] = {}
    for number, columns in _rows(path):
        if len(columns) > _COLUMNS:
            raise ScoringError(
                f"{path}:{number}: expected a phone and what it counts as, got {len(columns)} columns: "
                f"{' '.join(columns)}"
            )
        target = columns[-1] if len(columns) > 1 else None
        for phone in columns[:-1] or columns:
            if phones.setdefault(phone, target) != target:
                raise ScoringError(
                    f"{path}:{number}: {phone} counts as {target or 'nothing'} here and as "
                    f"{phones[phone] or 'nothing'} above; keep one of the two lines"
                )
    for target in [target for target in phones.values() if target is not None]:
        if phones.setdefault(target, target) != target:
            raise ScoringError(
                f"{path}: phones count as {target}, which itself counts as {phones[target] or 'nothing'}; say for each "
                "phone what it counts as in the end"
            )
    return FoldingMap(path.name, phones)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and columns of what is no comment."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ScoringError(f"expected {' or '.join(_BUILT_IN)} or a file that folds phones, got {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ScoringError(f"{path} cannot be read as a UTF-8 text that folds phones: {error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        columns = list(takewhile(lambda word: not word.startswith(_COMMENTS), line.split()))
        if columns:
            yield number, columns


def fold(text: str, folding: FoldingMap) -> str:
    """Replace each phone by what it counts as; removed ones go. Runs of the same phone stay runs, as in Kaldi.

    Raises:
        ScoringError: a phone that the map does not know.
    """
    phones = text.split()
    if unknown := [phone for phone in phones if phone not in folding.phones]:
        raise ScoringError(f"expected phones of {folding.name}, got {unknown[0]!r}; add it to the map or mend the text")
    return " ".join(target for phone in phones if (target := folding.phones[phone]) is not None)
