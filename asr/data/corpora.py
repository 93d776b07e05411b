"""Fetching corpora: downloads that resume and are checked, archives that cannot write outside their place.

    archive = download("https://example.org/corpus.tar.gz", Path("corpus.tar.gz"), sha256="9f86d0…")
    unpack(archive, Path("corpus"))

Whatever is interrupted leaves nothing that looks finished: a download grows in `<name>.part` and a directory
in a hidden sibling, and both get their name only when they are whole.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from rich.progress import Progress

from asr.data.archives import (
    CHUNK_BYTES,
    check_space,
    explain_disk_errors,
    progress_bar,
    unpack,
    whole_directory,
)
from asr.errors import CorpusError
from asr.files import sha256 as sha256_of

__all__ = ["download", "unpack", "whole_directory"]

LONGEST_DELAY_SECONDS = 30.0
# Worth another try: request timeout, too early, too many requests, and the server's own troubles.
TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


def download(
    url: str,
    path: str | Path,
    *,
    sha256: str | None = None,
    progress: bool = True,
    attempts: int = 5,
    timeout_seconds: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Fetch `url` into `path`, going on where an earlier call stopped; return `path`.

    The bytes gather in `<path>.part`. They are kept only while the server can prove that its file is still
    the same one: a strong ETag or a modification date, sent back as If-Range. Otherwise the transfer starts
    over. `attempts` is the number of tries in a row that bring no new byte; between them `sleep` is called
    with 1, 2, 4 … at most 30 seconds. A file already at `path` is not fetched again, only checked.

    Raises `CorpusError` when the server refuses, stays away or sends something else than `sha256` (the file
    is then removed), and when the disk is full.
    """
    path = Path(path)
    if not url.startswith(("http://", "https://")):
        raise CorpusError(f"expected an http:// or https:// address, got {url!r}")
    if path.exists():
        _check_sha256(path, sha256, f"remove {path} to download it again from {url}")
        return path
    transfer = _Transfer(url, path, timeout_seconds)
    with explain_disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with progress_bar(progress) as bar:
        transfer.run(bar, attempts, sleep)
    try:
        _check_sha256(transfer.part, sha256, f"it came from {url} and was removed; the file there may have changed")
    except CorpusError:
        transfer.forget()
        raise
    transfer.part.replace(path)
    transfer.forget()
    return path


class _InterruptedError(Exception):
    """The transfer broke off in a way that another try may mend."""


class _Transfer:
    """One download: its partial file, the note of where it came from, and the requests."""

    def __init__(self, url: str, path: Path, timeout_seconds: float) -> None:
        self.url = url
        self.part = path.with_name(path.name + ".part")
        self.note = path.with_name(path.name + ".part.json")  # [address, validator] of the bytes in `part`
        self.timeout_seconds = timeout_seconds

    def run(self, bar: Progress, attempts: int, sleep: Callable[[float], None]) -> None:
        """Try until the file is whole. A try that brought new bytes starts the count again."""
        task = bar.add_task(self.part.name.removesuffix(".part"), total=None)
        failures = 0
        while True:
            before = self._size()
            try:
                return self._try_once(lambda done, total: bar.update(task, completed=done, total=total))
            except _InterruptedError as error:
                failures = 1 if self._size() > before else failures + 1
                if failures >= attempts:
                    raise CorpusError(
                        f"cannot download {self.url}: {error}; gave up after {failures} tries without a new byte; "
                        f"{self._size():,} bytes are in {self.part}: run the command again to go on from there"
                    ) from error
                sleep(min(2.0 ** (failures - 1), LONGEST_DELAY_SECONDS))

    def forget(self) -> None:
        """Remove the partial file and its note."""
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _try_once(self, report: Callable[[int, int | None], None]) -> None:
        response = self._open()
        if response is None:
            return
        with response:
            start = self._start_of(response)
            length = response.headers.get("Content-Length", "")
            total = start + int(length) if length.isdigit() else None
            self._receive(response, start, total, report)
        if total is not None and self._size() != total:
            raise _InterruptedError(f"the connection closed after {self._size():,} of {total:,} bytes")

    def _open(self) -> http.client.HTTPResponse | None:
        """Ask for the file, or for the rest of it; None when there is no rest."""
        headers = {"User-Agent": "asr", "Accept-Encoding": "identity"}
        if (validator := self._validator()) is not None:
            headers |= {"Range": f"bytes={self._size()}-", "If-Range": validator}
        request = urllib.request.Request(self.url, headers=headers)
        try:
            response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=self.timeout_seconds)
        except urllib.error.HTTPError as error:
            error.close()
            if error.headers.get("Content-Range") == f"bytes */{self._size()}":
                return None  # killed between the last byte and the renaming
            raise self._refusal(error.code, error.reason) from error
        except (http.client.HTTPException, OSError) as error:
            raise _InterruptedError(str(getattr(error, "reason", error)) or type(error).__name__) from error
        return response

    def _refusal(self, status: int, reason: str) -> Exception:
        if status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self.forget()
            return _InterruptedError("the partial file does not fit the server's; starting over")
        if status in TRANSIENT_STATUS:
            return _InterruptedError(f"the server answered {status} {reason}")
        return CorpusError(f"cannot download {self.url}: the server answered {status} {reason}; check the address")

    def _start_of(self, response: http.client.HTTPResponse) -> int:
        """First byte that the response carries: where the partial file ends, or 0 when it starts over."""
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            sent = response.headers.get("Content-Range", "")
            match = re.match(r"bytes (\d+)-", sent)
            if match is None or int(match[1]) != self._size():
                self.forget()
                raise _InterruptedError(f"asked for bytes from {self._size():,}, got {sent!r}; starting over")
            return self._size()
        self.forget()
        validator = _strong_validator(response)
        if validator is not None:
            with explain_disk_errors(self.note):
                self.note.write_text(json.dumps([self.url, validator]), encoding="utf-8")
        return 0

    def _receive(
        self,
        response: http.client.HTTPResponse,
        start: int,
        total: int | None,
        report: Callable[[int, int | None], None],
    ) -> None:
        if total is not None:
            check_space(self.part.parent, total - start, self.url)
        done = start
        with explain_disk_errors(self.part):
            file = self.part.open("ab" if start else "wb")
        with file:
            while chunk := _read(response):
                with explain_disk_errors(self.part):
                    file.write(chunk)
                done += len(chunk)
                report(done, total)
            with explain_disk_errors(self.part):
                file.flush()
                os.fsync(file.fileno())

    def _validator(self) -> str | None:
        """What If-Range must say for the partial file to be continued; None when it cannot be."""
        try:
            url, validator = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError):  # none, or cut short: start over
            return None
        return validator if url == self.url and self._size() > 0 else None

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(CHUNK_BYTES)
    except (http.client.HTTPException, OSError) as error:
        raise _InterruptedError(str(error) or type(error).__name__) from error


def _strong_validator(response: http.client.HTTPResponse) -> str | None:
    """RFC 9110, 13.1.5: If-Range takes a strong ETag or a date; a weak ETag may stand for other bytes."""
    etag = response.headers.get("ETag")
    if etag is not None and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified")


def _check_sha256(path: Path, expected: str | None, advice: str) -> None:
    if expected is not None and (got := sha256_of(path)) != expected.lower():
        raise CorpusError(f"{path}: expected sha256 {expected.lower()}, got {got}; {advice}")
