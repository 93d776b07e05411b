"""Unpacking archives, also evil and damaged ones, and folders that appear whole."""

import hashlib
import io
import shutil
import stat
import tarfile
import zipfile
from collections import namedtuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.data.archives import unpack, whole_directory
from asr.errors import CorpusError

FILES = {"corpus/readme.txt": b"hello", "corpus/wav/a.wav": bytes(1000), "corpus/wav/ü b.wav": b""}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def small_disk(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 5000))


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
