"""ManifestIndex: what read_manifest says, for any manifest, and files that are whole, current and shared."""

from __future__ import annotations

import json
import logging
import os
import pickle
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_manifest import GOOD, json_values, texts, write

from asr.data import json_kernel, manifest_index, manifest_index_build, manifest_kernel
from asr.data.manifest import read_manifest
from asr.data.manifest_index import ManifestIndex
from asr.errors import ManifestError, OutputError


def row(**fields: object) -> dict[str, object]:
    return {"audio_filepath": "a.wav", "duration": 1.5, "text": "go"} | fields


def lines(*rows: dict[str, object], ascii_only: bool = False) -> str:
    return "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows)


def agree(path: Path) -> ManifestIndex | None:
    """Hold the index to read_manifest; None where both refuse the manifest with the same words."""
    try:
        expected = read_manifest(path)
    except ManifestError as error:
        with pytest.raises(ManifestError) as caught:
            ManifestIndex.open(path)
        told, ours = str(error), str(caught.value)
        if "expected unique ids" in told:  # names the file of the first line, too, as it may be another
            told = told.replace("the id of line ", f"the id of {path}:")
        assert ours == told
        assert not path.with_name(path.name + ".index").exists()
        return None
    for _ in range(2):  # made, then read
        index = ManifestIndex.open(path)
        assert list(index) == expected
        assert [index.id(i) for i in range(len(index))] == [u.id for u in expected]
        assert index.durations.tolist() == [u.duration for u in expected]
        assert index.text_lengths.tolist() == [len(u.text) for u in expected]
        assert [index.find(u.id) for u in expected] == list(range(len(expected)))
    return index


