"""Downloads against a server on 127.0.0.1 that misbehaves on purpose, and archives made by an enemy."""

import errno
import hashlib
import io
import re
import shutil
import socket
import stat
import tarfile
import threading
import zipfile
from collections import namedtuple
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.data.archives import explain_disk_errors, unpack, whole_directory
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


FILES = {"corpus/readme.txt": b"hello", "corpus/wav/a.wav": bytes(1000), "corpus/wav/ü b.wav": b""}


def write_tar(path, entries, mode="w"):
    with tarfile.open(path, mode) as tar:
        for entry, content in entries:
            tar.addfile(entry, io.BytesIO(content))
    return path


def tar_file(name, content=b"x", **fields):
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    for key, value in fields.items():
        setattr(entry, key, value)
    return entry, content


def tar_special(name, kind, target=""):
    return tar_file(name, b"", type=kind, linkname=target)


def write_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_unpack(tmp_path, mode):
    if mode == "zip":
        archive = write_zip(tmp_path / "a", FILES.items())
    else:
        archive = write_tar(tmp_path / "a", [tar_file(*item) for item in FILES.items()], mode)
    assert unpack(archive, tmp_path / "out") == tmp_path / "out"
    assert contents(tmp_path / "out") == FILES
    assert names(tmp_path) == ["a", "out"]


def test_unpack_keeps_empty_folders_and_gives_ordinary_permissions(tmp_path):
    members = [tar_file("d", b"", type=tarfile.DIRTYPE), tar_file("d/run", mode=0o6777)]
    out = unpack(write_tar(tmp_path / "a", [*members, tar_file("e", b"", type=tarfile.DIRTYPE)]), tmp_path / "out")
    assert (out / "e").is_dir()
    assert stat.S_IMODE((out / "d" / "run").stat().st_mode) & 0o7111 == 0


EVIL_NAMES = ["/abs", "../up", "a/../../up", "a/..", "..", r"..\up", r"C:\x", r"\\host\share\x", "C:x", "//x"]
EVIL_TARS = {
    **{name: [tar_file("good"), tar_file(name)] for name in EVIL_NAMES},
    "symlink": [tar_file("good"), tar_special("s", tarfile.SYMTYPE, "/etc"), tar_file("s/x")],
    "symlink inside": [tar_file("good"), tar_special("s", tarfile.SYMTYPE, "good")],
    "hardlink": [tar_file("good"), tar_special("h", tarfile.LNKTYPE, "/etc/passwd")],
    "character device": [tar_file("good"), tar_special("null", tarfile.CHRTYPE)],
    "block device": [tar_file("good"), tar_special("disk", tarfile.BLKTYPE)],
    "pipe": [tar_file("good"), tar_special("pipe", tarfile.FIFOTYPE)],
}


@pytest.mark.parametrize("case", EVIL_TARS)
def test_evil_tar_is_refused_whole(tmp_path, case):
    archive = write_tar(tmp_path / "a.tar", EVIL_TARS[case])
    with pytest.raises(CorpusError, match=r"refused, nothing was unpacked: member .* is a"):
        unpack(archive, tmp_path / "deep" / "out")
    assert names(tmp_path) == ["a.tar"]


@pytest.mark.parametrize("name", EVIL_NAMES)
def test_evil_zip_is_refused_whole(tmp_path, name):
    archive = write_zip(tmp_path / "a.zip", [("good", b"x"), (name, b"x")])
    with pytest.raises(CorpusError, match="refused, nothing was unpacked"):
        unpack(archive, tmp_path / "out")
    assert names(tmp_path) == ["a.zip"]


