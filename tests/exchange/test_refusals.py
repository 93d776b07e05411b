"""What importing and exporting refuse, and with which words."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from exchange_files import RATE, TARGETS, write_files

from asr.data.exchange import read_corpus, write_corpus
from asr.errors import ConfigError, CorpusError
from asr.types import Utterance

COMMANDS = [
    "sph2pipe -f wav -p {audio} |",
    "flac -c -d -s {audio} |",
    "sox {audio} -t wav - |",
    "touch {mark}; cat {audio} |",
    "| touch {mark}",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_in_a_wav_scp_are_refused_and_never_run(audio, tmp_path, command, monkeypatch):
    def run(*args, **kwargs):
        raise AssertionError("a command was run")

    monkeypatch.setattr(subprocess, "Popen", run)
    monkeypatch.setattr("os.system", run)
    mark = tmp_path / "mark"
    folder = write_files(tmp_path / "d", wav__scp="a " + command.format(audio=audio[0], mark=mark), text="a x\n")
    with pytest.raises(CorpusError, match=r"wav\.scp:1: .*a command, which is never run.*convert"):
        read_corpus("kaldi", folder)
    assert not mark.exists()


GOOD = {"wav__scp": "a {0}\nb {1}\n", "text": "a x\nb y\n", "utt2spk": "a s\nb s\n"}
BAD_KALDI = {
    "archive": ({"wav__scp": "a foo.ark:1234\nb {1}\n"}, r"wav\.scp:1: .*a place in an archive"),
    "no path": ({"wav__scp": "a\nb {1}\n"}, r"wav\.scp:1: expected the path"),
    "missing audio": ({"wav__scp": "a /no/such.wav\nb {1}\n"}, r"wav\.scp:1: no such audio file: /no/such\.wav"),
    "twice": ({"text": "a x\na y\n"}, r"text:2: expected each key once, got 'a', which stands at .*text:1"),
    "text for nobody": ({"text": "a x\nb y\nc z\n"}, r"text:3: not in .*wav\.scp: c"),
    "no text": ({"text": "a x\n"}, r"text: lacks 1 ids of wav\.scp: b"),
    "no speaker": ({"utt2spk": "a s\n"}, r"utt2spk: lacks 1 ids of wav\.scp: b"),
    "unknown recording": ({"segments": "a q 0 1\n"}, r"segments:1: the recording 'q' is not in .*wav\.scp"),
    "a channel": ({"segments": "a a 0 1 A\n"}, r"segments:1: .*got 5 columns.*one file a channel"),
    "backwards": ({"segments": "a a 0.5 0.5\nb b 0 1\n"}, r"segments:1: expected a start before the end"),
    "no number": ({"segments": "a a zero 1\n"}, r"segments:1: expected a number of seconds, got 'zero'"),
    "nan": ({"segments": "a a nan 1\n"}, r"segments:1: expected a start before the end"),
    "behind the end": ({"segments": "a a 9 -1\nb b 0 1\n"}, r"segments:1: it starts at 9 s, behind the end"),
    "bad duration": ({"utt2dur": "a long\n"}, r"utt2dur:1: expected a number of seconds, got 'long'"),
    "negative duration": ({"utt2dur": "a -1\n"}, r"wav\.scp:1: expected a finite number of seconds"),
}


@pytest.mark.parametrize("case", BAD_KALDI)
def test_bad_kaldi_directories(audio, tmp_path, case):
    files, message = BAD_KALDI[case]
    content = {name: text.format(*audio) for name, text in (GOOD | files).items()}
    with pytest.raises(CorpusError, match=message):
        read_corpus("kaldi", write_files(tmp_path / "d", **content))


def test_files_that_are_missing_or_no_text(audio, tmp_path):
    with pytest.raises(CorpusError, match=r"cannot read .*wav\.scp: No such file"):
        read_corpus("kaldi", tmp_path)
    folder = write_files(tmp_path / "d", wav__scp=f"a {audio[0]}\n")
    (folder / "text").write_bytes("a grün\n".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"text:1: expected UTF-8, got byte 0xfc at byte 5 of the line; convert"):
        read_corpus("kaldi", folder)
    (tmp_path / "noise.wav").write_text("no audio")
    folder = write_files(tmp_path / "e", wav__scp=f"a {tmp_path / 'noise.wav'}\n", text="a x\n")
    with pytest.raises(CorpusError, match=r"wav\.scp:1: .*noise\.wav"):
        read_corpus("kaldi", folder)


BAD_TABLES = {
    "no text": ("path\nx.wav\n", r":1: expected a column for text .*got path; name it with --text-column"),
    "no audio": ("text\nja\n", r":1: expected a column for audio_filepath .*--audio-column"),
    "two": ("path,wav,text\na,b,c\n", r":1: path and wav could all be audio_filepath"),
    "repeated": ("path,text,text\na,b,c\n", r":1: expected a name of its own for each column"),
    "ragged": ("path,text\na.wav\n", r":2: expected 2 cells as in the header, got 1"),
    "duration": ("path,text,duration\na.wav,x,long\n", r":2: expected a number of seconds in duration, got 'long'"),
    "open quote": (
        'path,text\na.wav,"x\n',
        r":2: expected commas between values: a quotation mark that is never closed",
    ),
    "empty": ("", r"expected a header and rows"),
    "header alone": ("path,text\n", r"expected utterances, found none"),
    "no file": ("path,text\nno.wav,x\n", r":2: no such audio file: .*no\.wav"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables(tmp_path, case):
    content, message = BAD_TABLES[case]
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(CorpusError, match=message):
        read_corpus("csv", tmp_path / "t.csv")


def test_bad_nemo_manifests(audio, tmp_path):
    good = json.dumps({"audio_filepath": audio[0], "text": "x"})
    for bad, message in [
        ("{", r":2: expected a JSON object"),
        ('{"text": "x"}', ":2: missing field"),
        (good, ":2: .*unique"),
    ]:
        (tmp_path / "m").write_text(good.replace("}", ', "id": "a"}') + "\n" + bad.replace("}", ', "id": "a"}'))
        with pytest.raises(CorpusError, match=message):
            read_corpus("nemo", tmp_path / "m")


def cut(audio, **changes):
    recording = {
        "id": "r",
        "sources": [{"type": "file", "channels": [0], "source": audio[0]}],
        "sampling_rate": RATE,
        "num_samples": RATE,
        "duration": 1.0,
    }
    recording |= changes.pop("recording", {})
    if "features" in changes:
        recording = None
    base = {"id": "c", "start": 0.0, "duration": 1.0, "channel": 0, "supervisions": [], "recording": recording}
    merged = base | {"type": "MonoCut"} | changes
    return {name: value for name, value in merged.items() if value is not None}


BAD_CUTS = {
    "mixed": ({"type": "MixedCut", "tracks": []}, "expected a MonoCut, got MixedCut"),
    "padding": ({"type": "PaddingCut"}, "expected a MonoCut, got PaddingCut"),
    "multi": ({"type": "MultiCut"}, "expected a MonoCut, got MultiCut"),
    "command": (
        {"recording": {"sources": [{"type": "command", "channels": [0], "source": "touch MARK"}]}},
        "expected a recording in one file for 'c', got command; save",
    ),
    "address": (
        {"recording": {"sources": [{"type": "url", "channels": [0], "source": "http://127.0.0.1/a"}]}},
        "got url",
    ),
    "stereo": (
        {"recording": {"sources": [{"type": "file", "channels": [0, 1], "source": "x"}], "channel_ids": [0, 1]}},
        "expected mono, 'r' has 2 channels",
    ),
    "changed speed": (
        {"recording": {"transforms": [{"name": "Speed", "kwargs": {"factor": 0.9}}]}},
        "is changed in loading",
    ),
    "features": ({"features": None}, "'c' has features alone"),
    "broken": ({"supervisions": [{"id": "s"}]}, "expected a cut as lhotse writes it"),
}


@pytest.mark.parametrize("case", BAD_CUTS)
def test_cuts_that_are_no_stretch_of_a_file(audio, tmp_path, case, monkeypatch):
    pytest.importorskip("lhotse")
    changes, message = BAD_CUTS[case]
    changes = json.loads(json.dumps(changes).replace("MARK", str(tmp_path / "mark")))
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps(cut(audio, **changes)) + "\n")
    with pytest.raises(CorpusError, match=f"c.jsonl:1: .*{message}"):
        read_corpus("lhotse", path)
    assert not (tmp_path / "mark").exists()


def test_without_lhotse_the_extra_is_named(audio, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lhotse", None)
    with pytest.raises(CorpusError, match=r'pip install "blstm-asr\[corpora\]"'):
        write_corpus("lhotse", tmp_path / "c.jsonl", [Utterance("u", audio[0], 1.0, "x")])


CANNOT_HOLD = [
    ("kaldi", {"id": "a b"}, "utterance 'a b': id: expected printable characters and no white space"),
    ("kaldi", {"speaker": ""}, "speaker: expected printable"),
    ("kaldi", {"duration": 1.5}, r"'u': it ends at 1\.5 s, its recording .*at 1 s"),
    ("espnet", {"id": "a\u00a0b"}, "id: expected printable"),
    ("lhotse", {"offset": 0.9}, "'u': it ends at"),
    ("kaldi", {"audio_filepath": "/no/such.wav"}, r"utterance 'u': /no/such\.wav"),
]


@pytest.mark.parametrize(("format", "changes", "message"), CANNOT_HOLD)
def test_what_a_format_cannot_hold(audio, tmp_path, format, changes, message):
    if format == "lhotse":
        pytest.importorskip("lhotse")
    utterance = replace(Utterance("u", audio[0], 1.0, "x", speaker="s"), **changes)
    with pytest.raises(CorpusError, match=message):
        write_corpus(format, tmp_path / TARGETS[format], [utterance])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", TARGETS)
def test_nothing_to_write(tmp_path, format):
    with pytest.raises(CorpusError, match="got none"):
        write_corpus(format, tmp_path / TARGETS[format], [])


def test_genders_in_kaldis_letters(audio, tmp_path):
    genders = {"a": "female", "b": "male", "c": "f", "d": "other"}
    utterances = [Utterance(s, audio[0], 0.5, "x", speaker=s, extra={"gender": g}) for s, g in genders.items()]
    write_corpus("kaldi", tmp_path / "d", utterances)
    assert (tmp_path / "d" / "spk2gender").read_text() == "a f\nb m\nc f\n"


def test_a_speaker_of_two_genders(audio, tmp_path):
    pair = [Utterance(id, path, 1.0, "x", speaker="s", extra={"gender": g}) for id, path, g in zip("ab", audio, "mf")]
    with pytest.raises(CorpusError, match="speaker 's' has another gender"):
        write_corpus("kaldi", tmp_path / "d", pair)


def test_an_export_replaces_an_export_and_nothing_else(audio, tmp_path):
    for text in ("old", "new"):
        write_corpus("kaldi", tmp_path / "d", [Utterance("u", audio[0], 1.0, text)])
    assert read_corpus("kaldi", tmp_path / "d")[0].text == "new"
    (tmp_path / "d" / "feats.scp").write_text("mine")
    with pytest.raises(CorpusError, match=r"got feats\.scp in it"):
        write_corpus("kaldi", tmp_path / "d", [Utterance("u", audio[0], 1.0, "x")])


def test_unknown_formats(tmp_path):
    for call in (lambda: read_corpus("hdf5", tmp_path), lambda: write_corpus("hdf5", tmp_path, [])):
        with pytest.raises(ConfigError, match=r"expected one of kaldi, espnet, .*got 'hdf5'"):
            call()


# --- real speech ---------------------------------------------------------------------------------------------
