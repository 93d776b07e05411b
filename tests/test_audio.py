"""Reading audio. Numbers in names and comments are those of the list of faults: 1 zero bytes to 22 strange paths.

Broken files are made by hand, byte by byte where libsndfile would not write them.
"""

import contextlib
import io
import os
import re
import struct
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.audio import from_array, open_audio, probe, read_audio
from asr.audio.mpeg import Mp3Survey, read_mp3_start, survey_mp3
from asr.errors import AudioError

RATE = 16_000
LSB = 2.0**-15  # one step of 16-bit audio
FLOAT_EPSILON = 3e-7  # decoders compute in float32; some bits differ with their SIMD paths


def wav(
    samples: bytes,
    *,
    rate: int = RATE,
    channels: int = 1,
    bits: int = 16,
    tag: int = 1,  # 1 integer PCM, 3 float
    declared: int | None = None,  # size in the header, where it is to be wrong
) -> bytes:
    declared = len(samples) if declared is None else declared
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * frame % 2**32, frame % 2**16, bits)
    riff_size = min(declared + 36, 2**32 - 1)
    head = b"RIFF" + struct.pack("<I", riff_size) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return head + b"data" + struct.pack("<I", declared) + samples


def float_wav(samples: np.ndarray, rate: int = RATE) -> io.BytesIO:
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    return io.BytesIO(wav(samples.astype("<f4").tobytes(), rate=rate, channels=channels, bits=32, tag=3))


def encode(samples: np.ndarray, container: str, encoding: str | None = None, rate: int = RATE, **options) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=encoding, **options)
    return file.getvalue()