@pytest.fixture
def all_left(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the lines that the kernel leaves."""
    left: list[int] = []
    parse = manifest_index_build.parse_block

    def counting(text, start, stop, base, seed, rows, keys, firsts):
        num_rows, num_lines = parse(text, start, stop, base, seed, rows, keys, firsts)
        left.append(int(np.count_nonzero(rows["kind"][:num_rows] == manifest_kernel.LEFT)))
        return num_rows, num_lines

    monkeypatch.setattr(manifest_index_build, "parse_block", counting)
    return left


# ------------------------------------------------------------------------------------------ what lines say


def test_an_index_is_a_sequence_of_utterances(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", lines(row(id="a", offset=2), row(id="b", duration=3), row(id="c")))
    index = agree(path)
    assert index is not None
    assert [u.id for u in index[1:]] == ["b", "c"]
    assert index[-1].id == "c"
    assert index.durations.sum() == 6.0
    assert index.find("x") is None
    assert index.place(2) == f"{path}:3"
    with pytest.raises(IndexError):
        index[3]


def test_ordinary_manifests_are_read_by_the_kernel(tmp_path: Path, all_left: list[int]) -> None:
    nested = {"words": [{"w": "go", "t": [0.1, -2e-3]}, {"w": "on", "t": []}], "ok": True, "n": {}}
    rows = [
        row(id="x", speaker="s1", lang=None, **nested),
        row(id=None, offset=None, text="größe ✓ 🎤\u2028"),
        row(audio_filepath="/x/b c.flac", duration=3.7149886621315195, speaker=None),  # 17 digits
        row(audio_filepath="sub/c", duration=12, offset=0.25, text='"\\\n'),
    ]
    write(tmp_path / "m.jsonl", lines(*rows) + lines(row(audio_filepath="d.wav", text="größe 🎤"), ascii_only=True))
    assert agree(tmp_path / "m.jsonl") is not None
    assert sum(all_left) == 0


def test_what_the_kernel_is_not_sure_of_is_left(tmp_path: Path, all_left: list[int]) -> None:
    rows = ['"audio_filepath": "./a.wav"', '"audio_filepath": "b//a.wav"', '"audio_filepath": "c\\u0065.wav"']
    rows += ['"audio_filepath": ".d"', '"audio_filepath": "e."', '"audio_filepath": "C:f.wav"']
    write(tmp_path / "m.jsonl", "".join(f'{{{each}, "duration": 1e0, "te\\u0078t": "go"}}\n' for each in rows))
    assert agree(tmp_path / "m.jsonl") is not None
    assert sum(all_left) == 6


@pytest.mark.parametrize(
    "names",
    [
        ["talk.wav"],
        ["talk.wav", "talk.wav"],
        ["bed/1.wav", "cat/1.wav", "2.wav", "bed/1.wav"],
        ["x/bed/1.wav", "y/bed/1.wav"],
        ["1.wav", "b/1.wav"],
        ["/1.wav", "1.wav", "./1.wav"],
        ["a.flac", "a.wav"],  # a duplicate
        ["../a.wav", "a..wav", "a.b.wav"],
    ],
)
def test_ids_that_lines_do_not_have(tmp_path: Path, names: list[str]) -> None:
    rows = [row(audio_filepath=name, offset=12.3405 + 0.5 * n) for n, name in enumerate(names)]
    agree(write(tmp_path / "m.jsonl", lines(row(id="1", audio_filepath="bed/7.wav"), *rows)))


def test_derived_ids_that_meet_written_ones(tmp_path: Path) -> None:
    agree(write(tmp_path / "m.jsonl", lines(row(id="a"), row())))  # a duplicate
    agree(write(tmp_path / "n.jsonl", lines(row(id="a"), row(), row(offset=1))))
    agree(write(tmp_path / "o.jsonl", lines(row(offset=0), row(id="a-0000000"), row(offset=1))))
    agree(write(tmp_path / "p.jsonl", lines(row(offset=1e300), row(offset=12345678.9))))


def test_too_many_namesakes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_index_build, "MAX_NAMESAKES", 1)
    write(tmp_path / "m.jsonl", lines(row(audio_filepath="x/a.wav"), row(audio_filepath="y/a.wav")))
    with pytest.raises(ManifestError, match=r"m\.jsonl: expected at most 1 lines .*x/a\.wav; give each line an 'id'"):
        ManifestIndex.open(tmp_path / "m.jsonl")


def test_several_manifests_are_one_sequence_with_unique_ids(tmp_path: Path) -> None:
    one = write(tmp_path / "1.jsonl", lines(row(id="a"), row(id="b")))
    none = write(tmp_path / "0.jsonl", "\n")
    two = write(tmp_path / "2.jsonl", "\n" + lines(row(id="c", duration=9), row(id="a")))
    three = write(tmp_path / "3.jsonl", lines(row(id="c", text="later")))
    index = ManifestIndex.open([one, none, three])
    assert list(index) == read_manifest(one) + read_manifest(three)
    assert (index.durations.tolist(), index.text_lengths.tolist()) == ([1.5, 1.5, 1.5], [2, 2, 5])
    assert (index.find("c"), index.id(2), index.place(-1)) == (2, "c", f"{three}:1")
    with pytest.raises(ManifestError, match=r"2\.jsonl:3: expected unique ids, got 'a', the id of .*1\.jsonl:1 "):
        ManifestIndex.open([one, none, two])
    assert len(ManifestIndex.open(none)) == len(ManifestIndex.open([])) == 0


# ------------------------------------------------------------------------------------------ any manifest

seconds = st.floats(0, 1e300) | st.integers(0, 10**20) | st.decimals(0, 9999, places=3).map(float)
names = st.text("ab.1", min_size=1, max_size=3) | texts
paths = st.lists(names, min_size=1, max_size=3).map("/".join) | st.sampled_from(["x/a.wav", "y/a.wav", "/a.wav"])
field_values = st.fixed_dictionaries(
    {"audio_filepath": paths, "duration": seconds, "text": texts},
    optional={
        "id": st.none() | texts,
        "offset": st.none() | seconds,
        "speaker": st.none() | texts,
        "lang": texts,
        "x": json_values,
        "y\n": json_values,
    },
)


@st.composite
def manifest_lines(draw: st.DrawFn) -> bytes:
    record = draw(field_values)
    shuffled = {key: record[key] for key in draw(st.permutations(list(record)))}
    separators = draw(st.sampled_from([(", ", ": "), (",", ":"), (" ,\t", " :\r ")]))
    text = json.dumps(shuffled, ensure_ascii=draw(st.booleans()), separators=separators)
    return text.encode("utf-8", "surrogatepass") + draw(st.sampled_from([b"\n", b"\r\n", b" \n\n", b"\n\x0b\x0c\n"]))


@pytest.fixture(scope="module")
def unsynced() -> Iterator[None]:
    """Hundreds of indexes, of which none has to survive a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.mark.usefixtures("unsynced")
@settings(max_examples=150)
@given(st.lists(manifest_lines(), max_size=6), st.booleans(), st.sampled_from([64, 1 << 22]))
def test_any_manifest_reads_as_read_manifest_reads_it(
    tmp_path_factory: pytest.TempPathFactory, content: list[bytes], marked: bool, block_bytes: int
) -> None:
    directory = tmp_path_factory.mktemp("any")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_index_build, "BLOCK_BYTES", block_bytes)
        patch.setattr(manifest_index_build, "TAIL_BYTES", 16)
        agree(write(directory / "m.jsonl", b"\xef\xbb\xbf" * marked + b"".join(content).removesuffix(b"\n")))


