"""`asr data import` and `asr data export` on the command line."""

import subprocess
import sys

import pytest
from helpers import sung_corpus
from typer.testing import CliRunner

from asr.cli.data import app
from asr.data.exchange import FORMATS
from asr.data.manifest import read_manifest
from asr.errors import ConfigError, CorpusError, OutputError

TARGETS = dict(zip(FORMATS, ("kaldi", "espnet", "cuts.jsonl.gz", "nemo.jsonl", "table.csv", "table.tsv"), strict=True))


def invoke(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize("format", FORMATS)
def test_out_and_in_again(tmp_path, format):
    if format == "lhotse":
        pytest.importorskip("lhotse")
    manifest = sung_corpus(tmp_path, "train", ["a cab", "bad dad"])
    target, back = tmp_path / "there" / TARGETS[format], tmp_path / "elsewhere" / "back.jsonl"
    result = invoke("export", format, manifest, "-o", target)
    assert result.stdout.strip() == f"written: {target} (2 utterances)"
    result = invoke("import", format, target, "-o", back)
    assert result.stdout.strip() == f"written: {back} (2 utterances, 0.00 hours)"
    assert read_manifest(back) == read_manifest(manifest)


def test_no_command_writes_over_its_input(tmp_path):
    manifest = sung_corpus(tmp_path, "train", ["a cab", "bad dad"])
    invoke("export", "csv", manifest, "-o", tmp_path / "table.csv")
    invoke("export", "kaldi", manifest, "-o", tmp_path / "kaldi")
    invoke("shard", manifest, "-o", tmp_path / "shards")
    (tmp_path / "link.jsonl").symlink_to(manifest)
    audio = next((tmp_path / "audio").iterdir())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for command in (
        ("import", "csv", tmp_path / "table.csv", "-o", tmp_path / "table.csv"),
        ("import", "csv", tmp_path / "table.csv", "-o", audio),
        ("import", "kaldi", tmp_path / "kaldi", "-o", tmp_path / "kaldi" / "text"),
        ("import", "nemo", manifest, "-o", tmp_path / "link.jsonl"),
        ("export", "csv", manifest, "-o", manifest),
        ("export", "kaldi", manifest, "-o", tmp_path),
        ("shard", tmp_path / "shards" / "manifest.jsonl", "-o", tmp_path / "shards"),
        ("shard", tmp_path / "shards" / "shard-000000.jsonl", "-o", tmp_path / "shards"),
    ):
        with pytest.raises(OutputError, match="which is read; name another file"):
            invoke(*command)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_options_of_an_import(tmp_path):
    sung_corpus(tmp_path, "train", ["a cab"])
    (tmp_path / "t.tsv").write_text("Nr\tdatei\tWortlaut\twer\tlang\tdauer\n7\ttrain-0.wav\tA cab!\tich\tde\t0.5\n")
    columns = "--id-column Nr --audio-column datei --text-column Wortlaut --speaker-column wer --duration-column dauer"
    out = tmp_path / "out.jsonl"
    invoke("import", "tsv", tmp_path / "t.tsv", "-o", out, "--audio-root", tmp_path / "audio", *columns.split())
    (utterance,) = read_manifest(out)
    assert (utterance.id, utterance.text, utterance.speaker, utterance.lang) == ("7", "A cab!", "ich", "de")
    assert (utterance.duration, utterance.audio_filepath) == (0.5, str(tmp_path / "audio" / "train-0.wav"))


def test_relative_paths_begin_where_kaldis_scripts_run(tmp_path, monkeypatch):
    sung_corpus(tmp_path, "train", ["a cab"])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wav.scp").write_text("u audio/train-0.wav\n")
    (tmp_path / "data" / "text").write_text("u a cab\n")
    with pytest.raises(CorpusError, match="relative paths are taken to begin at"):
        invoke("import", "kaldi", tmp_path / "data", "-o", tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
    monkeypatch.chdir(tmp_path)
    invoke("import", "kaldi", "data", "-o", "out.jsonl")
    assert read_manifest("out.jsonl")[0].audio_filepath == str(tmp_path / "audio" / "train-0.wav")


def test_options_that_would_do_nothing_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="columns belong to csv and tsv; kaldi has none"):
        invoke("import", "kaldi", tmp_path, "-o", tmp_path / "m.jsonl", "--text-column", "x")
    assert invoke("import", "hdf5", tmp_path, "-o", tmp_path / "m.jsonl").exit_code == 2
    assert invoke("export", "kaldi", tmp_path / "none.jsonl", "-o", tmp_path / "d").exit_code == 2


def test_help_names_the_formats_and_loads_nothing_heavy():
    assert "kaldi|espnet|lhotse|nemo" in " ".join(invoke("import", "--help").stdout.split())
    heavy = {"torch", "numpy", "hydra", "matplotlib", "soundfile", "lhotse"}
    code = f"import sys, asr.cli.data; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
