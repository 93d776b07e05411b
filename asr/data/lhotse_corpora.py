"""Corpora that lhotse knows: its downloaders over our transport, its preparers, its manifests as our utterances.

    librispeech = lhotse_recipe("librispeech")
    with our_transport(librispeech, checksums=SHA256, mirror=options.mirror):
        folder = librispeech.download_librispeech(downloads, "librispeech")
    parts = run_preparer(librispeech.prepare_librispeech, folder)
    utterances = to_utterances(**parts["dev-clean"])

lhotse is an extra: `pip install "blstm-asr[corpora]"`. Downloads are compared with the SHA-256 that is published for
them; where none is, the size that the server states and the check sums inside the compressed archive have to do.
"""

from __future__ import annotations

import importlib
import logging
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console

from asr.data.archives import DAMAGE, explain_damage, unpack_into
from asr.data.corpora import download
from asr.data.corpus_folders import find_corpus, write_splits
from asr.errors import AsrError, CorpusError
from asr.types import Utterance

__all__ = [
    "fetch",
    "find_corpus",
    "lhotse_recipe",
    "our_transport",
    "run_preparer",
    "to_utterances",
    "write_splits",
]

LEFT_OUT = "No such file"  # how lhotse's preparers begin the warning that they leave an utterance out
LANGUAGES = {"English": "en", "Hebrew": "he"}  # lhotse writes some languages in words
MESSAGES_SHOWN = 3


