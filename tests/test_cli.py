"""The commands as a user types them, each in a process of its own where that matters."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import typer
from helpers import SAMPLE_RATE, sing, sung_corpus
from typer.testing import CliRunner

from asr.audio import write_audio
from asr.cli.main import app, main

TEXTS = ["ab", "ba", "bad", "dab", "a bad cab", "cab", "add a cab", "abba"]
SCORE_KEYS = {
    *("wer", "cer", "ser", "substitutions", "deletions", "insertions", "reference_words", "utterances"),
    *("audio_seconds", "decode_seconds", "rtfx", "wer_ci95", "decoder"),
}
RUN_OPTIONS = [
    f"data.sample_rate={SAMPLE_RATE}",
    "data.batch_seconds=4",
    "model=blstm_2x128",
    "model.hidden_size=16",
    "features=logmel40",
    "training.epochs=2",
    "machine.precision=float32",
]


def run_asr(*arguments, cwd, **options):
    """Run `asr` as a process of its own."""
    command = [sys.executable, "-c", "from asr.cli.main import main; main()", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, capture_output=True, env=environment, check=False, **options)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with a trained model, runs/tiny, and the corpus it was trained on."""
    folder = tmp_path_factory.mktemp("work")
    sung_corpus(folder, "train", TEXTS * 2, seed=1)
    sung_corpus(folder, "dev", TEXTS[:3], seed=2)
    sung_corpus(folder, "test", TEXTS[3:], seed=3)
    sets = ["data.train=[train.jsonl]", "data.dev=[dev.jsonl]"]
    result = run_asr("train", *RUN_OPTIONS, *sets, "run_dir=runs/tiny", cwd=folder)
    assert result.returncode == 0, result.stderr.decode()
    return folder


COMMANDS = ["", "run", "prepare", "train", "evaluate", "transcribe", "tune", "calibrate", "align", "check"]
LM_COMMANDS = ["lm train", "lm compile", "lm query", "lm perplexity"]


@pytest.mark.parametrize("command", [*COMMANDS, *LM_COMMANDS])
def test_every_help_has_examples(command):
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "asr " in result.output
    assert command == "" or "Examples" in result.output or "asr check" in result.output


def test_version():
    from importlib.metadata import version

    assert CliRunner().invoke(app, ["--version"]).output.strip() == version("blstm-asr")


def test_evaluate_writes_exactly_what_it_promises(work, tmp_path):
    result = run_asr("evaluate", "runs/tiny/model", "test.jsonl", "-o", tmp_path / "out", cwd=work)
    assert result.returncode == 0, result.stderr.decode()
    score = json.loads((tmp_path / "out" / "score.json").read_text())
    assert list(score) == [
        "wer",
        "cer",
        "ser",
        "substitutions",
        "deletions",
        "insertions",
        "reference_words",
        "utterances",
        "audio_seconds",
        "decode_seconds",
        "rtfx",
        "wer_ci95",
        "decoder",
        "set",
        "system",
        "alignment",
        "unit",
        "folding",
        "normalized",
        "breakdowns",
        "left_out",
    ]
    assert (score["utterances"], score["left_out"]) == (5, 0)
    assert score["reference_words"] == sum(len(text.split()) for text in TEXTS[3:])
    rows = [json.loads(line) for line in (tmp_path / "out" / "hypotheses.jsonl").read_text().splitlines()]
    keys = {"id", "reference", "hypothesis", "errors", "reference_words", "speaker", "duration", "fields"}
    assert [set(row) for row in rows] == [keys] * 5
    assert sum(row["errors"] for row in rows) == score["substitutions"] + score["deletions"] + score["insertions"]
    assert b"Word error rate" in result.stdout
    assert b"REF:" in result.stdout


def test_evaluate_several_manifests(work, tmp_path):
    result = run_asr("evaluate", "runs/tiny/model", "test.jsonl", "dev.jsonl", cwd=work)
    assert result.returncode == 0, result.stderr.decode()
    assert (work / "runs/tiny/evaluate/test/score.json").is_file()
    assert (work / "runs/tiny/evaluate/dev/hypotheses.jsonl").is_file()


def test_evaluate_refuses_what_it_cannot_read(work, tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"id": "u", "audio_filepath": "no.wav", "duration": 1, "text": "a"}\n')
    result = run_asr("evaluate", "runs/tiny/model", tmp_path / "bad.jsonl", "-o", tmp_path / "out", cwd=work)
    assert result.returncode == 1
    assert b"no.wav" in result.stderr
    assert b"Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_transcribe_goes_on_after_bad_files_and_exits_non_zero(work, tmp_path):
    audio = tmp_path / "audio"
    audio.mkdir()
    rng = np.random.default_rng(0)
    write_audio(audio / "a b.wav", sing("bad", rng), SAMPLE_RATE)
    write_audio(audio / "ünder.flac", sing("cab", rng), SAMPLE_RATE)
    (audio / "empty.wav").write_bytes(b"")
    (audio / "text.wav").write_text("no audio")
    result = run_asr(
        "transcribe", audio, "missing.wav", "--model", "runs/tiny/model", "-f", "json", "-o", tmp_path / "out", cwd=work
    )
    assert result.returncode == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a b.json", "ünder.json"]
    transcript = json.loads((tmp_path / "out" / "a b.json").read_text())
    assert {"text", "segments"} <= set(transcript)
    errors = result.stderr.decode()
    assert all(name in errors for name in ("empty.wav", "text.wav", "missing.wav"))
    assert "3 of 5 inputs failed" in errors
    assert "Traceback" not in errors


