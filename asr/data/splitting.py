"""One manifest into parts for training, development and test, none of which shares a speaker, or a text, with another.

Utterances that belong together, for their speaker or their text, make a group; groups are dealt out whole so that the
parts come close to the sizes asked for. The same manifest, sizes and seed give the same parts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from asr.errors import ConfigError, CorpusError
from asr.text.written import Rules, rewrite
from asr.types import Seconds, Utterance

Key = Literal["speaker", "text", "both"]

UNITS_SECONDS = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
TRIES = 200  # random orders, of which the best counts
MAX_DEALT = 400_000  # groups times tries
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(%|s|sec|min|m|h)?\s*")


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a part: a share of all audio, or seconds."""

    share: float | None = None
    seconds: Seconds | None = None

    @classmethod
    def parse(cls, option: str, text: str) -> Size:
        """Read `10%`, `0.1`, `30min`, `90s` or `1.5h`; 0 for no such part. Raises `ConfigError` naming the option."""
        match = _SIZE.fullmatch(text)
        if match is None or (match[2] is None and float(match[1]) >= 1):
            raise ConfigError(
                f"{option}: expected a share such as 10%, or a duration such as 30min or 1h, got {text!r}"
            )
        number = float(match[1])
        if match[2] == "%" or match[2] is None:
            return cls(share=number / 100 if match[2] else number)
        return cls(seconds=number * UNITS_SECONDS[match[2]])

    def of(self, total: Seconds) -> Seconds:
        """The size in seconds."""
        return self.share * total if self.share is not None else self.seconds or 0.0


@dataclass(frozen=True, slots=True)
class Split:
    """The parts by name, in the order of the manifest, and what was asked for."""

    parts: Mapping[str, tuple[Utterance, ...]]
    wanted: Mapping[str, Seconds]
    num_groups: int


def split(utterances: Sequence[Utterance], sizes: Mapping[str, Size], by: Key, seed: int = 0) -> Split:
    """Deal utterances out into parts.

    Args:
        utterances: of a manifest.
        sizes: of all parts but `train`, which takes the rest; those of size 0 are not made.
        by: what no two parts share: "speaker", "text" (as it is said, whatever its case and punctuation), or "both".
        seed: for the order in which groups are dealt.

    Raises:
        CorpusError: it cannot be done, as utterances name no speaker or there are fewer groups than parts; says what
            to do.
        ConfigError: the sizes leave nothing for training.
    """
    if not utterances:
        raise CorpusError("expected utterances to split, got none")
    total = sum(utterance.duration for utterance in utterances)
    wanted = {name: size.of(total) for name, size in sizes.items() if size.of(total) > 0}
    rest = total - sum(wanted.values())
    if not wanted or rest <= 0:
        asked = ", ".join(f"{name} {seconds / 60:.1f} min" for name, seconds in wanted.items()) or "no part"
        raise ConfigError(f"expected sizes that leave audio for training, got {asked} of {total / 60:.1f} min")
    wanted = {"train": rest} | wanted
    groups = _groups(utterances, by)
    durations = np.array([sum(utterances[i].duration for i in group) for group in groups])
    _check_possible(groups, list(wanted), by)
    targets = np.array(list(wanted.values()))
    dealt = _deal(durations, targets, seed)
    names = list(wanted)
    part_of = {index: names[part] for group, part in zip(groups, dealt) for index in group}
    parts = {name: tuple(u for i, u in enumerate(utterances) if part_of[i] == name) for name in names}
    return Split(parts, wanted, len(groups))


def _groups(utterances: Sequence[Utterance], by: Key) -> list[list[int]]:
    """The indices of utterances that belong together, in order of their first."""
    if by != "text":
        _check_speakers(utterances)
    first_of: dict[Hashable, int] = {}
    parent = list(range(len(utterances)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for index, utterance in enumerate(utterances):
        for key in _keys(utterance, by):
            one, other = root(first_of.setdefault(key, index)), root(index)
            parent[max(one, other)] = min(one, other)
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for index in range(len(utterances)):
        groups[root(index)].append(index)
    return list(groups.values())


def _keys(utterance: Utterance, by: Key) -> list[Hashable]:
    text = rewrite(utterance.text, Rules(digits="keep")).text if by != "speaker" else ""
    keys: list[Hashable] = [("text", text)] if text else []  # where nothing is said, nothing is shared
    return keys + ([("speaker", utterance.speaker)] if by != "text" else [])


def _check_speakers(utterances: Sequence[Utterance]) -> None:
    if unknown := [utterance.id for utterance in utterances if utterance.speaker is None]:
        raise CorpusError(
            f"expected a speaker of each utterance, {len(unknown):,} of {len(utterances):,} name none, such as "
            f"{unknown[0]}; split with --by text, or add the field `speaker` (asr data import folder "
            "--speakers-from-folders, or a column of that name)"
        )


def _check_possible(groups: Sequence[Sequence[int]], parts: Sequence[str], by: Key) -> None:
    if len(groups) < len(parts):
        kind = {"speaker": "speaker", "text": "text", "both": "set of speakers and their texts"}[by]
        other = {"speaker": "--by text", "text": "--by speaker", "both": "--by speaker or --by text"}[by]
        raise CorpusError(
            f"expected one {kind} or more for each of {', '.join(parts)}, got {len(groups)} in all, and none may be in "
            f"two of them; split with {other}, ask for fewer parts (--test 0), or record more"
        )


def _deal(durations: NDArray[np.float64], targets: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """The part of each group: the best of many random orders, in each of which a group goes where most is lacking."""
    rng = np.random.default_rng(seed)
    num_tries = max(1, min(TRIES, MAX_DEALT // len(durations)))
    best, least = np.zeros(len(durations), np.int64), np.inf
    for _ in range(num_tries):
        dealt = _deal_once(durations, targets, rng.permutation(len(durations)))
        sums = np.bincount(dealt, weights=durations, minlength=len(targets))
        is_complete = np.bincount(dealt, minlength=len(targets)).min() > 0
        off = float(np.max(np.abs(sums - targets) / targets)) if is_complete else np.inf
        if off < least:
            best, least = dealt, off
    return best if np.isfinite(least) else _one_each(durations, targets)


def _deal_once(
    durations: NDArray[np.float64], targets: NDArray[np.float64], order: NDArray[np.int64]
) -> NDArray[np.int64]:
    dealt = np.zeros(len(durations), np.int64)
    lacking = targets.tolist()
    for index in order.tolist():
        seconds = float(durations[index])
        fitting = [part for part, room in enumerate(lacking) if seconds <= room]
        # The smallest part that has room: the large one can always take what is left.
        part = min(fitting, key=targets.__getitem__) if fitting else max(range(len(lacking)), key=lacking.__getitem__)
        dealt[index] = part
        lacking[part] -= seconds
    return dealt


def _one_each(durations: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.int64]:
    """The shortest groups one by one to the smallest parts, all others to the largest: where no order fills each."""
    dealt = np.full(len(durations), int(targets.argmax()), np.int64)
    others = [part for part in np.argsort(targets, kind="stable") if part != targets.argmax()]
    dealt[np.argsort(durations, kind="stable")[: len(others)]] = others
    return dealt
