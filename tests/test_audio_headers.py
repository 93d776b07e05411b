"""Headers that are unfinished, wrong or hidden behind something: what is there is read, in its length.

Recorders that are killed, and programs that write into pipes, leave these. The files are made by hand.
"""

import io
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from test_audio import LSB, RATE, encode, only_warning, read, speechlike, wav, without_xing

from asr.audio import open_audio, probe, read_audio
from asr.errors import AudioError

SAMPLES = np.round(speechlike(0.5) * 32768).astype("<i2")
WAVEFORM = SAMPLES.astype(np.float32) / 32768
PCM = SAMPLES.tobytes()
BIG_ENDIAN = SAMPLES.astype(">i2").tobytes()
ID3 = b"ID3\x04\0\0" + bytes([0, 0, 2, 0]) + bytes(256)  # 7 bits per byte: 2 << 7
ID3_WITH_FOOTER = ID3[:5] + b"\x10" + ID3[6:] + b"3DI" + ID3[3:10]
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0xA0000000) + bytes(8) + bytes(32)
W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")
W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
FORM = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)  # the contents of a WAV's fmt chunk


def aiff(size: int, frames: int, form_size: int = 0) -> bytes:
    rate = bytes.fromhex("400cfa00000000000000")  # 16000 as an 80-bit float
    common = b"COMM" + struct.pack(">IhIh", 18, 1, frames, 16) + rate
    return b"FORM" + struct.pack(">I", form_size) + b"AIFF" + common + b"SSND" + struct.pack(">III", size, 0, 0)


def caf(size: int, free: int = 0) -> bytes:
    description = struct.pack(">d4sIIIII", RATE, b"lpcm", 0, 2, 1, 1, 16)
    gap = b"free" + struct.pack(">q", free) + bytes(free) if free else b""
    return b"caff\0\x01\0\0desc" + struct.pack(">q", 32) + description + gap + b"data" + struct.pack(">qI", size, 0)


def au(size: int, order: str = ">") -> bytes:
    return (b".snd" if order == ">" else b"dns.") + struct.pack(f"{order}IIIII", 24, size, 3, RATE, 1)


def w64(size: int, riff_size: int = 0) -> bytes:
    form = b"fmt " + W64_TAIL + struct.pack("<q", 24 + 16) + FORM
    data = b"data" + W64_TAIL + struct.pack("<q", size)
    return W64_RIFF + struct.pack("<q", riff_size) + b"wave" + W64_TAIL + form + data


def rf64(size: int, magic: bytes = b"RF64") -> bytes:
    long_sizes = b"ds64" + struct.pack("<IqqqI", 28, size, size, 0, 0)
    return magic + b"\xff\xff\xff\xffWAVE" + long_sizes + b"fmt \x10\0\0\0" + FORM + b"data\xff\xff\xff\xff"


def nist(count: int, declared: bool = True) -> bytes:
    lines = ["channel_count -i 1", f"sample_rate -i {RATE}", "sample_n_bytes -i 2", "sample_byte_format -s2 01"]
    lines += ["sample_sig_bits -i 16", "sample_coding -s3 pcm"] + [f"sample_count -i {count}"] * declared
    return ("NIST_1A\n   1024\n" + "\n".join([*lines, "end_head", ""])).encode().ljust(1024)


SIZE = len(PCM)
UNKNOWN_LENGTHS = {  # written on purpose by programs that cannot go back
    "WAV by ffmpeg": wav(PCM, declared=0xFFFFFFFF),
    "WAV by arecord": wav(PCM, declared=0x80000000),
    "WAV by SoX": wav(PCM, declared=0x7FFFF000),
    "AIFF by SoX": aiff(0x7F000008, 0x3F800000, 0x7F000050) + BIG_ENDIAN,
    "AU by SoX": au(0xFFFFFFFF) + BIG_ENDIAN,
    "little-endian AU": au(0xFFFFFFFF, "<") + PCM,
    "CAF by ffmpeg": caf(-1) + BIG_ENDIAN,
    "W64 by ffmpeg": w64(2**63 - 1, -1) + PCM,
    "RF64 of size -1": rf64(-1) + PCM,
    "BW64 (ITU-R BS.2088)": rf64(SIZE, b"BW64") + PCM,
}
UNFINISHED = {  # by recorders that were killed
    "WAV": wav(PCM, declared=0),
    "WAV with sizes 0": wav(PCM, declared=0)[:4] + bytes(4) + wav(PCM, declared=0)[8:],
    "AIFF": aiff(0, 0) + BIG_ENDIAN,
    "AIFF of size 8": aiff(8, 0, 46) + BIG_ENDIAN,
    "AU": au(0) + BIG_ENDIAN,
    "CAF": caf(0) + BIG_ENDIAN,
    "CAF of size 4": caf(4, 100) + BIG_ENDIAN,
    "CAF by SoX into a pipe": caf(4, 100) + caf(4, 100) + BIG_ENDIAN + caf(SIZE + 4, 100),
    "W64": w64(24) + PCM,
    "W64 of size 0": w64(0) + PCM,
    "RF64": rf64(0) + PCM,
    "NIST": nist(0) + PCM,
    "NIST without a count": nist(0, declared=False) + PCM,
}
CUT = {
    "CAF": caf(2 * SIZE + 4) + BIG_ENDIAN,
    "W64": w64(2 * SIZE + 24) + PCM,
    "NIST": nist(SIZE) + PCM,
    "AIFF": aiff(2 * SIZE + 8, SIZE) + BIG_ENDIAN,
    "AU": au(2 * SIZE) + BIG_ENDIAN,
    "little-endian AU": au(2 * SIZE, "<") + PCM,
}


