"""Utterances whose audio turns out to be of no use while a run goes on.

A large corpus is not listened to before the first step, and files get damaged. An utterance that cannot be read when
its turn comes is left out of its batch, each time: what a step does depends on the data alone, and a run that goes on
does the same again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from asr.data.findings import Finding
from asr.data.usable import LIMIT_CODES, refuse_too_many
from asr.processes import ALONE, Processes

CODE = "unreadable-audio"


@dataclass(frozen=True, slots=True)
class SetSize:
    """How large a set is, and what was left out of it before."""

    num_utterances: int
    drop_counts: Mapping[str, int] = field(default_factory=dict)  # a finding's code -> how many


class LateDrops:
    """Collects the utterances that cannot be read, and ends the run when they are too many.

    sizes: name of a set -> its size; max_share: `data.max_unusable_share`; path: the list of all that is left out, to
    which the leader adds.

    Attributes:
        found: name of a set -> id of an utterance -> why it cannot be read. Threads may add to it.
    """

    def __init__(self, sizes: Mapping[str, SetSize], max_share: float = 1.0, path: Path | None = None) -> None:
        self.sizes = sizes
        self.max_share = max_share
        self.path = path
        self.found: dict[str, dict[str, str]] = {name: {} for name in sizes}
        self._told: set[tuple[str, str]] = set()

    def check(self, name: str) -> None:
        """Raise `ManifestError` when more of a set than allowed cannot be used, by what this process knows."""
        size, found = self.sizes[name], self.found[name].copy()
        counts = Counter({code: n for code, n in size.drop_counts.items() if code not in LIMIT_CODES})
        counts[CODE] += len(found)
        if found:
            refuse_too_many(name, counts, list(found.items()), size.num_utterances, self.max_share)

    def exchange(self, processes: Processes = ALONE) -> list[tuple[str, str, str]]:
        """Set, id and reason of each utterance found since the last time, in all processes the same.

        All processes must call it. Raises `ManifestError` in all of them when there are too many.
        """
        for part in processes.gather([{name: found.copy() for name, found in self.found.items()}]):
            for name, found in part.items():
                self.found[name] |= found
        drops = [(name, id, why) for name, found in self.found.items() for id, why in sorted(found.items())]
        new = [drop for drop in drops if drop[:2] not in self._told]
        self._told |= {(name, id) for name, id, _ in new}
        if new and processes.is_leader and self.path is not None:
            _add_lines(self.path, new)
        for name in self.sizes:
            self.check(name)
        return new


def _add_lines(path: Path, drops: list[tuple[str, str, str]]) -> None:
    """Add a line for each, but for those that stand there already: a run that went back finds them again."""
    text = path.read_text(encoding="utf-8", errors="surrogateescape") if path.is_file() else ""
    known = {(row["set"], row["id"]) for row in map(json.loads, text.splitlines())}
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        for name, id, why in drops:
            if (name, id) not in known:
                finding = Finding(CODE, id, why, drop=True)
                file.write(json.dumps({"set": name, **finding.to_json()}, ensure_ascii=False) + "\n")
