from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from asr.audio import AUDIO_SUFFIXES, find_audio_files, probe, read_audio, write_audio
from asr.errors import AudioError

RATE = 16_000


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


class TestWriting:
    @pytest.mark.parametrize(
        ("name", "container", "encoding"),
        [("a.wav", "WAV", "PCM_16"), ("a.FLAC", "FLAC", "PCM_16"), ("a.ogg", "OGG", "OPUS"), ("a.opus", "OGG", "OPUS")],
    )
    def test_suffix_decides(self, tmp_path: Path, name: str, container: str, encoding: str) -> None:
        tone = (0.5 * np.sin(np.arange(RATE) / 10)).astype(np.float32)
        write_audio(tmp_path / name, tone, RATE)
        info = probe(tmp_path / name)
        assert (info.container, info.encoding, info.sample_rate, info.num_samples) == (container, encoding, RATE, RATE)
        assert (
            np.abs(read_audio(tmp_path / name, RATE, strict=True).waveform - tone)[: -RATE // 25].max() < 0.1
        )  # as Opus garbles its end
        assert names(tmp_path) == [name]

    @given(hnp.arrays(np.int16, st.integers(1, 300)))
    @settings(max_examples=50, deadline=None)
    def test_16_bit_audio_survives_bit_for_bit(self, tmp_path_factory, samples: np.ndarray) -> None:
        folder = tmp_path_factory.mktemp("round")
        for name in ("a.wav", "a.flac"):
            write_audio(folder / name, samples / np.float32(32768), RATE)
            np.testing.assert_array_equal(soundfile.read(folder / name, dtype="int16")[0], samples)

    @pytest.mark.parametrize(
        ("name", "samples", "rate", "reason"),
        [
            ("a.mp3", [0.0], RATE, r"ends in \.ogg, \.wav, \.flac, \.opus, got '\.mp3'"),
            ("a", [0.0], RATE, "got ''"),
            ("a.opus", [0.0], 44_100, "Opus expects .*, got 44100"),
            ("a.flac", [], RATE, "expected at least one sample"),
            ("a.wav", [[0.0, 0.0]], RATE, r"expected \(N,\) float samples, got \(1, 2\)"),
            ("a.wav", [0, 1], RATE, "got .* int64"),
            ("a.wav", [0.0, -1.5], RATE, "got a peak of 1.5"),
            ("a.wav", [np.nan], RATE, "got a peak of nan"),
            ("no/such/a.wav", [0.0], RATE, "cannot be written: .*No such file"),
        ],
    )
    def test_refused(self, tmp_path: Path, name: str, samples: list, rate: int, reason: str) -> None:
        with pytest.raises(AudioError, match=reason):
            write_audio(tmp_path / name, np.array(samples), rate)
        assert names(tmp_path) == []

    def test_a_failure_leaves_the_old_file(self, tmp_path: Path, monkeypatch) -> None:
        path = tmp_path / "a.wav"
        write_audio(path, np.zeros(5, np.float32), RATE)

        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(soundfile.SoundFile, "write", fail)
        with pytest.raises(AudioError, match="No space left"):
            write_audio(path, np.zeros(9, np.float32), RATE)
        assert names(tmp_path) == ["a.wav"]
        assert probe(path).num_samples == 5


@pytest.fixture
def tree(tmp_path: Path, monkeypatch) -> Path:
    for name in ("b.WAV", "a.opus", "notes.txt", ".hidden.wav", "sub/c.mp3", "sub/.git/d.wav", "-e.wav", "x [1].wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestFinding:
    @pytest.mark.parametrize(
        ("argument", "recursive", "expected"),
        [
            ("notes.txt", False, ["notes.txt"]),  # named, so it is tried
            ("-", False, ["-"]),
            ("-e.wav", False, ["-e.wav"]),
            (".", False, ["-e.wav", "a.opus", "b.WAV", "x [1].wav"]),
            (".", True, ["-e.wav", "a.opus", "b.WAV", "sub/c.mp3", "x [1].wav"]),
            ("sub", False, ["sub/c.mp3"]),
            ("x [1].wav", False, ["x [1].wav"]),  # exists, so it is no pattern
            ("[ab].*", False, ["a.opus", "b.WAV"]),
            ("*", False, ["-e.wav", "a.opus", "b.WAV", "notes.txt", "x [1].wav"]),
            ("**/*.mp3", True, ["sub/c.mp3"]),
        ],
    )
    def test_found(self, tree: Path, argument: str, recursive: bool, expected: list[str]) -> None:
        found = find_audio_files([argument], recursive)
        assert list(found.paths) == expected
        assert found.errors == ()

    def test_absolute_paths(self, tree: Path) -> None:
        assert find_audio_files([str(tree / "sub")]).paths == (str(tree / "sub" / "c.mp3"),)

    def test_the_batch_goes_on_and_each_path_comes_once(self, tree: Path) -> None:
        found = find_audio_files(["missing.wav", "b.WAV", "empty", "*.xyz", "b.*", "a.opus"])
        assert found.paths == ("b.WAV", "a.opus")
        messages = [str(error) for error in found.errors]
        assert messages[0] == "missing.wav: no such file or directory"
        assert messages[1].startswith("empty: no audio files in this directory (.au, .aif,")
        assert messages[1].endswith("--recursive")
        assert messages[2] == "*.xyz: no file matches"

    def test_every_suffix_is_one_that_libsndfile_has(self) -> None:
        names = {name.lower() for name in soundfile.available_formats()}
        same = {"wave": "wav", "oga": "ogg", "opus": "ogg", "aif": "aiff", "aifc": "aiff", "snd": "au", "sph": "nist"}
        assert {same.get(suffix[1:], suffix[1:]) for suffix in AUDIO_SUFFIXES} <= names
