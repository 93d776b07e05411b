"""NeMo's manifests. Ours have the same form, so that writing one is nothing else.

Reading takes what NeMo lets pass: speakers that are numbers, durations that are absent (they are measured), and
transcripts of another model in `pred_text`, which are dropped. Relative paths are relative to the manifest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from asr.data.exchange.faults import Faults
from asr.data.exchange.records import Record, read_lines, to_utterances
from asr.data.manifest import LineError, parse_line, write_manifest
from asr.types import Utterance

DROPPED = "pred_text"


def read_nemo(
    manifest: Path, *, audio_root: Path | None = None, faults: Faults | None = None, show_progress: bool = False
) -> list[Utterance]:
    """Read a manifest; see above, and `asr.data.exchange.read_corpus`."""
    faults = faults or Faults()
    root = audio_root or manifest.parent
    return to_utterances(_records(manifest, faults), root, manifest, faults=faults, show_progress=show_progress)


def write_nemo(manifest: Path, utterances: Sequence[Utterance]) -> None:
    """Write a manifest: see `asr.data.manifest.write_manifest`."""
    write_manifest(manifest, utterances)


def json_records(path: Path, faults: Faults) -> Iterator[Record]:
    """The JSON object of each line, as it stands there. A line that is none is a fault."""
    for place, line in read_lines(path):
        try:
            yield Record(place, parse_line(line.encode("utf-8")))
        except LineError as error:
            faults.report("malformed", place, str(error))


def _records(manifest: Path, faults: Faults) -> Iterator[Record]:
    for record in json_records(manifest, faults):
        fields = {name: value for name, value in record.fields.items() if name != DROPPED}
        if isinstance(fields.get("speaker"), int):
            fields["speaker"] = str(fields["speaker"])
        yield Record(record.place, fields)
