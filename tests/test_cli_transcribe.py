"""`asr transcribe`: several inputs, outputs that cannot be written, directories; and where commands find the model."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import SAMPLE_RATE
from test_recognizer import FEATURES, MODEL, TOKENIZER, make, song
from typer.testing import CliRunner

from asr.audio import write_audio
from asr.cli.main import app
from asr.config import DecodingConfig, to_json
from asr.data.manifest import write_manifest
from asr.decoder_builder import packed
from asr.errors import AsrError
from asr.files import check_output
from asr.model_directory import ModelFiles, write_model
from asr.types import Utterance


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with the model runs/mine/model, a.wav and b.wav."""
    state = {f"model.{name}": tensor for name, tensor in make().model.state_dict().items()}
    described = {"sample_rate": SAMPLE_RATE, "case": "lower", "features": to_json(FEATURES), "model": to_json(MODEL)}
    files = ModelFiles({**described, "decoding": to_json(DecodingConfig())}, state, TOKENIZER.to_json())
    write_model(tmp_path / "runs" / "mine" / "model", files, card="# a card\n")
    for seed, name in enumerate(["a.wav", "b.wav"]):
        write_audio(tmp_path / name, song(1.0, seed), SAMPLE_RATE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    """Run `asr` in this process; what it prints on the two streams, and its exit code."""
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit | AsrError), result.exception
    return result


def transcribe(*arguments):
    return run("transcribe", *arguments, "-m", "runs/mine")


class TestJson:
    def test_one_input_is_one_object_that_names_it(self, work):
        result = transcribe("a.wav", "-f", "json")
        assert result.exit_code == 0, result.stderr
        value = json.loads(result.stdout)
        assert value["file"] == "a.wav"
        assert value["text"] == make().transcribe(work / "a.wav").text
        assert value["score"] == pytest.approx(sum(value["parts"].values()))
        assert result.stdout.count("\n") > 5  # to be read by a person

    def test_several_inputs_are_json_lines(self, work):
        result = transcribe("a.wav", "b.wav", "-f", "json", "--decoder", "beam", "--nbest", "3")
        values = [json.loads(line) for line in result.stdout.splitlines()]
        assert [value["file"] for value in values] == ["a.wav", "b.wav"]
        for value in values:
            scores = [value["score"], *(other["score"] for other in value["alternatives"])]
            assert len(scores) == 3
            assert scores == sorted(scores, reverse=True)

    def test_lines_stay_lines_when_one_input_fails(self, work):
        result = transcribe("a.wav", "missing.wav", "-f", "json")
        assert result.exit_code == 1
        (line,) = result.stdout.splitlines()
        assert json.loads(line)["file"] == "a.wav"

    def test_texts_of_several_inputs_are_named(self, work):
        one, two = transcribe("a.wav").stdout, transcribe("a.wav", "b.wav").stdout
        assert two.splitlines()[0] == f"a.wav: {one.strip()}"

    def test_output_files_name_their_input(self, work):
        transcribe("a.wav", "-f", "json", "-o", "out")
        assert json.loads(Path("out/a.json").read_text())["file"] == "a.wav"

    def test_a_name_that_is_no_text(self, work):
        if sys.platform != "linux":
            pytest.skip("file names are Unicode here")
        Path("a.wav").rename(os.fsdecode(b"\xff.wav"))
        result = transcribe(os.fsdecode(b"\xff.wav"), "b.wav")
        assert result.exit_code == 0
        assert result.stdout.startswith("\\udcff.wav: ")


