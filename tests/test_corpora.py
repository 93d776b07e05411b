"""Downloads against a server on 127.0.0.1 that misbehaves on purpose."""

import errno
import hashlib
import re
import shutil
import socket
import threading
from collections import namedtuple
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from asr.data.archives import explain_disk_errors
from asr.data.corpora import download
from asr.errors import CorpusError

BODY = bytes(range(256)) * 40  # 10,240 bytes: a wrong join shows
SHA256 = hashlib.sha256(BODY).hexdigest()


@dataclass
class Served:
    """What the server does, and what it was asked."""

    body: bytes = BODY
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    ranges: bool = True
    statuses: list[int] = field(default_factory=list)  # answered before anything else, in turn
    cuts: list[int] = field(default_factory=list)  # bytes after which the connection of each request breaks
    content_range: str | None = None  # said instead of the truth
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        served: Served = self.server.served
        served.asked.append(dict(self.headers))
        if served.statuses:
            self.send_response(served.statuses.pop(0))
            self.end_headers()
            return
        start, size = self.first_byte(served), len(served.body)
        if start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", served.content_range or f"bytes {start}-{size - 1}/{size}")
        for name, value in served.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        stop = start + served.cuts.pop(0) if served.cuts else size
        self.wfile.write(served.body[start:stop])

    def first_byte(self, served: Served) -> int:
        """RFC 9110: a Range counts only while If-Range names the present version."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        current = (served.headers.get("ETag"), served.headers.get("Last-Modified"))
        return int(match[1]) if match and served.ranges and self.headers["If-Range"] in current else 0

    def log_message(self, *args):
        pass


@pytest.fixture
def served():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.served = Served(url=f"http://127.0.0.1:{server.server_port}/corpus.bin")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.served
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def fetch(served, tmp_path):
    def call(**options):
        return download(served.url, tmp_path / "c.bin", sleep=options.pop("sleep", lambda _: None), **options)

    return call


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_download_leaves_the_file_and_nothing_else(fetch, served, tmp_path):
    assert fetch(sha256=SHA256.upper()) == tmp_path / "c.bin"
    assert (tmp_path / "c.bin").read_bytes() == BODY
    assert names(tmp_path) == ["c.bin"]
    assert "Range" not in served.asked[0]


@pytest.mark.parametrize("headers", [{"ETag": '"one"'}, {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}])
def test_broken_transfer_goes_on_where_it_stopped(fetch, served, headers):
    served.headers, served.cuts = headers, [1000, 500]
    assert fetch(sha256=SHA256).read_bytes() == BODY
    assert [asked.get("Range") for asked in served.asked] == [None, "bytes=1000-", "bytes=1500-"]
    assert served.asked[1]["If-Range"] == next(iter(headers.values()))


def test_a_later_call_goes_on_too(fetch, served, tmp_path):
    served.cuts = [1000]
    with pytest.raises(CorpusError, match=r"closed after 1,000 of 10,240 bytes.*run the command again"):
        fetch(attempts=1)
    assert names(tmp_path) == ["c.bin.part", "c.bin.part.json"]
    assert fetch(sha256=SHA256).read_bytes() == BODY
    assert served.asked[1]["Range"] == "bytes=1000-"
    assert names(tmp_path) == ["c.bin"]


def test_server_without_ranges_starts_over(fetch, served):
    served.ranges, served.cuts = False, [1000, 2000]
    assert fetch().read_bytes() == BODY
    assert len(served.asked) == 3


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"one"'}], ids=["no validator", "weak validator"])
def test_without_a_strong_validator_nothing_is_continued(fetch, served, headers):
    served.headers, served.cuts = headers, [1000]
    assert fetch().read_bytes() == BODY
    assert [asked.get("Range") for asked in served.asked] == [None, None]


def test_a_changed_file_is_not_glued_to_the_old_one(fetch, served):
    served.cuts = [1000]
    with pytest.raises(CorpusError):
        fetch(attempts=1)
    served.body, served.headers = BODY[::-1], {"ETag": '"two"'}
    assert fetch().read_bytes() == BODY[::-1]
    assert served.asked[1]["If-Range"] == '"one"'


def test_another_address_is_not_glued_either(fetch, served, tmp_path):
    served.cuts = [1000]
    with pytest.raises(CorpusError):
        fetch(attempts=1)
    download(served.url + "?other", tmp_path / "c.bin", sleep=lambda _: None)
    assert "Range" not in served.asked[1]


def test_a_wrong_range_starts_over(fetch, served):
    served.cuts, served.content_range = [1000], "bytes 999-10239/10240"
    assert fetch().read_bytes() == BODY
    assert [asked.get("Range") for asked in served.asked] == [None, "bytes=1000-", None]


def leave_partial(served, tmp_path, content):
    (tmp_path / "c.bin.part").write_bytes(content)
    (tmp_path / "c.bin.part.json").write_text(f'["{served.url}", "\\"one\\""]')


def test_a_whole_partial_file_only_gets_its_name(fetch, served, tmp_path):
    leave_partial(served, tmp_path, BODY)  # killed between the last byte and the renaming
    assert fetch(sha256=SHA256).read_bytes() == BODY
    assert len(served.asked) == 1
    assert names(tmp_path) == ["c.bin"]


def test_a_partial_file_longer_than_the_servers_starts_over(fetch, served, tmp_path):
    leave_partial(served, tmp_path, BODY + b"more")
    assert fetch().read_bytes() == BODY
    assert [asked.get("Range") for asked in served.asked] == ["bytes=10244-", None]


def test_a_damaged_note_starts_over(fetch, served, tmp_path):
    leave_partial(served, tmp_path, b"x" * 1000)
    (tmp_path / "c.bin.part.json").write_text('["http://127')
    assert fetch().read_bytes() == BODY


def test_wrong_checksum_names_both_and_removes_the_file(fetch, tmp_path):
    with pytest.raises(CorpusError) as caught:
        fetch(sha256="0" * 64)
    assert "0" * 64 in str(caught.value)
    assert SHA256 in str(caught.value)
    assert names(tmp_path) == []


def test_a_file_that_is_there_is_checked_not_fetched(fetch, served, tmp_path):
    (tmp_path / "c.bin").write_bytes(BODY)
    fetch(sha256=SHA256)
    with pytest.raises(CorpusError, match=r"remove .*c\.bin to download it again"):
        fetch(sha256="0" * 64)
    assert (tmp_path / "c.bin").read_bytes() == BODY
    assert served.asked == []


def test_transient_refusals_are_waited_out(fetch, served):
    served.statuses = [503, 429]
    slept = []
    assert fetch(sleep=slept.append).read_bytes() == BODY
    assert slept == [1.0, 2.0]


def test_patience_ends(fetch, served):
    served.statuses = [500] * 9
    slept = []
    with pytest.raises(CorpusError, match=r"500 .*gave up after 5 tries"):
        fetch(sleep=slept.append)
    assert slept == [1.0, 2.0, 4.0, 8.0]


def test_new_bytes_restore_the_patience(fetch, served):
    served.cuts = [100] * 20
    slept = []
    assert fetch(attempts=2, sleep=slept.append).read_bytes() == BODY
    assert slept == [1.0] * 20


def test_a_missing_file_is_not_asked_for_twice(fetch, served):
    served.statuses = [404]
    with pytest.raises(CorpusError, match=r"404 .*check the address"):
        fetch()
    assert len(served.asked) == 1


def test_nobody_listens(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(CorpusError, match="gave up after 2 tries"):
        download(f"http://127.0.0.1:{port}/x", tmp_path / "x", attempts=2, sleep=lambda _: None)


def test_only_web_addresses(tmp_path):
    with pytest.raises(CorpusError, match="expected an http"):
        download("file:///etc/passwd", tmp_path / "x")


@pytest.fixture
def small_disk(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 5000))


def test_a_disk_too_small_is_seen_before_the_first_byte(fetch, served, tmp_path, small_disk):
    with pytest.raises(CorpusError, match="make room"):
        fetch()
    assert "c.bin.part" not in names(tmp_path)


def test_a_disk_that_fills_up_is_named(tmp_path):
    with pytest.raises(CorpusError, match="make room"), explain_disk_errors(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(CorpusError, match="check the folder"), explain_disk_errors(tmp_path):
        raise OSError(errno.EACCES, "Permission denied")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CorpusError, match=r"cannot write .*file/sub: Not a directory; check the folder"):
        download("http://127.0.0.1:9/x", tmp_path / "file" / "sub" / "x")