@pytest.mark.parametrize("name", UNKNOWN_LENGTHS)
def test_a_length_that_is_unknown_on_purpose_is_no_damage(name: str) -> None:
    audio = read(UNKNOWN_LENGTHS[name], strict=True)
    np.testing.assert_array_equal(audio.waveform, WAVEFORM)
    assert audio.warnings == ()
    assert probe(io.BytesIO(UNKNOWN_LENGTHS[name])).num_samples == len(WAVEFORM)


@pytest.mark.parametrize("name", UNFINISHED)
def test_an_unfinished_header_is_told_and_all_is_read(name: str) -> None:
    audio = read(UNFINISHED[name])
    np.testing.assert_array_equal(audio.waveform, WAVEFORM)
    assert f"never finished: it promises 0 bytes of samples and {SIZE} follow" in only_warning(audio)
    assert probe(io.BytesIO(UNFINISHED[name])).num_samples == len(WAVEFORM)
    with pytest.raises(AudioError, match="never finished"):
        read(UNFINISHED[name], strict=True)


@pytest.mark.parametrize("name", CUT)
def test_every_header_with_a_size_tells_a_cut(name: str) -> None:
    audio = read(CUT[name])
    np.testing.assert_array_equal(audio.waveform, WAVEFORM)
    assert f"promises {2 * SIZE} bytes of samples, {SIZE} are there" in only_warning(audio)
    with pytest.raises(AudioError, match="cut short"):
        read(CUT[name], strict=True)


@pytest.mark.parametrize("name", ["WAV", "AU"])
def test_a_header_without_samples_stays_empty(name: str) -> None:
    head = {"WAV": wav(b""), "AU": au(0)}[name]
    assert only_warning(read(head, strict=True)).startswith("no samples")


def test_no_samples_but_a_chunk_behind_them() -> None:
    data = wav(b"") + b"LIST" + struct.pack("<I", 4) + b"INFO"
    assert only_warning(read(data, strict=True)).startswith("no samples")


def test_a_chunk_behind_the_samples_is_none_of_them() -> None:
    info = b"LIST" + struct.pack("<I", 4) + b"INFO"
    for data in (wav(PCM) + info, wav(PCM[:-1]) + b"\0" + info, wav(PCM) + b"TAG" + bytes(125), wav(PCM) + bytes(9)):
        assert read(data, strict=True).warnings == ()


def test_an_odd_chunk_without_its_padding_byte() -> None:
    whole = wav(PCM)
    audio = read(whole[:36] + b"LIST" + struct.pack("<I", 5) + b"abcde" + whole[36:], strict=True)
    np.testing.assert_array_equal(audio.waveform, WAVEFORM)


def test_bytes_that_belong_to_nothing_are_told() -> None:
    audio = read(wav(PCM + PCM, declared=SIZE))
    np.testing.assert_array_equal(audio.waveform, WAVEFORM)
    assert f"{SIZE} bytes follow its samples that belong to nothing" in only_warning(audio)