def lhotse_recipe(name: str) -> ModuleType:
    """The module `lhotse.recipes.<name>`.

    Raises `CorpusError` that says what to install when lhotse is absent.
    """
    try:
        return importlib.import_module(f"lhotse.recipes.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "lhotse":
            raise
        raise CorpusError(
            'this corpus is read by lhotse, which is not installed: pip install "blstm-asr[corpora]"'
        ) from error


@contextmanager
def our_transport(*modules: ModuleType, checksums: Mapping[str, str], mirror: str = "") -> Iterator[None]:
    """Inside the block, the downloaders of these lhotse modules fetch and unpack by our rules.

    Downloads resume and are checked (`asr.data.corpora.download`); an archive with a link, a device or a path that
    leaves its folder is refused before anything is written (`asr.data.archives.unpack_into`).

    Args:
        modules: of lhotse.recipes; those that open zip files themselves are not fit for it.
        checksums: file name of an archive -> SHA-256, where one is published.
        mirror: "https://mirror.example.org" takes the place of scheme and host of every address; a path that it has
            goes before the address's own.

    Raises:
        CorpusError: what cannot be fetched, is not what was published, is damaged or is refused.
    """
    fetched: list[Path] = []

    def resumable_download(url: str, filename: str | Path, force_download: bool = False) -> None:
        path = Path(filename)
        if force_download:
            path.unlink(missing_ok=True)
        fetched.append(path)
        fetch(url, path, checksums=checksums, mirror=mirror)

    def safe_extract(tar: tarfile.TarFile, path: str | Path = ".") -> None:
        unpack_into(tar, path)

    with ExitStack() as stack:
        for module in modules:
            for function in (resumable_download, safe_extract):
                stack.enter_context(_replaced(module, function.__name__, function))
            stack.enter_context(_bars_on_terminals_only(module))
        try:
            yield
        except DAMAGE as error:
            if not fetched:
                raise
            raise explain_damage(fetched[-1], error) from error
        except OSError as error:  # of the folders that the downloaders make themselves
            raise CorpusError(f"cannot write {error.filename}: {error.strerror}; check the folder") from error


def fetch(url: str, path: Path, *, checksums: Mapping[str, str], mirror: str = "") -> Path:
    """Download one file as `our_transport` does, saying from where to where; return `path`."""
    if mirror:
        parts = urlsplit(url)
        url = mirror.rstrip("/") + parts.path + (f"?{parts.query}" if parts.query else "")
    if not path.exists():
        Console(stderr=True, markup=False, highlight=False, soft_wrap=True).print(f"downloading {url} to {path}")
    return download(url, path, sha256=checksums.get(path.name))


@contextmanager
def _bars_on_terminals_only(module: ModuleType) -> Iterator[None]:
    """tqdm, which lhotse uses, writes its bars into files as well."""
    if not hasattr(module, "tqdm"):
        yield
        return
    with _replaced(module, "tqdm", partial(module.tqdm, disable=None, leave=False)):
        yield


@contextmanager
def _replaced(module: ModuleType, name: str, value: object) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def run_preparer(prepare: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call one of lhotse's `prepare_…` functions and return what it returns.

    Audio headers are read with libsndfile: lhotse's own choice for .sph files is a program called through a shell,
    with the name of the file in its command. Warnings are summed up on standard error.

    Raises `CorpusError` when lhotse cannot read the corpus, or leaves out recordings that are not there.
    """
    from lhotse.audio import backend, recording_set

    messages = _Messages()
    with ExitStack() as stack:
        stack.enter_context(_replaced(backend, "CURRENT_AUDIO_BACKEND", backend.LibsndfileBackend()))
        for module in (importlib.import_module(prepare.__module__), recording_set):
            stack.enter_context(_bars_on_terminals_only(module))
        stack.enter_context(messages.listening())
        try:
            result = prepare(*arguments, **options)
        except AsrError:
            raise
        except Exception as error:  # whatever a stranger's parser runs into in a file that it does not expect
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            where = ", ".join(str(argument) for argument in arguments if isinstance(argument, (str, Path)))
            raise CorpusError(
                f"{where}: lhotse's {prepare.__name__} cannot read this corpus: {what}; is it whole and unchanged?"
            ) from error
    messages.sum_up()
    return result


class _Messages(logging.Handler):
    """What lhotse says to the root logger, its warnings in order."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.warnings.append(record.getMessage())

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear the root logger, which is what lhotse writes to."""
        root = logging.getLogger()
        root.addHandler(self)
        try:
            yield
        finally:
            root.removeHandler(self)

    def sum_up(self) -> None:
        """Raise for recordings that are missing; show the beginning of the rest."""
        if missing := [message for message in self.warnings if message.startswith(LEFT_OUT)]:
            raise CorpusError(
                f"{len(missing):,} recordings that the transcripts name are missing, the first: {missing[0]}; "
                "complete the corpus, or fetch it anew"
            )
        console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
        for message in self.warnings[:MESSAGES_SHOWN]:
            console.print(f"lhotse: {message}")
        if len(self.warnings) > MESSAGES_SHOWN:
            console.print(f"lhotse: and {len(self.warnings) - MESSAGES_SHOWN:,} more warnings")


def to_utterances(recordings: Iterable[Any], supervisions: Iterable[Any]) -> list[Utterance]:
    """lhotse's recordings and supervisions as utterances, sorted by id; each supervision is one.

    Text stays as it is written (None becomes the empty text). `lang` is the language; gender and the custom fields go
    into `extra`.

    Raises:
        CorpusError: a supervision without its recording, or on one channel of several: manifests have no channels;
            a recording that is no plain file.
    """
    paths = {recording.id: _audio_path(recording) for recording in recordings}
    channels = {recording.id: set(recording.channel_ids) for recording in recordings}
    utterances = []
    for supervision in supervisions:
        if supervision.recording_id not in paths:
            raise CorpusError(f"supervision {supervision.id}: its recording {supervision.recording_id!r} is not there")
        own = supervision.channel if isinstance(supervision.channel, list) else [supervision.channel]
        if len(channels[supervision.recording_id]) > 1 and set(own) != channels[supervision.recording_id]:
            raise CorpusError(
                f"supervision {supervision.id}: expected audio of one channel, got channel {own} of "
                f"{sorted(channels[supervision.recording_id])} in {paths[supervision.recording_id]}; "
                "write each channel to a file of its own"
            )
        utterances.append(_to_utterance(supervision, paths[supervision.recording_id]))
    return sorted(utterances, key=lambda utterance: utterance.id)


def _audio_path(recording: Any) -> str:
    if len(recording.sources) != 1 or recording.sources[0].type != "file" or recording.transforms:
        kinds = ", ".join(source.type for source in recording.sources)
        raise CorpusError(
            f"recording {recording.id}: expected one audio file as it is, got sources {kinds} and "
            f"{len(recording.transforms or [])} transforms; save it to a file first"
        )
    return str(Path(recording.sources[0].source).absolute())


def _to_utterance(supervision: Any, audio_filepath: str) -> Utterance:
    extra = {"gender": supervision.gender} if supervision.gender is not None else {}
    return Utterance(
        id=supervision.id,
        audio_filepath=audio_filepath,
        duration=float(supervision.duration),
        text=supervision.text or "",
        offset=float(supervision.start),
        speaker=supervision.speaker,
        lang=LANGUAGES.get(supervision.language, supervision.language),
        extra={**extra, **(supervision.custom or {})},
    )