def speechlike(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Noise whose loudness changes four times a second, so that bitrates vary as with speech."""
    rng = np.random.default_rng(seed)
    num_samples = round(seconds * rate)
    envelope = np.repeat(rng.uniform(0.0, 0.2, num_samples * 4 // rate + 1), rate // 4)[:num_samples]
    return (envelope * rng.standard_normal(num_samples)).clip(-1, 1).astype(np.float32)


def read(data: bytes | io.BytesIO, rate: int = RATE, **arguments):
    return read_audio(io.BytesIO(data) if isinstance(data, bytes) else data, rate, **arguments)


def only_warning(audio) -> str:
    (warning,) = audio.warnings
    return warning


def three_samples() -> bytes:
    return struct.pack("<3h", 0, 16384, -32768)


class TestReading:
    def test_samples_are_divided_by_full_scale(self) -> None:
        audio = read(wav(three_samples()))
        assert audio.waveform.tolist() == [0.0, 0.5, -1.0]
        assert audio.waveform.dtype == np.float32
        assert (audio.sample_rate, audio.duration, audio.warnings) == (RATE, 3 / RATE, ())

    @pytest.mark.parametrize(
        ("container", "encoding", "tolerance"),
        [
            ("FLAC", "PCM_16", LSB),
            ("AIFF", "PCM_16", LSB),
            ("CAF", "PCM_16", LSB),
            ("AU", "PCM_16", LSB),
            ("WAV", "ULAW", 0.02),
            ("OGG", "VORBIS", 0.2),
            ("OGG", "OPUS", 0.2),
            ("MP3", "MPEG_LAYER_III", 0.2),
        ],
    )
    def test_every_container_gives_the_sound_back_in_time_and_level(self, container, encoding, tolerance) -> None:
        tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)
        audio = read(encode(tone, container, encoding), strict=True)
        assert len(audio.waveform) == RATE
        # Lossy codecs: far below the 1.0 of a shifted tone. libsndfile's Opus encoder garbles the last 40 ms.
        assert np.abs(audio.waveform - tone)[: -RATE // 25].max() < tolerance

    def test_probe_reads_the_header(self, tmp_path: Path) -> None:
        path = tmp_path / "a.bin"
        path.write_bytes(encode(np.zeros((2 * 44100, 2)), "FLAC", rate=44100))
        info = probe(path)
        assert (info.sample_rate, info.channels, info.num_samples, info.duration) == (44100, 2, 88200, 2.0)
        assert (info.container, info.encoding) == ("FLAC", "PCM_16")

    def test_probe_says_when_the_header_does_not_know_the_length(self) -> None:
        assert probe(io.BytesIO(without_flac_length(encode(np.zeros(RATE), "FLAC")))).duration is None
        mp3 = encode(speechlike(1), "MP3")
        assert probe(io.BytesIO(mp3)).num_samples == RATE
        assert probe(io.BytesIO(without_xing(mp3))).num_samples is None

    def test_a_window_is_the_slice_of_the_whole(self) -> None:
        whole = read(encode(speechlike(3), "FLAC")).waveform
        window = read(encode(speechlike(3), "FLAC"), offset=0.77777, duration=1.25)
        start = round(0.77777 * RATE)
        np.testing.assert_array_equal(window.waveform, whole[start : start + 20_000])
        assert window.warnings == ()

    @pytest.mark.parametrize(("container", "encoding"), [("OGG", "OPUS"), ("OGG", "VORBIS"), ("MP3", None)])
    def test_a_window_of_a_codec_with_memory_is_the_slice_too(self, container, encoding) -> None:
        data = encode(speechlike(25), container, encoding)
        whole = read(data).waveform
        window = read(data, offset=20.001, duration=1.5).waveform
        start = round(20.001 * RATE)
        # Decoding begins 10 s earlier; straight after a seek these differ by 1e-3 and more.
        np.testing.assert_allclose(window, whole[start : start + 24_000], atol=LSB, rtol=0)

    def test_a_window_past_the_end(self) -> None:
        data = wav(bytes(2 * RATE))  # one second
        with pytest.raises(AudioError, match=r"offset 1.5 s lies behind its end at 1.00 s"):
            read(data, offset=1.5)
        assert "2.00 s were asked for, it ends at 1.00 s" in only_warning(read(data, offset=0.5, duration=1.5))
        with pytest.raises(AudioError, match="it ends at"):
            read(data, duration=2.0, strict=True)
        assert read(data, offset=0.5, duration=0.51).warnings == ()  # a rounded time in a manifest
        assert only_warning(read(data, offset=1.01)).startswith("no samples")

    @pytest.mark.parametrize("window", [{"offset": -1.0}, {"duration": -0.1}, {"offset": float("nan")}])
    def test_impossible_windows(self, window) -> None:
        with pytest.raises(AudioError, match="expected offset and duration ≥ 0"):
            read(wav(three_samples()), **window)

    def test_resampling_is_soxr_whole(self) -> None:
        samples = speechlike(2, rate=44_100)
        audio = read(float_wav(samples, 44_100))
        np.testing.assert_array_equal(audio.waveform, soxr.resample(samples, 44_100, RATE))
        assert audio.warnings == ()


class TestStream:
    @pytest.mark.parametrize("container", ["WAV", "MP3", "OGG", "FLAC"])
    @pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
    def test_chunked_equals_whole(self, container: str, rate: int, monkeypatch) -> None:
        data = encode(speechlike(7.3, rate=rate), container, rate=rate)
        whole = read(data)
        monkeypatch.setattr("asr.audio.stream.DECODE_VALUES", 5_000)
        with open_audio(io.BytesIO(data), RATE) as stream:
            blocks = list(stream.blocks(0.5))
        assert {len(block) for block in blocks[:-1]} == {RATE // 2}
        assert 0 < len(blocks[-1]) <= RATE // 2
        # soundfile's own block-wise reading of MP3 is off by up to 0.17
        np.testing.assert_allclose(np.concatenate(blocks), whole.waveform, atol=FLOAT_EPSILON, rtol=0)
        assert stream.warnings == whole.warnings

    def test_blocks_larger_than_the_file_and_equal_to_it(self) -> None:
        with open_audio(io.BytesIO(wav(bytes(2 * RATE))), RATE) as stream:
            assert [len(block) for block in stream.blocks(100.0)] == [RATE]
        with open_audio(io.BytesIO(wav(bytes(2 * RATE))), RATE) as stream:
            assert [len(block) for block in stream.blocks(0.5)] == [RATE // 2, RATE // 2]

    def test_a_stream_is_read_once(self) -> None:
        with open_audio(io.BytesIO(wav(three_samples())), RATE) as stream:
            list(stream.blocks())
            with pytest.raises(AudioError, match="read already"):
                list(stream.blocks())

    def test_19_memory_does_not_grow_with_the_length(self, hour_of_flac: bytes) -> None:
        tracemalloc.start()
        try:
            with open_audio(io.BytesIO(hour_of_flac), RATE) as stream:
                num_samples = sum(len(block) for block in stream.blocks(10.0))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert num_samples == 3600 * RATE
        assert peak < 16e6  # the whole hour is 230 MB; a block of 1 MiB passes through a few steps

    def test_threads_get_what_one_gets(self) -> None:
        files = [encode(speechlike(1, seed), "OGG", "OPUS") for seed in range(8)]
        alone = [read(data, 8_000).waveform for data in files]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda data: read(data, 8_000).waveform, files * 3))
        for expected, got in zip(alone * 3, together):
            np.testing.assert_array_equal(got, expected)


@pytest.fixture(scope="module")
def hour_of_flac() -> bytes:
    """An hour of silence at 8 kHz in about 60 kB."""
    file = io.BytesIO()
    minute = np.zeros(60 * 8_000, np.int16)
    with soundfile.SoundFile(file, "w", 8_000, 1, format="FLAC", subtype="PCM_16") as sound:
        for _ in range(60):
            sound.write(minute)
    return file.getvalue()


def without_flac_length(flac: bytes) -> bytes:
    """STREAMINFO's 36-bit sample count set to 0, "unknown", as an encoder that writes to a pipe leaves it."""
    assert flac[:4] == b"fLaC"
    return flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:]


def survey(mp3: bytes) -> Mp3Survey:
    start = read_mp3_start(io.BytesIO(mp3), 0, len(mp3))
    assert start is not None
    return survey_mp3(io.BytesIO(mp3), start, len(mp3))


def without_xing(mp3: bytes) -> bytes:
    return mp3[survey(mp3).start.audio_start :]