class TestOutputs:
    def test_a_directory_in_the_place_of_one_does_not_stop_the_others(self, work):
        Path("o/a.txt").mkdir(parents=True)
        result = transcribe("a.wav", "b.wav", "-o", "o")
        assert result.exit_code == 1
        assert "a.txt cannot be written: a directory of that name is there" in result.stderr
        assert "1 of 2 inputs failed" in result.stderr
        assert Path("o/b.txt").is_file()

    def test_nothing_is_loaded_when_nothing_can_be_written(self, work, monkeypatch):
        monkeypatch.setattr("asr.cli.transcribe.load", lambda *_: pytest.fail("the model was loaded"))
        Path("o").write_text("mine")
        result = transcribe("a.wav", "b.wav", "-o", "o/deeper")
        assert result.exit_code == 1
        assert "o/deeper/a.txt cannot be written: " in result.stderr
        assert "o is no directory" in result.stderr
        assert Path("o").read_text() == "mine"

    def test_a_place_that_is_read_only(self, work, monkeypatch):
        Path("o").mkdir()
        access = os.access

        def is_allowed(path, mode):  # root may write anywhere
            return access(path, mode) and not (str(path) == "o" and mode & os.W_OK)

        monkeypatch.setattr("os.access", is_allowed)
        result = transcribe("a.wav", "-o", "o")
        assert result.exit_code == 1
        assert "o/a.txt cannot be written: o cannot be written to" in result.stderr

    def test_a_disk_that_is_full_does_not_stop_the_others(self, work, monkeypatch):
        from asr import files

        replacing = files.replacing

        def failing(path):
            if Path(path).name == "a.txt":
                raise files.OutputError(f"{path} cannot be written: No space left on device")
            return replacing(path)

        monkeypatch.setattr(files, "replacing", failing)
        result = transcribe("a.wav", "b.wav", "-o", "o")
        assert result.exit_code == 1
        assert "No space left" in result.stderr
        assert [path.name for path in Path("o").iterdir()] == ["b.txt"]

    @pytest.mark.parametrize("how", ["itself", "symlink", "hard link", "another input"])
    def test_no_input_is_written_over(self, work, how):
        Path("o").mkdir()
        recording, other = Path("o/a.txt"), Path("o/x.txt")
        recording.write_bytes(Path("a.wav").read_bytes())
        inputs = {"itself": [recording], "symlink": ["o/x.wav"], "hard link": ["o/x.wav"]}.get(
            how, ["a.wav", recording]
        )
        if how == "symlink":
            recording.rename("o/x.wav")
            other.symlink_to("x.wav")
        if how == "hard link":
            recording.rename("o/x.wav")
            os.link("o/x.wav", other)
        before = {path: path.read_bytes() for path in Path("o").iterdir()}
        result = transcribe(*inputs, "-o", "o")
        assert {path: path.read_bytes() for path in before} == before
        if how == "another input":  # which are called a.wav.txt and a.txt.txt
            assert result.exit_code == 0
        else:
            assert result.exit_code == 1
            assert "which is read; choose another -o" in result.stderr

    def test_hotwords_are_not_written_over(self, work):
        Path("a.txt").write_text("cab\n")
        result = transcribe("a.wav", "-o", ".", "--decoder", "beam", "--hotwords", "@a.txt")
        assert result.exit_code == 1
        assert Path("a.txt").read_text() == "cab\n"

    def test_standard_input_and_a_file_called_so(self, work):
        Path("stdin").write_bytes(Path("a.wav").read_bytes())
        result = transcribe("stdin", "-", "-o", "o")
        assert result.exit_code == 1
        assert "-: its transcript would be o/stdin.txt, as that of stdin" in result.stderr
        assert Path("o/stdin.txt").is_file()

    def test_the_same_recording_twice_is_written_once(self, work):
        result = transcribe("a.wav", work / "a.wav", "-o", "o")
        assert result.exit_code == 0
        assert result.stderr.count("->") == 1

    def test_a_name_too_long_is_found_before_the_work(self, tmp_path):
        with pytest.raises(AsrError, match="cannot be written: File name too long"):
            check_output(tmp_path / ("x" * 300))


class TestDirectories:
    def test_what_is_not_taken_is_named(self, work):
        folder = work / "folder"
        (folder / "deeper").mkdir(parents=True)
        names = ["a.WAV", "no_suffix", "c.bak", "deeper/d.wav", ".hidden.wav"]
        for name in names:
            (folder / name).write_bytes(Path("a.wav").read_bytes())
        (folder / "phone.m4a").write_bytes(b"\0\0\0\x18ftypM4A " + bytes(100))
        (folder / "song.wma").write_bytes(b"unknown")
        (folder / "called.dat").write_bytes(b"#!AMR\n" + bytes(100))
        (folder / "notes.txt").write_text("RIFF")
        (folder / "._a.WAV").write_text("what macOS leaves")
        result = transcribe(folder, "-f", "json")
        assert result.exit_code == 0, result.stderr
        taken = [Path(json.loads(line)["file"]).name for line in result.stdout.splitlines()]
        assert taken == ["a.WAV", "c.bak", "no_suffix"]
        said = {Path(line.split(": ")[1]).name: line for line in result.stderr.splitlines() if "left out" in line}
        assert set(said) == {"phone.m4a", "song.wma", "called.dat", "deeper", ".hidden.wav"}
        assert "MP4 (M4A) is not read here; convert it, for instance with: ffmpeg -i" in said["phone.m4a"]
        assert "wma is not read here" in said["song.wma"]
        assert "AMR" in said["called.dat"]
        assert "--recursive" in said["deeper"]
        assert "hidden" in said[".hidden.wav"]

    def test_nothing_but_what_is_not_read(self, work):
        (work / "folder").mkdir()
        (work / "folder" / "phone.m4a").write_bytes(b"\0\0\0\x18ftypM4A " + bytes(100))
        result = transcribe("folder")
        assert result.exit_code == 1
        assert "left out: folder/phone.m4a" in result.stderr
        assert "no audio files in this directory" in result.stderr