mutations = st.tuples(
    st.integers(0, 200), st.sampled_from([b"", b"\\", b'"', b"{", b"]", b",", b"0", b"-", b"\xff", b"\xc3", b"\n"])
)


@pytest.mark.usefixtures("unsynced")
@settings(max_examples=200)
@given(manifest_lines(), st.lists(mutations, min_size=1, max_size=3))
def test_broken_lines_are_refused_as_read_manifest_refuses_them(
    tmp_path_factory: pytest.TempPathFactory, line: bytes, changes: list[tuple[int, bytes]]
) -> None:
    for position, piece in changes:
        line = line[:position] + piece + line[position + 1 :]
    agree(write(tmp_path_factory.mktemp("broken") / "m.jsonl", GOOD.encode() + b"\n" + line))


@settings(max_examples=500)
@given(st.text("0123456789", min_size=1, max_size=17), st.text("0123456789", max_size=18))
def test_numbers_are_the_nearest(whole: str, fraction: str) -> None:
    text = whole + ("." + fraction if fraction else "")
    value = json_kernel.exact_seconds(np.frombuffer(text.encode(), np.uint8), 0, len(text))
    assert np.isnan(value) or value == float(text)
    assert not np.isnan(value) or len(text.replace(".", "").lstrip("0")) > json_kernel.MAX_DIGITS


@settings(max_examples=300)
@given(st.floats(min_value=1e-2, max_value=1e6))
def test_shortest_representations_of_floats_are_claimed(value: float) -> None:
    text = repr(value)
    assert json_kernel.exact_seconds(np.frombuffer(text.encode(), np.uint8), 0, len(text)) == value or "e" in text


# ------------------------------------------------------------------------------------------ its file


def test_the_index_is_made_once_and_again_when_the_manifest_changes(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", lines(row(id="a")))
    file = tmp_path / "m.jsonl.index"
    ManifestIndex.open(path)
    made = file.stat().st_mtime_ns, file.stat().st_ino
    ManifestIndex.open(path)
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == made
    before = path.stat()
    write(path, lines(row(id="b")))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # same size and time: the hash of its ends tells
    assert ManifestIndex.open(path)[0].id == "b"
    write(path, lines(row(id="b"), row(id="c")))
    assert len(ManifestIndex.open(path)) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.jsonl", "m.jsonl.index"]


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "long header", "deep", "other json"])
def test_damaged_indexes_are_made_anew(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "m.jsonl", lines(row(id="a"), row(id="b")))
    ManifestIndex.open(path)
    file = tmp_path / "m.jsonl.index"
    whole = file.read_bytes()
    other = json.dumps({"__metadata__": 7}).encode()
    content = {
        "cut": whole[:-1],
        "empty": b"",
        "text": b"hello world",
        "long header": struct.pack("<Q", 1 << 60) + whole[8:],
        "deep": struct.pack("<Q", 60_000) + b"[" * 60_000,
        "other json": struct.pack("<Q", len(other)) + other,
    }[damage]
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert [u.id for u in ManifestIndex.open(path)] == ["a", "b"]
    assert "m.jsonl.index is damaged" in caplog.text
    assert file.read_bytes() == whole


