"""`asr data import` and `asr data export` on the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import sung_corpus
from typer.testing import CliRunner

from asr.cli.data import app
from asr.data.exchange import FORMATS
from asr.data.manifest import read_manifest, write_manifest
from asr.errors import ConfigError, CorpusError, OutputError
from asr.types import Utterance

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
    assert result.stdout.strip() == f"written: {back} (2 utterances, 1.8 seconds)"
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


def test_help_names_the_formats_and_loads_nothing_heavy(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert "folder|csv|tsv|kaldi|espnet|lhotse|nemo" in " ".join(invoke("import", "--help").stdout.split())
    heavy = {"torch", "numpy", "hydra", "matplotlib", "soundfile", "lhotse"}
    code = f"import sys, asr.cli.data; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# --- folders


@pytest.fixture
def recordings(tmp_path):
    """A folder of two recordings with texts, one without, and a text without."""
    manifest = sung_corpus(tmp_path / "in", "train", ["a cab", "bad dad", "add"])
    for utterance in read_manifest(manifest)[:2]:
        Path(utterance.audio_filepath).with_suffix(".txt").write_text(utterance.text)
    (tmp_path / "in" / "audio" / "lonely.txt").write_text("x")
    return tmp_path / "in" / "audio"


def test_a_folder_with_all_that_was_left_out(recordings, tmp_path):
    out = tmp_path / "out.jsonl"
    with pytest.raises(
        CorpusError, match=r"lonely\.txt: no recording of this name.*--skip-bad leaves such records out"
    ):
        invoke("import", "folder", recordings, "-o", out)
    assert not out.exists()
    result = invoke("import", "folder", recordings, "-o", out, "--skip-bad")
    assert result.stdout.splitlines() == [
        "layout: beside",
        f"written: {out} (2 utterances, 1.8 seconds)",
        f"left out: 2 of 4, all listed in {tmp_path / 'out.left-out.jsonl'}",
        "  1  texts without audio (no-audio)",
        "  1  audio without a text (no-text)",
    ]
    rows = [json.loads(line) for line in (tmp_path / "out.left-out.jsonl").read_text().splitlines()]
    assert [(row["code"], Path(row["place"]).name) for row in rows] == [
        ("no-audio", "lonely.txt"),
        ("no-text", "train-2.wav"),
    ]
    for name in ("lonely.txt", "train-2.wav"):
        (recordings / name).unlink()
    invoke("import", "folder", recordings, "-o", out, "--skip-bad")
    assert not (tmp_path / "out.left-out.jsonl").exists(), "of an earlier import"


def test_an_import_into_its_own_folder_can_be_repeated(recordings):
    for _ in range(2):
        invoke("import", "folder", recordings, "-o", recordings / "all.jsonl", "--skip-bad")
    assert len(read_manifest(recordings / "all.jsonl")) == 2


def test_previews_write_nothing(recordings, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    result = invoke("import", "folder", recordings, "--skip-bad", "--preview", "-n", "1")
    assert "train-0  " in result.stdout
    assert "  a cab" in result.stdout
    assert "train-1  " not in result.stdout
    assert "left out: 2 of 4\n" in result.stdout
    manifest = tmp_path / "in" / "train.jsonl"
    result = invoke("normalize", manifest, "--case", "upper", "--preview", "-o", tmp_path / "x.jsonl")
    assert "train-0\n  - a cab\n  + A CAB\n" in result.stdout
    result = invoke("split", manifest, "-o", tmp_path / "x", "--preview")
    assert result.stdout.endswith("nothing was written: this is a preview\n")
    assert sorted(tmp_path.rglob("*")) == before
    for command in (["import", "folder", recordings], ["normalize", manifest], ["split", manifest]):
        refused = invoke(*command)
        assert refused.exit_code == 2
        assert "--preview" in refused.output


def test_options_of_folders_and_tables_stay_apart(recordings, tmp_path):
    out = ("-o", tmp_path / "out.jsonl")
    with pytest.raises(ConfigError, match="--audio-root does nothing for folder"):
        invoke("import", "folder", recordings, *out, "--audio-root", tmp_path)
    with pytest.raises(ConfigError, match="belong to folder; kaldi has none"):
        invoke("import", "kaldi", tmp_path, *out, "--layout", "beside")
    with pytest.raises(ConfigError, match="columns belong to csv and tsv"):
        invoke("import", "folder", recordings, *out, "--columns", "id,audio")
    with pytest.raises(ConfigError, match="got the file"):
        invoke("import", "folder", tmp_path / "in" / "train.jsonl", *out)
    with pytest.raises(ConfigError, match="leave --text-column and such out"):
        invoke("import", "csv", tmp_path / "in" / "train.jsonl", *out, "--columns", "id,audio", "--text-column", "x")


def test_a_table_without_a_header(tmp_path):
    sung_corpus(tmp_path, "train", ["a cab"])
    (tmp_path / "t.csv").write_text("7,train-0.wav,ja,ann\n")
    out = tmp_path / "out.jsonl"
    arguments = ["--audio-root", tmp_path / "audio", "--columns", "id, audio, text, speaker"]
    invoke("import", "csv", tmp_path / "t.csv", "-o", out, *arguments)
    (utterance,) = read_manifest(out)
    assert (utterance.id, utterance.text, utterance.speaker) == ("7", "ja", "ann")


def test_a_preview_of_a_table_says_what_becomes_of_columns(tmp_path):
    sung_corpus(tmp_path, "train", ["a cab"])
    (tmp_path / "t.csv").write_text(",ID, wav, wav_format, char, spk_id, room\n0,7, train-0.wav, wav, ja, ann, b\n")
    result = invoke("import", "csv", tmp_path / "t.csv", "--audio-root", tmp_path / "audio", "--preview")
    assert result.stdout.splitlines()[:2] == [
        "columns: ID → id, wav → audio_filepath, char → text, spk_id → speaker, room → room",
        "left out: wav_format",
    ]


@pytest.mark.parametrize("name", ["in/train.jsonl", "in/audio/train-0.wav", "in/audio/train-0.txt"])
def test_no_output_over_an_input(recordings, tmp_path, name):
    before = (tmp_path / name).read_bytes()
    command = (
        ("normalize", tmp_path / name) if name.endswith("jsonl") else ("import", "folder", recordings, "--skip-bad")
    )
    with pytest.raises(OutputError, match="which is read"):
        invoke(*command, "-o", tmp_path / name)
    assert (tmp_path / name).read_bytes() == before


def test_no_output_over_a_recording(recordings, tmp_path):
    manifest, recording = tmp_path / "in" / "train.jsonl", recordings / "train-0.wav"
    before = recording.read_bytes()
    for command in (("export", "csv", manifest), ("normalize", manifest), ("import", "nemo", manifest)):
        with pytest.raises(OutputError, match="which is read"):
            invoke(*command, "-o", recording)
    assert recording.read_bytes() == before


# --- normalize and split


def written(path, *texts, **fields):
    utterances = [
        Utterance(f"u{n}", str(path.parent / f"{n}.wav"), 60.0, text, **fields) for n, text in enumerate(texts)
    ]
    write_manifest(path, utterances)
    return path


def test_normalize(tmp_path):
    source = written(tmp_path / "m.jsonl", "It’s 3 o'clock!", "fine", "At 10:30 – “now”", "…")
    with pytest.raises(ConfigError, match=r"m\.jsonl:1: expected a language .*got none for 2 of 4 texts.*--lang en"):
        invoke("normalize", source, "-o", tmp_path / "n.jsonl")
    with pytest.raises(ConfigError, match=r"m\.jsonl:1: expected a language whose numbers can be spelt.*--digits keep"):
        invoke("normalize", source, "-o", tmp_path / "n.jsonl", "--lang", "tlh")
    assert not (tmp_path / "n.jsonl").exists()
    result = invoke("normalize", source, "-o", tmp_path / "n.jsonl", "--lang", "en", "-n", "1")
    assert result.stdout.splitlines() == [
        "u0",
        "  - It’s 3 o'clock!",
        "  + it's three o'clock",
        "3 of 4 texts change",
        "empty then (1): u3",
        "kept, as they have more than one reading or are no words: 10:30",
        "  to be mended by hand, or left out (1): u2",
        f"written: {tmp_path / 'n.jsonl'} (4 utterances)",
    ]
    assert [u.text for u in read_manifest(tmp_path / "n.jsonl")] == ["it's three o'clock", "fine", "at 10:30 now", ""]


def test_each_text_is_spelt_in_its_own_language(tmp_path):
    utterances = [Utterance(lang, f"/{lang}.wav", 1.0, "21", lang=lang) for lang in ("de", "fr-FR", "es")]
    write_manifest(tmp_path / "m.jsonl", [*utterances, Utterance("x", "/x.wav", 1.0, "21")])
    invoke("normalize", tmp_path / "m.jsonl", "-o", tmp_path / "n.jsonl", "--lang", "it")
    texts = [utterance.text for utterance in read_manifest(tmp_path / "n.jsonl")]
    assert texts == ["einundzwanzig", "vingt et un", "veintiuno", "ventuno"]


def test_split(tmp_path):
    source = written(tmp_path / "m.jsonl", *(f"text {n}" for n in range(20)), speaker="ann")
    with pytest.raises(CorpusError, match="split with --by text"):
        invoke("split", source, "-o", tmp_path / "parts")
    assert not (tmp_path / "parts").exists()
    result = invoke("split", source, "-o", tmp_path / "parts", "--by", "text", "--dev", "2min", "-n", "0")
    assert result.stdout.splitlines()[:3] == [
        "train       16 utterances     16.0 min   80%      1 speaker",
        "dev          2 utterances      2.0 min   10%      1 speaker",
        "test         2 utterances      2.0 min   10%      1 speaker",
    ]
    parts = {name: read_manifest(tmp_path / "parts" / f"{name}.jsonl") for name in ("train", "dev", "test")}
    assert sorted(u.id for part in parts.values() for u in part) == sorted(u.id for u in read_manifest(source))
    result = invoke("split", source, "-o", tmp_path / "parts", "--by", "text", "--test", "0")
    assert "test.jsonl is not of this split" in result.stderr
    written(tmp_path / "train.jsonl", "a", "b", "c")
    with pytest.raises(OutputError, match="which is read"):
        invoke("split", tmp_path / "train.jsonl", "-o", tmp_path, "--by", "text")
    assert not (tmp_path / "dev.jsonl").exists()


def test_a_split_that_cannot_come_close_says_so(tmp_path):
    utterances = [Utterance(s, f"/{s}.wav", 60.0, "x", speaker=s) for s in "abc"]
    write_manifest(tmp_path / "m.jsonl", utterances)
    result = invoke("split", tmp_path / "m.jsonl", "-o", tmp_path / "parts")
    assert "0.3 min were asked for; 3 groups by speaker cannot be divided closer" in result.stdout


def test_texts_with_control_characters_do_not_move_the_cursor(tmp_path):
    source = written(tmp_path / "m.jsonl", "Go \x1b[Jon")
    assert "  - Go \\x1b[Jon\n" in invoke("normalize", source, "--preview").stdout