@pytest.fixture
def manifest(work):
    """Utterances with texts; the audio of both."""
    rows = [Utterance(name, f"{name}.wav", 1.0, "ab cab") for name in ("a", "b")]
    write_manifest(work / "dev.jsonl", rows)
    return "dev.jsonl"


class TestWhereTheModelIs:
    """evaluate, align, calibrate and inspect take it first or as -m, and a run's directory for the model in it."""

    @pytest.mark.parametrize("command", ["evaluate", "align", "calibrate", "inspect"])
    def test_first_or_named(self, work, manifest, command):
        options = ["--pictures", "0"] if command == "inspect" else []
        first = run(command, "runs/mine/model", manifest, *options)
        named = run(command, manifest, "-m", "runs/mine", *options)
        assert (first.exit_code, first.stderr) == (named.exit_code, named.stderr)
        if command == "calibrate":  # which hears the audio, and finds no word that is right
            assert "recognised words are wrong" in str(first.exception) == str(named.exception)
            return
        assert first.exit_code == 0, first.stderr + str(first.exception)
        kept = [[line for line in r.stdout.splitlines() if "written" in line] for r in (first, named)]
        assert kept[0] == kept[1] != []  # both times beside the model

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["evaluate"], "expected a model directory, as the first argument or after -m, got none"),
            (["align", "dev.jsonl", "dev.jsonl", "-m", "runs/mine"], "expected a manifest beside the model, got"),
            (["align", "-m", "runs/mine"], "expected a manifest beside the model, got none"),
            (["evaluate", "runs/mine/model", "dev.jsonl", "-m", "runs/mine"], "expected one model, got runs/mine"),
            (["tune", "dev.jsonl", "-m", "runs/mine"], "expected --lm"),
            (["evaluate", "dev.jsonl"], "or after -m, got dev.jsonl, which is a file"),
        ],
    )
    def test_mistakes(self, work, manifest, arguments, message):
        result = run(*arguments)
        assert result.exit_code != 0
        assert message in str(result.exception) + result.stderr

    @pytest.mark.parametrize(
        ("command", "name"),
        [("align", "alignment.jsonl"), ("evaluate", "hypotheses.jsonl"), ("inspect", "figures.json")],
    )
    def test_no_manifest_is_written_over(self, work, manifest, command, name):
        Path("out").mkdir()
        Path(manifest).rename(Path("out") / name)
        before = (Path("out") / name).read_bytes()
        result = run(command, Path("out") / name, "-m", "runs/mine", "-o", "out")
        assert "would be written over" in str(result.exception)
        assert (Path("out") / name).read_bytes() == before

    @pytest.mark.parametrize("command", ["evaluate", "align", "calibrate", "inspect"])
    def test_an_output_that_cannot_be_is_found_before_the_work(self, work, manifest, command, monkeypatch):
        monkeypatch.setattr(f"asr.cli.{command}.load", lambda *_: pytest.fail("the model was loaded"))
        Path("out").write_text("mine")
        result = run(command, manifest, "-m", "runs/mine", "-o", "out")
        assert "out is no directory" in str(result.exception)


def test_a_rescoring_model_travels_without_its_run(tmp_path):
    inside = tmp_path / "books" / "model"
    inside.mkdir(parents=True)
    (inside / "SHA256SUMS").touch()
    config = DecodingConfig(name="beam", rescoring_model=str(tmp_path / "books"), rescoring_weight=0.3)
    assert packed(config)[1] == {"rescoring": inside}


def test_model_files_are_readable_as_the_umask_says(work):
    old = os.umask(0o027)
    try:
        state = {"w": make().model.output.weight}
        write_model(work / "new", ModelFiles({"sample_rate": 1}, state, {}), "card")
    finally:
        os.umask(old)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (work / "new").iterdir()}
    assert set(modes.values()) == {"0o640"}, modes
    assert oct((work / "new").stat().st_mode & 0o777) == "0o750"


def test_silence_has_a_score_of_a_number(work):
    write_audio(work / "zeros.wav", np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE)
    assert isinstance(json.loads(transcribe("zeros.wav", "-f", "json").stdout)["score"], float)