def test_no_flipped_bit_passes(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", lines(row(id="a"), row(audio_filepath="x/b.wav"), row(audio_filepath="y/b.wav")))
    expected = list(ManifestIndex.open(path))
    file = tmp_path / "m.jsonl.index"
    whole = file.read_bytes()
    for position in range(0, len(whole), 37):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :])
        index = ManifestIndex.open(path)
        assert list(index) == expected
        assert index.durations.tolist() == [1.5] * 3


def test_a_folder_that_cannot_be_written_leaves_the_index_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "m.jsonl", lines(row(id="a")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(manifest_index.os, "access", lambda folder, mode: False)
    ManifestIndex.open(path)
    (file,) = (tmp_path / "cache/asr/manifests").iterdir()
    made = file.stat().st_ino
    assert ManifestIndex.open(path)[0].id == "a"
    assert file.stat().st_ino == made
    assert not (tmp_path / "m.jsonl.index").exists()


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "m.jsonl", lines(row(id="a")))

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OutputError, match=r"m\.jsonl\.index cannot be written: No space left"):
        ManifestIndex.open(path)
    assert list(tmp_path.iterdir()) == [path]


def test_moved_manifests_keep_their_index_but_where_ids_come_from_folders(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    write(tmp_path / "old/m.jsonl", lines(row()))
    write(tmp_path / "old/n.jsonl", lines(row(), row(audio_filepath="b/a.wav")))
    assert [u.id for u in ManifestIndex.open(tmp_path / "old/n.jsonl")] == ["old-a", "b-a"]
    ManifestIndex.open(tmp_path / "old/m.jsonl")
    (tmp_path / "old").rename(tmp_path / "new")
    made = (tmp_path / "new/m.jsonl.index").stat().st_ino
    assert ManifestIndex.open(tmp_path / "new/m.jsonl")[0].audio_filepath == str(tmp_path / "new/a.wav")
    assert (tmp_path / "new/m.jsonl.index").stat().st_ino == made
    assert [u.id for u in ManifestIndex.open(tmp_path / "new/n.jsonl")] == ["new-a", "b-a"]


def test_a_manifest_that_changes_meanwhile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "m.jsonl", lines(row(id="a")))
    build = manifest_index.build_columns

    def meanwhile(manifest, directory, **options):
        columns = build(manifest, directory, **options)
        with path.open("a") as file:
            file.write(lines(row(id="b")))
        return columns

    monkeypatch.setattr(manifest_index, "build_columns", meanwhile)
    with pytest.raises(ManifestError, match="was changed while it was being read"):
        ManifestIndex.open(path)
    monkeypatch.undo()
    index = ManifestIndex.open(path)
    with path.open("r+b") as file:
        file.write(b"x")
    with pytest.raises(ManifestError, match=r"m\.jsonl:1: the manifest was changed after it was opened"):
        index[0]


@pytest.mark.parametrize("name", ["missing.jsonl", ""])
def test_a_missing_file_and_a_directory_are_manifest_errors(tmp_path: Path, name: str) -> None:
    with pytest.raises(ManifestError, match="cannot read manifest"):
        ManifestIndex.open(tmp_path / name)


def test_a_copy_in_another_process_and_openers_side_by_side(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", lines(*(row(id=str(n)) for n in range(300))))
    with ThreadPoolExecutor(4) as pool:  # all of them make the index
        opened = list(pool.map(ManifestIndex.open, [path] * 8))
        assert len({tuple(pool.map(index.id, range(300))) for index in opened}) == 1
    assert pickle.loads(pickle.dumps(opened[0]))[299].id == "299"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.jsonl", "m.jsonl.index"]