@pytest.mark.parametrize(("kind", "word"), [(stat.S_IFLNK, "link"), (stat.S_IFIFO, "device or pipe")])
def test_special_files_in_a_zip_are_refused(tmp_path, kind, word):
    entry = zipfile.ZipInfo("s")
    entry.create_system, entry.external_attr = 3, (kind | 0o777) << 16
    archive = write_zip(tmp_path / "a.zip", [("good", b"x"), (entry, b"/etc/passwd")])
    with pytest.raises(CorpusError, match=f"member 's' is a {word}"):
        unpack(archive, tmp_path / "out")
    assert names(tmp_path) == ["a.zip"]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(alphabet="ab./\\:~é ", min_size=1, max_size=8), min_size=1, max_size=4, unique=True), st.booleans()
)
def test_no_name_leads_out_of_the_directory(tmp_path, member_names, zipped):
    root = tmp_path / "root"
    root.mkdir()
    archive = tmp_path / "archive"
    if zipped:
        write_zip(archive, [(zipfile.ZipInfo(name), b"x") for name in member_names])
    else:
        write_tar(archive, [tar_file(name) for name in member_names])
    try:
        unpack(archive, root / "out", progress=False)
    except CorpusError:
        assert names(root) == []
    else:
        assert names(root) == ["out"]
        assert all(".." not in name.replace("\\", "/").split("/") for name in member_names)
    finally:
        shutil.rmtree(root)
        assert names(tmp_path) == ["archive"]


def damaged():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for index in range(50):
            entry, content = tar_file(f"f{index}", hashlib.sha512(b"%d" % index).digest())
            tar.addfile(entry, io.BytesIO(content))
    whole = file.getvalue()
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("a", b"some text")
    return {
        "cut tar.gz": whole[: len(whole) // 2],
        "flipped tar.gz": whole[:100] + bytes([whole[100] ^ 255]) + whole[101:],
        "no archive": b"<html>404 not found</html>",
        "empty": b"",
        "flipped zip": zipped.getvalue().replace(b"some text", b"sOme text"),
        "encrypted zip": zipped.getvalue()
        .replace(b"PK\x03\x04\x14\0\0", b"PK\x03\x04\x14\0\1")
        .replace(b"PK\x01\x02\x14\x03\x14\0\0", b"PK\x01\x02\x14\x03\x14\0\1"),
    }


@pytest.mark.parametrize("case", damaged())
def test_damaged_archive_leaves_nothing(tmp_path, case):
    archive = tmp_path / "a"
    archive.write_bytes(damaged()[case])
    with pytest.raises(CorpusError, match="expected a"):
        unpack(archive, tmp_path / "out")
    assert names(tmp_path) == ["a"]


def test_missing_archive(tmp_path):
    with pytest.raises(CorpusError, match=r"cannot read .*nothing"):
        unpack(tmp_path / "nothing", tmp_path / "out")


def test_an_archive_larger_than_the_disk(tmp_path, small_disk):
    archive = write_tar(tmp_path / "a", [tar_file("zeros", bytes(100_000))], "w:gz")  # 0.2 kB in the archive
    with pytest.raises(CorpusError, match=r"needs 0.1 MB.*make room"):
        unpack(archive, tmp_path / "out")
    assert names(tmp_path) == ["a"]


def test_a_file_where_a_folder_should_be(tmp_path):
    archive = write_tar(tmp_path / "a", [tar_file("x"), tar_file("x/y")])
    with pytest.raises(CorpusError, match="cannot write"):
        unpack(archive, tmp_path / "out")
    assert names(tmp_path) == ["a"]


def test_unpack_does_not_touch_a_folder_with_something_in_it(tmp_path):
    archive = write_tar(tmp_path / "a", [tar_file("x")])
    (tmp_path / "out").mkdir()
    unpack(archive, tmp_path / "out")  # empty is fine
    with pytest.raises(CorpusError, match=r"absent or empty, got x in it"):
        unpack(archive, tmp_path / "out")
    with pytest.raises(CorpusError, match=r"expected .*a to be a folder, got a file"):
        unpack(archive, archive)


def test_whole_directory_after_an_error_is_as_before(tmp_path):
    def fill():
        with whole_directory(tmp_path / "d", replaces={"old"}) as temporary:
            (temporary / "new").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert names(tmp_path) == []
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "old").write_text("kept")
    with pytest.raises(KeyboardInterrupt):
        fill()
    assert contents(tmp_path) == {"d/old": b"kept"}


def test_whole_directory_replaces_what_it_may(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "old").write_text("lost")
    with whole_directory(tmp_path / "d", replaces={"old"}) as temporary:
        (temporary / "new").write_text("whole")
    assert contents(tmp_path) == {"d/new": b"whole"}
    assert names(tmp_path) == ["d"]
    with pytest.raises(CorpusError, match="got new in it"), whole_directory(tmp_path / "d", replaces={"old"}):
        pass