@pytest.mark.parametrize("data", [wav(PCM), au(SIZE) + BIG_ENDIAN], ids=["WAV", "AU"])
def test_two_files_joined_are_both_read(data: bytes) -> None:
    audio = read(data + data, strict=True)
    np.testing.assert_array_equal(audio.waveform, np.concatenate([WAVEFORM, WAVEFORM]))
    window = read(data + data, offset=0.4, duration=0.3).waveform
    np.testing.assert_array_equal(window, audio.waveform[RATE * 2 // 5 : RATE * 7 // 10])


def test_two_flac_files_joined_are_told(tmp_path: Path) -> None:
    data = encode(speechlike(3), "FLAC")
    (tmp_path / "joined.flac").write_bytes(data + data)
    for source in (io.BytesIO(data + data), io.BytesIO(ID3 + data + data), tmp_path / "joined.flac"):
        audio = read_audio(source, RATE)
        assert audio.duration == 3.0
        assert "another FLAC recording follows" in only_warning(audio)
        with pytest.raises(AudioError, match="another FLAC recording follows"):
            read_audio(source, RATE, strict=True)
    assert read(data + data, duration=1.0).warnings == ()  # it was not asked for


class TestWhatStandsBefore:
    @pytest.mark.parametrize("before", [ID3, ID3_WITH_FOOTER, APE, ID3 + APE, bytes(1000), ID3 + bytes(70_000)])
    @pytest.mark.parametrize("container", ["MP3", "FLAC", "WAV", "OGG", "AIFF", "CAF", "AU", "W64", "NIST"])
    def test_tags_and_zeros(self, container: str, before: bytes) -> None:
        data = encode(speechlike(1), container)
        expected = read(data).waveform
        audio = read(before + data, strict=True)
        np.testing.assert_array_equal(audio.waveform, expected)
        assert audio.warnings == ()
        assert probe(io.BytesIO(before + data)).num_samples == len(expected)
        window = read(before + data, offset=0.5, duration=0.25).waveform
        np.testing.assert_allclose(window, expected[RATE // 2 : RATE * 3 // 4], atol=LSB)

    def test_a_part_of_a_frame_as_in_a_recorded_broadcast(self) -> None:
        data = without_xing(encode(speechlike(3), "MP3"))
        audio = read(data[100:], strict=True)
        assert audio.duration == pytest.approx(3.0, abs=0.2)
        assert audio.warnings == ()

    def test_other_bytes_before_an_mp3_are_told(self) -> None:
        data = encode(speechlike(2), "MP3")
        audio = read(b"HTTP/1.0 200 OK\r\n" * 200 + data)
        assert audio.duration == 2.0
        assert "the 3400 bytes before its first MP3 frame are no audio" in only_warning(audio)

    @pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "AIFF", "CAF"])
    def test_other_bytes_before_a_header_are_told(self, container: str) -> None:
        data = encode(speechlike(1), container)
        audio = read(b"HTTP/1.0 200 OK\r\n" * 20 + data)
        np.testing.assert_array_equal(audio.waveform, read(data).waveform)
        assert "the 340 bytes before its header are no audio" in only_warning(audio)

    def test_an_encoder_that_counts_the_header_as_a_frame(self) -> None:
        data = encode(speechlike(2), "MP3")
        place = data.index(b"Xing") + 8 if b"Xing" in data else data.index(b"Info") + 8
        count = struct.pack(">I", struct.unpack(">I", data[place : place + 4])[0] + 1)
        assert read(data[:place] + count + data[place + 4 :], strict=True).duration == pytest.approx(2.0, abs=0.1)

    def test_other_bytes_between_mp3_frames_are_told(self) -> None:
        data = without_xing(encode(speechlike(3), "MP3"))
        frame = data.index(data[:2], len(data) // 2)
        audio = read(data[:frame] + b"words" * 1000 + data[frame:])
        assert audio.duration == pytest.approx(3.0, abs=0.2)
        assert "5000 bytes between its MP3 frames are no audio" in only_warning(audio)
        assert read(data[:frame] + ID3 + data[frame:], strict=True).warnings == ()

    @pytest.mark.parametrize("seed", range(5))
    def test_noise_is_no_mp3(self, seed: int) -> None:
        data = np.random.default_rng(seed).bytes(200_000)
        with pytest.raises(AudioError, match="not an audio format"):
            read(data)


class TestWhatAWavHolds:
    def mp3_in_wav(self, tag: int = 0x55, declared: int | None = None) -> bytes:
        mp3 = without_xing(encode(speechlike(2), "MP3"))
        form = struct.pack("<HHIIHHHHIHHH", tag, 1, RATE, 4000, 576, 0, 12, 1, 2, 576, 1, 1393)
        fact = b"fact" + struct.pack("<II", 4, 2 * RATE + 999)  # encoders write what they like
        size = len(mp3) if declared is None else declared
        head = b"WAVEfmt " + struct.pack("<I", len(form)) + form + fact + b"data" + struct.pack("<I", size)
        return b"RIFF" + struct.pack("<I", len(head) + size) + head + mp3

    def test_mp3(self) -> None:
        audio = read(self.mp3_in_wav(), strict=True)
        assert audio.duration == pytest.approx(2.0, abs=0.2)
        assert audio.warnings == ()
        assert audio.duration == read(self.mp3_in_wav(declared=0)).duration

    def test_mp3_that_is_cut(self) -> None:
        assert "ends inside an MP3 frame" in only_warning(read(self.mp3_in_wav()[:-10]))

    def test_the_block_codecs_are_whole(self) -> None:
        for encoding in ("ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610"):
            audio = read(encode(speechlike(1), "WAV", encoding), strict=True)
            assert audio.warnings == ()
            assert audio.duration == pytest.approx(1.0, abs=0.05)  # a block is up to 640 samples


def mp4(codec: bytes) -> bytes:
    entry = struct.pack(">I4s", 36, codec) + bytes(28)
    index = struct.pack(">I4sII", 16 + len(entry), b"stsd", 0, 1) + entry
    moov = struct.pack(">I4s", 8 + len(index), b"moov") + index
    return b"\0\0\0\x18ftypM4A \0\0\x02\0isomiso2" + struct.pack(">I4s", 1008, b"mdat") + bytes(1000) + moov


FOREIGN = {
    "AAC in MP4": mp4(b"mp4a"),
    "ALAC in MP4": mp4(b"alac"),
    "Opus in WebM": b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1fB\x82\x84webm" + bytes(50) + b"\x86\x86A_OPUS" + bytes(50),
    "AAC in Matroska": b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1fB\x82\x88matroska" + b"\x86\x85A_AAC" + bytes(50),
    r"WMA \(Windows Media": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(100),
    "Speex in Ogg": b"OggS\0\x02" + bytes(20) + b"\x01\x50Speex   1.2" + bytes(70),
    r"AAC \(ADTS\)": bytes.fromhex("fff15c8005bffc") + bytes(300),
    "AMR": b"#!AMR\n" + bytes(100),
    "WMA 2 in WAV": wav(PCM, tag=0x161),
    "AVI video": b"RIFF" + struct.pack("<I", 1000) + b"AVI LIST" + bytes(100),
    "AAC in CAF": caf(-1).replace(b"lpcm", b"aac ") + bytes(100),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_formats_are_named_with_the_remedy(name: str, tmp_path: Path) -> None:
    path = tmp_path / "my call.xyz"
    path.write_bytes(FOREIGN[name])
    for attempt in (probe, lambda p: read(p.open("rb"))):
        with pytest.raises(
            AudioError, match=rf"{name}.* is not read here; convert .*: ffmpeg -i '.*my call.xyz' "
        ) as e:
            attempt(path)
        assert "\n" not in str(e.value)


def test_a_header_that_libsndfile_does_not_take_has_a_remedy(tmp_path: Path) -> None:
    data = bytearray(encode(speechlike(0.5), "OGG", "VORBIS"))
    data[29:35] = b"noname"
    (tmp_path / "a.ogg").write_bytes(data)
    with pytest.raises(
        AudioError, match=r"cannot be decoded: .*; if a player plays it, convert it.* ffmpeg -i .*a\.ogg a"
    ):
        read_audio(tmp_path / "a.ogg", RATE)


def test_shorten_is_named() -> None:
    data = nist(5).replace(b"sample_coding -s3 pcm", b"sample_coding -s26 pcm,embedded-shorten-v2.00")[:1024]
    with pytest.raises(AudioError, match=r"NIST SPHERE with Shorten.*sph2pipe"):
        read(data + b"ajkg" + bytes(100))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git lfs pull"),
        (b"PK\x03\x04" + bytes(100), "a ZIP archive: unpack it"),
        (b"<!DOCTYPE html><html><title>404</title>", "a web page"),
    ],
)
def test_what_is_no_audio_at_all_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(AudioError, match=reason):
        read(data)


CODE = """
import io, sys, threading
from asr.audio import read_audio
data = open(sys.argv[1], "rb").read()
def windows():
    for start in (11, 12.3, 13.7, 14.9):
        read_audio(io.BytesIO(data), 16000, offset=start, duration=0.5)
import asr.audio.stream
asr.audio.stream.PREROLL_SECONDS = 0  # every seek lands inside
threads = [threading.Thread(target=windows) for _ in range(3)]
for thread in threads: thread.start()
for number in range(200): print("mine", number, file=sys.stderr)
for thread in threads: thread.join()
import ctypes
if hasattr(ctypes.CDLL(None), "perror"): ctypes.CDLL(None).perror(b"the C library speaks again")
"""


def test_the_mp3_decoder_is_silent_and_python_is_not(tmp_path: Path) -> None:
    if sys.platform != "linux" or not os.confstr("CS_GNU_LIBC_VERSION"):
        pytest.skip("only glibc's standard error can be turned elsewhere")
    path = tmp_path / "a.mp3"
    path.write_bytes(encode(speechlike(16), "MP3"))
    result = subprocess.run([sys.executable, "-c", CODE, str(path)], capture_output=True, text=True, check=True)
    lines = result.stderr.splitlines()
    assert lines[:-1] == [f"mine {number}" for number in range(200)]
    assert lines[-1].startswith("the C library speaks again")


def test_silence_is_entered_by_several_threads() -> None:
    """The first to enter turns standard error away and the last to leave turns it back, in whatever order."""
    from asr.audio.quiet import _CStandardError

    silence = _CStandardError()
    if silence._pointer is None:
        pytest.skip("no C library whose standard error can be turned elsewhere")
    usual = silence._pointer.value
    first, second = silence.silenced(), silence.silenced()
    first.__enter__()
    inside = silence._pointer.value
    thread = threading.Thread(target=second.__enter__)
    thread.start()
    thread.join()
    first.__exit__(None, None, None)
    assert silence._pointer.value == inside != usual
    second.__exit__(None, None, None)
    assert silence._pointer.value == usual


def test_a_file_that_grows_while_it_is_read() -> None:
    """As long as a recorder still writes: the header is unfinished, what is there is read."""
    with open_audio(io.BytesIO(UNFINISHED["WAV"]), RATE) as stream:
        assert sum(map(len, stream.blocks())) == len(WAVEFORM)


def test_a_damaged_flac_by_its_path_is_what_it_is_as_an_object(tmp_path: Path) -> None:
    """libsndfile and Python read the same descriptor, which has one position."""
    data = bytearray(encode(speechlike(6), "FLAC"))
    for place in range(30_000, len(data), 40_000):
        data[place : place + 9] = bytes(9)
    (tmp_path / "a.flac").write_bytes(data)
    for window in ({}, {"offset": 2.5, "duration": 2.0}):
        by_path, by_object = read_audio(tmp_path / "a.flac", RATE, **window), read(bytes(data), **window)
        np.testing.assert_array_equal(by_path.waveform, by_object.waveform)
        assert by_path.warnings == by_object.warnings
    assert "in 4 places" in only_warning(read_audio(tmp_path / "a.flac", RATE))


@pytest.mark.parametrize("index_first", [True, False])
def test_the_codec_is_found_far_into_a_file(tmp_path: Path, index_first: bool) -> None:
    """Beyond what Python's buffer holds from before libsndfile tried the file."""
    data = mp4(b"alac")
    head, index = data[:24], data[data.index(b"moov") - 4 :]
    rest = struct.pack(">I4s", 300_008, b"mdat") + bytes(300_000)
    path = tmp_path / "a.m4a"
    path.write_bytes(head + (index + rest if index_first else rest + index))
    with pytest.raises(AudioError, match="ALAC in MP4"):
        read_audio(path, RATE)


def test_audio_far_behind_other_bytes_is_read_by_its_path(tmp_path: Path) -> None:
    before = b"These are words, not waves.\n" * 2000
    for container in ("MP3", "WAV"):
        data = encode(speechlike(30), container)
        path = tmp_path / "a.bin"
        path.write_bytes(before + data)
        np.testing.assert_array_equal(read_audio(path, RATE).waveform, read(data).waveform)
        assert probe(path).num_samples == 30 * RATE


@pytest.mark.parametrize("declared", [3_200_000, 0, 0xFFFFFFFF, 0x7FFFF000])
def test_a_wav_of_more_than_32_bits_can_count(tmp_path: Path, declared: int) -> None:
    """Ten hours of two channels: programs write the remainder, or one of the marks of "unknown"."""
    num_bytes = (1 << 32) + 3_200_000
    path = tmp_path / "long.wav"
    with path.open("wb") as file:
        file.write(wav(b"", declared=declared))
        file.truncate(44 + num_bytes - 6)  # a hole, which takes no room
        file.seek(0, os.SEEK_END)
        file.write(struct.pack("<3h", 0, 16384, -32768))
    assert probe(path).num_samples == num_bytes // 2
    end = read_audio(path, RATE, offset=(num_bytes // 2 - 3) / RATE, max_seconds=1e6)
    assert end.waveform.tolist() == [0.0, 0.5, -1.0]