class TestBrokenFiles:
    def test_01_zero_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "empty.wav"
        path.touch()
        with pytest.raises(AudioError, match=r"empty\.wav: the file is empty \(0 bytes\)"):
            read_audio(path, RATE)

    def test_02_header_only(self) -> None:
        audio = read(wav(b""), strict=True)
        assert audio.waveform.shape == (0,)
        assert only_warning(audio).startswith("no samples")
        with open_audio(io.BytesIO(wav(b"")), RATE) as stream:
            assert list(stream.blocks()) == []

    @pytest.mark.parametrize("container", ["WAV", "RF64", "AIFF", "AU", "OGG"])
    def test_03_cut_short(self, container: str) -> None:
        data = encode(speechlike(4), container)
        assert read(data, strict=True).warnings == ()
        half = data[: len(data) // 2]
        audio = read(half)
        assert "cut short" in only_warning(audio)
        assert 0.5 < audio.duration < 3.0  # Ogg pages hold about a second
        with pytest.raises(AudioError, match="cut short"):
            read(half, strict=True)

    def test_03_message_names_the_sizes(self) -> None:
        warning = only_warning(read(wav(bytes(4000), declared=100_000)))
        assert "header promises 100000 bytes of samples, 4000 are there" in warning

    def test_03_a_chunk_before_the_samples_is_stepped_over(self) -> None:
        whole = wav(three_samples())
        odd = b"LIST" + struct.pack("<I", 5) + b"abcde\0"  # chunks are padded to even sizes
        assert read(whole[:36] + odd + whole[36:], strict=True).waveform.tolist() == [0.0, 0.5, -1.0]

    @pytest.mark.parametrize("share", [0.3, 0.5, 0.99])
    def test_04_truncated_mp3(self, share: float) -> None:
        data = encode(speechlike(5), "MP3")
        assert read(data, strict=True).warnings == ()
        cut = data[: int(len(data) * share)]
        audio = read(cut)
        assert "header promises 5." in only_warning(audio)
        assert audio.duration < 5.0
        with pytest.raises(AudioError, match="cut short"):
            read(cut, strict=True)

    def test_04_mp3_without_a_length_in_its_header_ends_inside_a_frame(self) -> None:
        data = without_xing(encode(speechlike(5), "MP3"))
        assert read(data, strict=True).warnings == ()
        assert "ends inside an MP3 frame" in only_warning(read(data[:-10]))

    def test_05_flac_damaged_inside_gives_what_decodes_in_its_place(self) -> None:
        samples = speechlike(4)
        data = bytearray(encode(samples, "FLAC"))
        for place in (len(data) // 3, len(data) // 3 * 2):
            data[place : place + 4] = b"\x55\xaa\x55\xaa"
        audio = read(bytes(data))
        assert "0.51 s cannot be decoded and are silent here, in 2 places, the first" in only_warning(audio)
        assert audio.duration == 4.0
        lost = np.abs(audio.waveform - samples) > LSB
        assert not audio.waveform[lost].any()
        assert lost.sum() <= 2 * 4096  # a frame for each place
        with pytest.raises(AudioError, match=r"broken\.flac: the file is broken: .* cannot be decoded"):
            read(named(bytes(data), "broken.flac"), strict=True)

    def test_05_flac_with_bytes_missing_stays_in_time(self) -> None:
        samples = speechlike(4)
        data = encode(samples, "FLAC")
        third = len(data) // 3
        audio = read(data[:third] + data[third + 9000 :])
        assert "silent here, in one place" in only_warning(audio)
        np.testing.assert_allclose(audio.waveform[-RATE:], samples[-RATE:], atol=LSB)

    def test_05_a_window_behind_damage_is_the_slice(self) -> None:
        samples = speechlike(6)
        data = bytearray(encode(samples, "FLAC"))
        data[len(data) // 3 : len(data) // 3 + 3000] = bytes(3000)
        window = read(bytes(data), offset=4.0, duration=1.5)
        np.testing.assert_allclose(window.waveform, samples[4 * RATE : 5 * RATE + RATE // 2], atol=LSB)

    @pytest.mark.parametrize("share", [0.3, 0.8])
    def test_05_a_flac_that_is_cut_gives_what_decodes(self, share: float) -> None:
        samples = speechlike(4)
        data = encode(samples, "FLAC")
        for flac in (data, without_flac_length(data)):
            cut = flac[: int(len(data) * share)]
            audio = read(cut)
            assert "cut short" in only_warning(audio)
            assert audio.duration == pytest.approx(4 * share, abs=0.5)
            np.testing.assert_allclose(audio.waveform, samples[: len(audio.waveform)], atol=LSB)
            with pytest.raises(AudioError, match="cut short"):
                read(cut, strict=True)

    def test_05_a_flac_of_which_nothing_decodes(self) -> None:
        data = encode(speechlike(0.2), "FLAC")
        with pytest.raises(AudioError, match="nothing can be decoded: the file is cut short: it ends before its first"):
            read(data[:60])
        with pytest.raises(
            AudioError, match=r"nothing can be decoded: no FLAC frame in it is whole \(flac decoder lost"
        ):
            read(data[:-1000])  # inside the only frame

    @pytest.mark.parametrize("data", [b"These are words, not waves.\n" * 50, bytes(range(256)) * 8, b"R", b"RIFF"])
    def test_06_not_audio(self, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "words.wav"
        path.write_bytes(data)
        with pytest.raises(AudioError, match=r"words\.wav: cannot be decoded: not an audio format.*ffmpeg"):
            read_audio(path, RATE)

    @pytest.mark.parametrize("name", ["speech.wav", "speech.raw", "speech.vox", "speech"])
    def test_07_the_content_decides_not_the_name(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        path.write_bytes(encode(speechlike(1), "MP3"))
        assert probe(path).container == "MP3"
        assert read_audio(path, RATE).duration == 1.0

    @pytest.mark.parametrize("size", [0xFFFFFFFF, 0x80000000, 0x7FFFF000])
    def test_08_size_of_a_streamed_wav(self, size: int) -> None:
        audio = read(wav(three_samples(), declared=size), strict=True)
        assert audio.waveform.tolist() == [0.0, 0.5, -1.0]
        assert audio.warnings == ()

    @pytest.mark.parametrize("riff_size", [0, 36, 0xFFFFFFFF])
    def test_08_header_that_was_never_finished(self, riff_size: int) -> None:
        unfinished = wav(three_samples(), declared=0)
        unfinished = unfinished[:4] + struct.pack("<I", riff_size) + unfinished[8:]
        audio = read(unfinished)
        assert audio.waveform.tolist() == [0.0, 0.5, -1.0]
        assert "never finished: it promises 0 bytes of samples and 6 follow" in only_warning(audio)
        assert probe(io.BytesIO(unfinished)).num_samples == 3
        with pytest.raises(AudioError, match="never finished"):
            read(unfinished, strict=True)

    @pytest.mark.parametrize("rate", [0, 4_000_000_000])
    def test_09_impossible_sample_rate(self, rate: int) -> None:
        with pytest.raises(AudioError, match="no valid sample rate"):
            read(wav(three_samples(), rate=rate))

    @pytest.mark.parametrize("rate", [1, 999, 2_000_000_000])
    def test_09_sample_rate_that_no_recorder_has(self, rate: int) -> None:
        with pytest.raises(AudioError, match=f"expected a sample rate of 1000 to 768000 Hz, got {rate}"):
            read(wav(three_samples(), rate=rate))

    def test_10_impossible_number_of_channels(self) -> None:
        with pytest.raises(AudioError, match="Channel count is zero"):
            read(wav(three_samples(), channels=0))
        with pytest.raises(AudioError, match="Too many channels"):
            read(wav(bytes(2 * 1025), channels=1025))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_11_not_finite(self, value: float) -> None:
        samples = speechlike(1)
        samples[4000] = value
        with pytest.raises(AudioError, match=r"expected finite samples, got NaN or infinity 0\.250 s"):
            read(float_wav(samples))
        assert len(read(float_wav(samples), duration=0.25).waveform) == 4000  # up to there it is good

    @given(st.data())
    @settings(max_examples=250, deadline=None)
    def test_any_damage_gives_audio_or_a_typed_error(self, data: st.DataObject) -> None:
        original = data.draw(st.sampled_from(FUZZ_FILES))
        mutant = bytearray(original)
        for _ in range(data.draw(st.integers(1, 6))):
            mutant[data.draw(st.integers(0, min(len(mutant), 120) - 1))] = data.draw(st.integers(0, 255))
        mutant = mutant[: data.draw(st.integers(0, len(mutant)))]
        try:
            audio = read(bytes(mutant), max_seconds=60)
        except AudioError:
            return
        assert audio.waveform.dtype == np.float32
        assert np.isfinite(audio.waveform).all()


FUZZ_FILES = [
    wav(speechlike(0.1).astype("<f4").tobytes(), bits=32, tag=3),
    wav(bytes(3200), channels=2),
    *(encode(speechlike(0.1), container) for container in ("FLAC", "AIFF", "OGG", "MP3", "CAF", "AU", "W64", "NIST")),
    2 * encode(speechlike(0.1), "OGG", "OPUS"),
    2 * wav(bytes(1600)),
]


def named(data: bytes, name: str) -> io.BytesIO:
    file = io.BytesIO(data)
    file.name = name
    return file


class TestMp3Length:
    """libsndfile decodes as many frames as it believes there are."""

    def loud_then_quiet(self) -> np.ndarray:
        """The first frames take most bits, so that a length estimated from them is far too short."""
        samples = 0.3 * np.random.default_rng(0).standard_normal(20 * RATE)
        samples[3 * RATE :] *= 1e-4
        return samples.astype(np.float32)

    def test_without_a_header_all_is_decoded(self) -> None:
        samples = self.loud_then_quiet()
        data = without_xing(encode(samples, "MP3", bitrate_mode="VARIABLE", compression_level=0.3))
        assert soundfile.info(io.BytesIO(data)).frames < 10 * RATE  # what a plain reader would give of 20 s
        audio = read(data, strict=True)
        assert audio.duration == pytest.approx(20.0, abs=0.1)  # encoders pad to whole frames of 36 ms
        assert audio.warnings == ()

    @pytest.mark.parametrize(("rate", "channels"), [(48_000, 1), (44_100, 2), (22_050, 2), (8_000, 1)])
    def test_for_every_mpeg_version(self, rate: int, channels: int) -> None:
        samples = np.repeat(speechlike(3, rate=rate)[:, None], channels, axis=1)
        audio = read(without_xing(encode(samples, "MP3", rate=rate)), rate, strict=True)
        assert audio.duration == pytest.approx(3.0, abs=0.2)  # up to two frames of 72 ms

    def test_two_files_joined_are_both_decoded(self) -> None:
        one = encode(speechlike(3), "MP3")
        assert soundfile.info(io.BytesIO(one + one)).duration == 3.0
        assert read(one + one, strict=True).duration == pytest.approx(6.0, abs=0.2)

    def test_tags_around_the_frames_are_no_damage(self) -> None:
        id3 = b"ID3\x04\0\0" + bytes([0, 0, 2, 0]) + bytes(256)  # 7 bits a byte: 2 << 7
        data = id3 + encode(speechlike(2), "MP3") + b"TAG" + bytes(125)
        audio = read(data, strict=True)
        assert (audio.duration, audio.warnings) == (2.0, ())

    def test_bytes_between_frames_are_stepped_over(self) -> None:
        data = encode(speechlike(2), "MP3")
        clean = survey(data)
        start = clean.start.audio_start
        dirty = survey(data[:start] + b"\xff\xff\xfb dirt" * 9 + data[start:])
        assert dirty.num_frames == clean.num_frames == clean.start.promised_frames


class TestOggStructure:
    @pytest.mark.parametrize("codec", ["OPUS", "VORBIS"])
    @pytest.mark.parametrize("same_serial", [True, False])
    def test_chained_recordings_are_read_one_after_the_other(self, codec: str, same_serial: bool) -> None:
        one, two = (encode(speechlike(1, seed), "OGG", codec) for seed in (1, 2))
        serial = struct.pack("<I", struct.unpack("<I", one[14:18])[0] ^ (0 if same_serial else 1))
        two = with_serial(two, serial)
        audio = read(one + two, strict=True)
        assert audio.warnings == ()
        assert probe(io.BytesIO(one + two)).num_samples == len(audio.waveform)
        np.testing.assert_array_equal(audio.waveform, np.concatenate([read(one).waveform, read(two).waveform]))
        window = read(one + two, offset=1.25, duration=0.5).waveform
        np.testing.assert_allclose(window, audio.waveform[RATE * 5 // 4 : RATE * 7 // 4], atol=LSB)

    def test_a_chain_of_different_kinds_says_what_is_missing(self) -> None:
        stereo = encode(np.stack([speechlike(1)] * 2, axis=1), "OGG", "VORBIS")
        audio = read(encode(speechlike(1), "OGG", "VORBIS") + stereo)
        assert audio.duration == 1.0
        assert "2 recordings one after the other, of which 1 have another sample rate" in only_warning(audio)

    def test_bytes_between_pages_are_told(self) -> None:
        data = encode(speechlike(3), "OGG", "VORBIS")
        page = data.index(b"OggS", len(data) // 2)
        audio = read(data[:page] + b"no page" + data[page:])
        assert "7 bytes between its Ogg pages belong to none" in only_warning(audio)
        assert audio.duration == 3.0

    @pytest.mark.parametrize("codec", ["OPUS", "VORBIS"])
    def test_cut_inside_a_page_gives_the_pages_before(self, codec: str) -> None:
        data = encode(speechlike(6), "OGG", codec)
        audio = read(data[: len(data) * 2 // 3])
        assert "ends inside an Ogg page" in only_warning(audio)
        assert 2.0 < audio.duration < 4.5

    def test_cut_before_the_first_sound(self) -> None:
        data = encode(speechlike(0.5), "OGG", "OPUS")
        with pytest.raises(AudioError, match="nothing can be decoded: the file is cut short"):
            read(data[:-10])

    def test_flac_in_ogg(self) -> None:
        samples = speechlike(2)
        native = encode(samples, "FLAC")
        audio = read(ogg_flac(native))
        np.testing.assert_array_equal(audio.waveform, read(native).waveform)
        assert audio.warnings == ()


def with_serial(ogg: bytes, serial: bytes) -> bytes:
    """The same pages as those of another stream, with true checksums."""
    pages = bytearray(ogg)
    for page in re.finditer(b"OggS\0", ogg):
        start = page.start()
        end = start + 27 + ogg[start + 26] + sum(ogg[start + 27 : start + 27 + ogg[start + 26]])
        pages[start + 14 : start + 18] = serial
        pages[start + 22 : start + 26] = bytes(4)
        pages[start + 22 : start + 26] = struct.pack("<I", ogg_crc(pages[start:end]))
    return bytes(pages)


def ogg_crc(page: bytes) -> int:
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc


def ogg_flac(native: bytes) -> bytes:
    """Native FLAC in Ogg pages (the mapping of RFC 9639), each block of metadata and each 20 kB of frames in one."""
    end = 4
    blocks = []
    while not (blocks and blocks[-1][0] & 0x80):
        size = 4 + int.from_bytes(native[end + 1 : end + 4], "big")
        blocks.append(native[end : end + size])
        end += size
    packets = [b"\x7fFLAC\x01\0" + struct.pack(">H", len(blocks) - 1) + b"fLaC" + blocks[0], *blocks[1:]]
    packets += [native[start : start + 20_000] for start in range(end, len(native), 20_000)]
    pages = []
    for number, packet in enumerate(packets):
        lacing = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
        flags = 2 * (number == 0) + 4 * (number == len(packets) - 1)
        header = b"OggS\0" + bytes([flags]) + bytes(8) + b"flac" + struct.pack("<II", number, 0)
        pages.append(header + bytes([len(lacing)]) + lacing + packet)
    return b"".join(pages)


class TestSound:
    def test_12_floats_far_outside_are_scaled(self) -> None:
        quiet = speechlike(1)
        audio = read(float_wav(quiet * 32768))
        np.testing.assert_array_equal(audio.waveform, quiet)  # a power of two costs no bit
        assert "divided by 32768" in only_warning(audio)

    def test_12_hot_floats_are_scaled_to_their_peak(self) -> None:
        audio = read(float_wav(np.array([0.0, 4.0, -2.0])))
        assert audio.waveform.tolist() == [0.0, 1.0, -0.5]
        assert "divided by 4" in only_warning(audio)

    def test_12_all_windows_are_scaled_alike(self) -> None:
        samples = np.concatenate([np.full(RATE, 0.5), np.full(RATE, 8000.0)])
        assert read(float_wav(samples), duration=0.5).waveform[0] == np.float32(0.5 / 32768)

    def test_12_lossy_audio_encoded_too_loud(self) -> None:
        data = encode(np.float32(6) * speechlike(1).clip(-0.5, 0.5), "OGG", "VORBIS")
        assert any("encode at a lower level" in warning for warning in read(data).warnings)

    def test_13_clipped(self) -> None:
        tone = np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)
        assert read(encode(tone, "FLAC")).warnings == ()  # as loud as can be, and whole
        clipped = only_warning(read(encode((1.5 * tone).clip(-1, 1), "FLAC")))
        assert clipped.startswith("clipped: ")
        assert "% of the samples stay at full scale" in clipped

    def test_14_digital_silence(self) -> None:
        audio = read(wav(bytes(2 * RATE)))
        assert not audio.waveform.any()
        assert audio.warnings == ()

    @pytest.mark.parametrize("num_samples", [1, 2, 399])
    @pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
    def test_15_shorter_than_a_frame(self, num_samples: int, rate: int) -> None:
        audio = read(wav(bytes(2 * num_samples), rate=rate))
        assert len(audio.waveform) == int(num_samples * RATE / rate + 0.5)

    def test_16_low_sample_rate(self) -> None:
        audio = read(wav(bytes(16_000), rate=8_000))
        assert audio.duration == 1.0
        assert "from 8000 Hz to 16000 Hz: nothing above 4000 Hz" in only_warning(audio)

    def test_17_eight_channels(self) -> None:
        frames = np.tile(np.arange(8) * 1024, (100, 1)).astype("<i2")
        data = wav(frames.tobytes(), channels=8)
        assert set(read(data).waveform) == {3.5 * 1024 / 32768}  # the mean of 0 to 7
        assert set(read(data, channel=7).waveform) == {7 * 1024 / 32768}
        for channel in (8, -1):
            with pytest.raises(AudioError, match=rf"channel {channel} was asked for.*has 8 \(0 to 7\)"):
                read(data, channel=channel)

    def test_18_opposite_phases(self) -> None:
        left = speechlike(1)
        stereo = float_wav(np.stack([left, -left], axis=1))
        assert "channels cancel each other" in only_warning(read(stereo))
        assert read(stereo, channel=0).warnings == ()
        one_sided = float_wav(np.stack([left, 0 * left], axis=1))
        assert read(one_sided).warnings == ()  # half as loud, nothing lost


class TestGuards:
    def test_20_length_in_the_header(self, hour_of_flac: bytes) -> None:
        assert len(hour_of_flac) < 200_000
        with pytest.raises(AudioError, match="at most 1800 s of audio, it holds more"):
            read(hour_of_flac, max_seconds=1800)
        assert read(hour_of_flac, max_seconds=10, offset=3000, duration=5).duration == 5.0

    def test_20_length_that_the_header_hides(self, hour_of_flac: bytes) -> None:
        seen = []
        with open_audio(io.BytesIO(without_flac_length(hour_of_flac)), 8_000, max_seconds=1800) as stream:
            assert stream.info.duration is None
            with pytest.raises(AudioError, match="at most 1800 s"):
                seen.extend(len(block) for block in stream.blocks(10))
        assert 1700 < sum(seen) / 8_000 <= 1800

    def test_20_read_audio_is_guarded_by_default(self) -> None:
        with pytest.raises(AudioError, match="at most 3600 s"):
            read(without_samples_written(hours=2))

    def test_21_pipe(self) -> None:
        data = encode(speechlike(3), "OGG", "OPUS")  # its length is in the last page: it cannot be read in one go
        with pipe_with(data) as pipe:
            np.testing.assert_array_equal(read_audio(pipe, RATE).waveform, read(data).waveform)

    def test_21_pipe_larger_than_the_memory_for_it(self, monkeypatch) -> None:
        monkeypatch.setattr("asr.audio.sources.PIPE_MEMORY_BYTES", 1000)
        with pipe_with(encode(speechlike(1), "MP3")) as pipe:
            assert read_audio(pipe, RATE, strict=True).duration == 1.0

    def test_21_pipe_over_its_cap(self) -> None:
        expected = pytest.raises(AudioError, match="at most 1000 bytes from a pipe")
        with pipe_with(wav(bytes(2000))) as pipe, expected, open_audio(pipe, RATE, max_pipe_bytes=1000):
            pass

    def test_21_empty_pipe(self) -> None:
        with pipe_with(b"") as pipe, pytest.raises(AudioError, match="the pipe is empty"):
            read_audio(pipe, RATE)

    def test_21_standard_input(self, monkeypatch) -> None:
        with pipe_with(wav(three_samples())) as pipe:
            monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=pipe))
            with open_audio("-", RATE) as stream:
                assert stream.name == "standard input"
                assert np.concatenate(list(stream.blocks())).tolist() == [0.0, 0.5, -1.0]

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
    def test_21_named_pipe(self, tmp_path: Path) -> None:
        path = tmp_path / "fifo"
        os.mkfifo(path)
        writer = threading.Thread(target=path.write_bytes, args=(wav(three_samples()),))
        writer.start()
        assert read_audio(path, RATE).waveform.tolist() == [0.0, 0.5, -1.0]
        writer.join()


def without_samples_written(hours: int) -> bytes:
    """A FLAC header that promises hours, and no audio."""
    flac = bytearray(encode(np.zeros(RATE), "FLAC"))
    flac[22:26] = struct.pack(">I", hours * 3600 * RATE)
    return bytes(flac)


class pipe_with:
    """The reading end of a pipe into which a thread writes `data`."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __enter__(self):
        reading, self.writing = os.pipe()
        self.reader = os.fdopen(reading, "rb")
        self.thread = threading.Thread(target=self.write)
        self.thread.start()
        return self.reader

    def write(self) -> None:
        # A reader that has had enough breaks the pipe.
        with contextlib.suppress(BrokenPipeError), os.fdopen(self.writing, "wb") as file:
            file.write(self.data)

    def __exit__(self, *exception) -> None:
        self.reader.close()
        self.thread.join()


class TestPaths:
    @pytest.mark.parametrize("name", ["größe 語.wav", "with space.wav", "-leading.wav", "[1]*?.wav", "line\nbreak"])
    def test_22_strange_names(self, tmp_path: Path, monkeypatch, name: str) -> None:
        monkeypatch.chdir(tmp_path)
        Path(name).write_bytes(wav(three_samples()))
        assert len(read_audio(name, RATE).waveform) == 3
        assert len(read_audio(tmp_path / name, RATE).waveform) == 3

    def test_22_undecodable_name(self, tmp_path: Path) -> None:
        if sys.platform != "linux":
            pytest.skip("file names are Unicode here")
        path = os.fsdecode(bytes(tmp_path) + b"/\xff.wav")
        Path(path).write_bytes(wav(three_samples()))
        assert len(read_audio(path, RATE).waveform) == 3

    def test_22_what_cannot_be_opened(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        cases = {
            tmp_path: "Is a directory",
            tmp_path / "missing.wav": "No such file",
            tmp_path / "file" / "below.wav": "Not a directory",
            "a\0b.wav": "null",
            os.devnull: "got a device",
        }
        for path, reason in cases.items():
            with pytest.raises(AudioError, match=reason):
                read_audio(path, RATE)

    def test_22_unreadable(self, tmp_path: Path) -> None:
        path = tmp_path / "secret.wav"
        path.write_bytes(wav(three_samples()))
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(AudioError, match=r"secret\.wav: cannot be opened: Permission denied"):
            read_audio(path, RATE)

    def test_text_file_and_number_are_no_source(self) -> None:
        for source in (io.StringIO("x"), 3):
            with pytest.raises(AudioError, match="expected a path or a binary file object, got"):
                read_audio(source, RATE)

    def test_file_object_is_read_from_its_beginning_and_left_open(self) -> None:
        file = io.BytesIO(wav(three_samples()))
        file.seek(10)
        assert len(read_audio(file, RATE).waveform) == 3
        assert len(read_audio(file, RATE).waveform) == 3

    def test_object_that_can_do_no_more_than_read(self) -> None:
        stream = SimpleNamespace(read=io.BytesIO(wav(three_samples())).read)
        assert len(read_audio(stream, RATE).waveform) == 3

    def test_file_object_that_fails_is_an_error_with_its_reason(self) -> None:
        class Failing(io.BytesIO):
            def read(self, size: int = -1) -> bytes:
                if self.tell() > 4000:
                    raise OSError("connection lost")
                return super().read(size)

        with pytest.raises(AudioError, match="the file object: reading from it failed: connection lost"):
            read(Failing(wav(bytes(2 * RATE))))

    def test_no_descriptor_stays_open(self, tmp_path: Path) -> None:
        fds = Path("/proc/self/fd")
        if not fds.is_dir():
            pytest.skip("needs /proc")
        good, bad = tmp_path / "good.wav", tmp_path / "bad.wav"
        good.write_bytes(wav(three_samples()))
        bad.write_bytes(b"no audio")
        before = len(list(fds.iterdir()))
        for _ in range(5):
            read_audio(good, RATE)
            with pytest.raises(AudioError):
                read_audio(bad, RATE)
        assert len(list(fds.iterdir())) == before


class TestArrays:
    def test_types(self) -> None:
        for array in (
            np.array([0, 16384, -32768], np.int16),
            np.array([0, 2**30, -(2**31)], np.int32),
            np.array([0.0, 0.5, -1.0]),
            np.array([0.0, 0.5, -1.0], np.float32),
            np.array([0.0, 0.5, -1.0], np.float16),
            np.array([0, 64, -128], np.int8),
            np.array([128, 192, 0], np.uint8),
        ):
            audio = from_array(array, RATE, RATE)
            assert audio.waveform.tolist() == [0.0, 0.5, -1.0]
            assert (audio.waveform.dtype, audio.warnings) == (np.float32, ())

    def test_the_shorter_axis_is_the_channels(self) -> None:
        stereo = np.array([[0.0, 1.0], [0.5, 0.5], [-1.0, 0.0]])  # (3, 2)
        for array in (stereo, stereo.T):
            assert from_array(array, RATE, RATE).waveform.tolist() == [0.5, 0.5, -0.5]
            assert from_array(array, RATE, RATE, channel=0).waveform.tolist() == [0.0, 0.5, -1.0]

    def test_same_steps_as_a_file(self) -> None:
        samples = speechlike(1, rate=8_000) * 100
        array, file = from_array(samples, 8_000, RATE), read(float_wav(samples, 8_000))
        np.testing.assert_array_equal(array.waveform, file.waveform)
        assert array.warnings == file.warnings
        assert len(array.warnings) == 2  # bandwidth and level

    def test_the_array_of_the_caller_is_untouched(self) -> None:
        samples = np.array([0.0, 4.0, -2.0], np.float32)
        waveform = from_array(samples, RATE, RATE).waveform
        waveform[:] = 9
        assert samples.tolist() == [0.0, 4.0, -2.0]

    @pytest.mark.parametrize(
        ("array", "reason"),
        [
            (np.zeros((2, 2)), "expected shape"),
            (np.zeros((1, 2, 3)), "expected shape"),
            (np.zeros(3, np.int64), "got int64, whose full scale is not known"),
            (np.zeros(3, bool), "got bool"),
            (np.array([0.0, np.nan]), "NaN"),
        ],
    )
    def test_bad_arrays(self, array: np.ndarray, reason: str) -> None:
        with pytest.raises(AudioError, match=f"the array: .*{reason}"):
            from_array(array, RATE, RATE)

    def test_empty_array(self) -> None:
        assert only_warning(from_array(np.zeros(0), RATE, RATE)).startswith("no samples")

    @given(st.integers(0, 3000), st.sampled_from([8_000, 11_025, 44_100, 48_000]))
    @settings(max_examples=40, deadline=None)
    def test_length_after_resampling(self, num_samples: int, rate: int) -> None:
        audio = from_array(np.zeros(num_samples), rate, RATE)
        assert abs(len(audio.waveform) - num_samples * RATE / rate) <= 0.5


@pytest.fixture(scope="module")
def real_data() -> Path:
    folder = os.environ.get("ASR_DATA")
    if not folder:
        pytest.skip("ASR_DATA is not set: no real recordings")
    return Path(folder)


@pytest.mark.parametrize("suffix", [".mp3", ".opus", ".flac"])
def test_real_files_are_whole_and_windows_are_slices(real_data: Path, suffix: str) -> None:
    paths = sorted(real_data.rglob(f"*{suffix}"))
    assert paths
    for path in paths[:: len(paths) // 10]:
        rate = probe(path).sample_rate
        whole = read_audio(path, rate, strict=True)
        assert whole.warnings == ()
        channels = soundfile.read(path, dtype="float32", always_2d=True)[0]  # (N, C)
        np.testing.assert_allclose(whole.waveform, channels.mean(axis=1), atol=FLOAT_EPSILON, rtol=0)
        offset = 0.6 * whole.duration
        window = read_audio(path, rate, offset=offset).waveform
        np.testing.assert_allclose(window, whole.waveform[round(offset * rate) :], atol=LSB, rtol=0)
