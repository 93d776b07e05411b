"""lhotse's cuts: JSON lines, plain or gzipped, through lhotse itself (`pip install "blstm-asr[corpora]"`).

Reading takes MonoCuts of recordings in mono files. Each supervision becomes an utterance of its id, at its place in
the recording; a cut without one becomes an utterance without text. Cuts that are more than a stretch of a file (mixed,
padded, of several channels, with changed speed or rate) and recordings that are no files (commands, addresses, memory)
are refused; lhotse's `save_audios` makes files of them. No audio is opened by lhotse.

Writing makes one MonoCut with one supervision of each utterance. Further fields go into the supervision's `custom`.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from asr.audio import AudioInfo
from asr.data.exchange.faults import Faults
from asr.data.exchange.kaldi import check_inside
from asr.data.exchange.records import Record, measure_utterances, seconds, to_utterances
from asr.data.manifest import FIELDS
from asr.errors import ConfigError, CorpusError
from asr.files import replacing
from asr.types import Utterance

SUFFIXES = (".jsonl", ".jsonl.gz")
ADVICE = "save the cuts' audio first (lhotse: CutSet.save_audios), and import what that returns"


def read_lhotse(
    path: Path, *, audio_root: Path | None = None, faults: Faults | None = None, show_progress: bool = False
) -> list[Utterance]:
    """Read cuts; see above, and `asr.data.exchange.read_corpus`."""
    _require_lhotse()
    faults = faults or Faults()
    root = audio_root or path.parent
    return to_utterances(_records(path, faults), root, path, faults=faults, show_progress=show_progress)


def write_lhotse(path: Path, utterances: Sequence[Utterance], *, show_progress: bool = False) -> None:
    """Write cuts; see above, and `asr.data.exchange.write_corpus`."""
    _require_lhotse()
    if not path.name.endswith(SUFFIXES):
        raise ConfigError(f"expected a target named {' or '.join(f'*{suffix}' for suffix in SUFFIXES)}, got {path}")
    infos = measure_utterances(utterances, show_progress)
    cuts = [_to_cut(utterance, infos[utterance.audio_filepath]) for utterance in utterances]
    content = "".join(json.dumps(cut, ensure_ascii=False, allow_nan=False) + "\n" for cut in cuts).encode("utf-8")
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _require_lhotse() -> None:
    try:
        import lhotse  # noqa: F401
    except ImportError as error:
        raise CorpusError('lhotse\'s cuts need lhotse: pip install "blstm-asr[corpora]"') from error


def _records(path: Path, faults: Faults) -> Iterator[Record]:
    for number, line in enumerate(_read(path).split(b"\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            yield from _line_records(place, line)
        except CorpusError as error:
            faults.take("malformed", place, error)


def _line_records(place: str, line: bytes) -> list[Record]:
    from lhotse.serialization import deserialize_item

    try:
        item = json.loads(line)
        kind = item.get("type") if isinstance(item, dict) else None
        if kind != "MonoCut":
            raise CorpusError(f"{place}: expected a MonoCut, got {kind or 'something that is no cut'}; {ADVICE}")
        return list(_cut_records(place, deserialize_item(item)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CorpusError(f"{place}: expected a cut as lhotse writes it: {error}") from error


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorpusError(f"{path}: expected a whole gzip file: {error}") from error
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from error


def _cut_records(place: str, cut: Any) -> Iterator[Record]:
    recording = cut.recording
    if recording is None:
        raise CorpusError(f"{place}: expected a cut with a recording, {cut.id!r} has features alone")
    if recording.transforms:
        raise CorpusError(f"{place}: the audio of {cut.id!r} is changed in loading ({recording.transforms}); {ADVICE}")
    if len(recording.sources) != 1 or recording.sources[0].type != "file":
        kinds = ", ".join(source.type for source in recording.sources)
        raise CorpusError(f"{place}: expected a recording in one file for {cut.id!r}, got {kinds or 'none'}; {ADVICE}")
    if recording.num_channels != 1:
        raise CorpusError(f"{place}: expected mono, {recording.id!r} has {recording.num_channels} channels; {ADVICE}")
    audio = {"audio_filepath": recording.sources[0].source}
    if not cut.supervisions:
        yield Record(place, audio | {"id": cut.id, "offset": cut.start, "duration": cut.duration, "text": ""})
    for supervision in cut.supervisions:
        yield Record(place, audio | _supervision_fields(place, cut, supervision))


def _supervision_fields(place: str, cut: Any, supervision: Any) -> dict[str, Any]:
    """The part of the supervision that lies inside the cut."""
    start, end = max(0.0, supervision.start), min(supervision.end, cut.duration)
    custom = supervision.custom or {}
    if clash := sorted(FIELDS & custom.keys()):
        raise CorpusError(f"{place}: expected no field of a manifest in 'custom', got {', '.join(clash)}; rename them")
    fields = {
        "id": supervision.id,
        "offset": round(cut.start + start, 6),
        "duration": round(end - start, 6),
        "text": supervision.text or "",
        "speaker": supervision.speaker,
        "lang": supervision.language,
    }
    return fields | ({} if supervision.gender is None else {"gender": supervision.gender}) | custom


def _to_cut(utterance: Utterance, info: AudioInfo) -> Any:
    from lhotse import AudioSource, MonoCut, Recording, SupervisionSegment

    check_inside(utterance, info)
    if info.channels != 1:
        raise CorpusError(
            f"utterance {utterance.id!r}: expected mono for a MonoCut, {utterance.audio_filepath} has "
            f"{info.channels} channels; convert it"
        )
    recording = Recording(
        id=utterance.id,
        sources=[AudioSource(type="file", channels=[0], source=utterance.audio_filepath)],
        sampling_rate=info.sample_rate,
        num_samples=info.num_samples,
        duration=seconds(info),
    )
    # A manifest's times are rounded; lhotse wants a cut to end with its recording at the latest.
    duration = min(utterance.duration, seconds(info) - utterance.offset)
    custom = {name: value for name, value in utterance.extra.items() if name != "gender"}
    supervision = SupervisionSegment(
        id=utterance.id,
        recording_id=utterance.id,
        start=0.0,
        duration=duration,
        text=utterance.text,
        speaker=utterance.speaker,
        language=utterance.lang,
        gender=utterance.extra.get("gender"),
        custom=custom or None,
    )
    cut = MonoCut(utterance.id, utterance.offset, duration, 0, supervisions=[supervision], recording=recording)
    return cut.to_dict()