def test_transcribe_from_a_pipe(work):
    data = (work / "audio" / "test-1.wav").read_bytes()
    piped = run_asr("transcribe", "-", "--model", "runs/tiny/model", cwd=work, input=data)
    named = run_asr("transcribe", "audio/test-1.wav", "--model", "runs/tiny/model", cwd=work)
    assert piped.returncode == named.returncode == 0, piped.stderr.decode()
    assert piped.stdout == named.stdout


def test_transcribe_skips_what_is_there(work, tmp_path):
    arguments = ["transcribe", "audio/test-1.wav", "--model", "runs/tiny/model", "-o", tmp_path, "--skip-existing"]
    (tmp_path / "test-1.txt").write_text("mine\n")
    assert run_asr(*arguments, cwd=work).returncode == 0
    assert (tmp_path / "test-1.txt").read_text() == "mine\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["transcribe", "a.wav", "--model", "nowhere"], "nowhere"),
        (["evaluate", "runs/tiny/model", "nowhere.jsonl"], "nowhere.jsonl"),
        (["run", "digitz"], "digits"),
        (["run", "digits", "optim.lr=fast"], "optim.lr"),
        (["prepare", "custom"], "got custom, which trains on manifests that are there"),
        (["run", "mini_english", "data.dir=new"], "ASR_DATA"),
        (["prepare", "digits", "data.dir=new", "+data.options.nonsense=1"], "nonsense"),
        (["train", "data.train=[nowhere.jsonl]", "data.dev=[dev.jsonl]", "run_dir=x"], "nowhere.jsonl"),
        (["train", "run_dir=x"], "data.train"),
        (["train", "model.hiden_size=3"], "hiden_size"),
    ],
)
def test_mistakes_are_explained_without_a_traceback(work, arguments, message, monkeypatch):
    monkeypatch.delenv("ASR_DATA", raising=False)
    if arguments[0] == "transcribe":
        (work / "a.wav").write_bytes((work / "audio" / "test-0.wav").read_bytes())
    result = run_asr(*arguments, cwd=work)
    assert result.returncode != 0
    assert message in result.stderr.decode()
    assert "Traceback" not in result.stderr.decode()


def test_train_shows_its_config_and_sweeps(work):
    sets = ["data.train=[train.jsonl]", "data.dev=[dev.jsonl]"]
    shown = run_asr("train", "+recipe=digits", "--cfg", "job", cwd=work)
    assert b"hidden_size: 128" in shown.stdout
    sweep = ["model.cell=gru,lstm", "training.epochs=1", "hydra.sweep.dir=sweep", "-m"]
    result = run_asr("train", *RUN_OPTIONS[:-2], *RUN_OPTIONS[-1:], *sets, *sweep, cwd=work)
    assert result.returncode == 0, result.stderr.decode()
    assert len(list((work / "sweep").glob("*/model/SHA256SUMS"))) == 2


def test_ctrl_c_saves_and_the_same_command_goes_on(work):
    """A real process and a real signal: SIGINT after the first line of history."""
    sets = ["data.train=[train.jsonl]", "data.dev=[dev.jsonl]", "training.epochs=4000", "run_dir=runs/stopped"]
    command = [sys.executable, "-c", "from asr.cli.main import main; main()", "train", *RUN_OPTIONS[:-2], *sets]
    process = subprocess.Popen(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    history = work / "runs" / "stopped" / "history.jsonl"
    deadline = time.monotonic() + 120
    while not (history.is_file() and history.stat().st_size) and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read().decode()
    process.send_signal(2)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"goes on from there" in errors
    assert list((work / "runs" / "stopped" / "checkpoints").glob("resume-*"))


def times_of_files(folder):
    """When each file was last written, but for the lock, which every process takes."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_a_whole_recipe_twice(tmp_path):
    """`asr run digits` in miniature: the second time it only reports."""
    sizes = [f"+data.options.{name}={n}" for name, n in [("num_train", 16), ("num_dev", 4), ("num_test_strings", 4)]]
    arguments = [
        "run",
        "digits",
        *sizes,
        "+data.options.num_test_singles=4",
        "training.epochs=1",
        "model.hidden_size=16",
        "machine.precision=float32",
    ]
    first = run_asr(*arguments, cwd=tmp_path)
    assert first.returncode == 0, first.stderr.decode()
    run_dir = tmp_path / "runs" / "digits"
    for path in (
        "model/model.safetensors",
        "curves.png",
        "evaluate/strings/score.json",
        "evaluate/singles/hypotheses.jsonl",
    ):
        assert (run_dir / path).is_file()
    assert "strings" in (run_dir / "model" / "README.md").read_text()
    files = times_of_files(tmp_path)
    second = run_asr(*arguments, cwd=tmp_path)
    assert second.returncode == 0, second.stderr.decode()
    assert times_of_files(tmp_path) == files
    assert b"Word error rate" in second.stdout
    assert b"preparing" not in second.stdout
    other = run_asr(*arguments, "optim.lr=0.5", cwd=tmp_path)
    assert other.returncode == 1
    assert b"optim.lr" in other.stderr


def test_ctrl_c_is_acknowledged(monkeypatch, capsys):
    def command():
        raise KeyboardInterrupt

    interrupted = typer.Typer()
    interrupted.command()(command)
    monkeypatch.setattr("asr.cli.main.app", lambda **_: interrupted([]))
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 130
    assert capsys.readouterr().err.strip() == "interrupted"
