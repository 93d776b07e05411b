"""Other toolkits' formats: what they look like by hand, round trips of anything, and what is refused."""

import gzip
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from exchange_files import TARGETS, write_files
from helpers import needs_real_speech, real_data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.data.exchange import Columns, read_corpus, write_corpus
from asr.data.manifest import read_manifest
from asr.errors import AsrError, ConfigError, CorpusError
from asr.types import Utterance

# --- by hand -------------------------------------------------------------------------------------------------


def test_a_kaldi_directory_by_hand(audio, tmp_path):
    utterances = [
        Utterance("b-2", audio[1], 2.0, "zwei  Töne", speaker="b", lang="de", extra={"gender": "f", "age": 6}),
        Utterance("a-1", audio[0], 1.0, "", speaker="a"),
        Utterance("Z", audio[2], 3.0, "alone"),
    ]
    write_corpus("kaldi", tmp_path / "d", utterances)
    written = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "d").iterdir()}
    assert written == {  # upper case before lower case, as in the C locale
        "wav.scp": f"Z {audio[2]}\na-1 {audio[0]}\nb-2 {audio[1]}\n",
        "text": "Z alone\na-1\nb-2 zwei Töne\n",
        "utt2spk": "Z Z\na-1 a\nb-2 b\n",
        "spk2utt": "Z Z\na a-1\nb b-2\n",
        "spk2gender": "b f\n",
        "utt2lang": "b-2 de\n",
        "utt2dur": "Z 3.0\na-1 1.0\nb-2 2.0\n",
        "reco2dur": "Z 3.0\na-1 1.0\nb-2 2.0\n",
    }
    back = {utterance.id: utterance for utterance in read_corpus("kaldi", tmp_path / "d")}
    assert back["b-2"] == replace(utterances[0], text="zwei Töne", extra={"gender": "f"})
    assert back["a-1"] == utterances[1]
    assert back["Z"] == utterances[2]


def test_kaldi_segments_by_hand(audio, tmp_path):
    utterances = [
        Utterance("x", audio[2], 1.3, "late", offset=1.2, speaker="s"),
        Utterance("y", audio[2], 1.2, "early", speaker="s"),
        Utterance("z", audio[0], 0.5, "half", speaker="s"),
    ]
    write_corpus("kaldi", tmp_path / "d", utterances)
    assert (tmp_path / "d" / "wav.scp").read_text() == f"one {audio[0]}\nthree {audio[2]}\n"
    assert (tmp_path / "d" / "segments").read_text() == "x three 1.2 2.5\ny three 0.0 1.2\nz one 0.0 0.5\n"
    assert (tmp_path / "d" / "reco2dur").read_text() == "one 1.0\nthree 3.0\n"
    assert read_corpus("kaldi", tmp_path / "d") == utterances


def test_a_strangers_kaldi_directory(audio, tmp_path):
    """Tabs, CRLF, a byte-order mark, no durations, a segment to the end, paths relative to where the scripts run."""
    folder = write_files(
        tmp_path / "d",
        wav__scp="﻿one\tone.wav\r\nthree\tthree.flac\r\n",
        segments="s-1  one 0.25 -1\ns-2 three 0 1.5\n",
        text="s-1\tguten  tag\ns-2\n",
        utt2spk="s-1 s\ns-2 s\n",
        spk2gender="s m\n",
    )
    first, second = read_corpus("kaldi", folder, audio_root=Path(audio[0]).parent)
    assert first == Utterance("s-1", audio[0], 0.75, "guten  tag", 0.25, "s", extra={"gender": "m"})
    assert (second.text, second.duration, second.offset) == ("", 1.5, 0.0)


def test_espnet_has_numbers_of_samples_beside(audio, tmp_path):
    write_corpus("espnet", tmp_path / "d", [Utterance("a", audio[0], 1.0, "x"), Utterance("b", audio[1], 2.0, "y")])
    assert (tmp_path / "d" / "utt2num_samples").read_text() == "a 8000\nb 16000\n"
    assert (tmp_path / "d" / "feats_type").read_text() == "raw\n"


def test_a_nemo_manifest_of_a_stranger(audio, tmp_path):
    rows = [
        {"audio_filepath": "one.wav", "text": "ein", "duration": None, "pred_text": "kein", "speaker": 7},
        {"audio_filepath": audio[1], "text": "zwei", "duration": 1.0, "offset": 0.5, "snr": 3},
    ]
    source = tmp_path / "m.json"
    source.write_text("\n".join(map(json.dumps, rows)))
    assert read_corpus("nemo", source, audio_root=Path(audio[0]).parent) == [
        Utterance("one", audio[0], 1.0, "ein", speaker="7"),
        Utterance("two", audio[1], 1.0, "zwei", 0.5, extra={"snr": 3}),
    ]


def test_tables_of_other_toolkits(audio, tmp_path):
    speechbrain = tmp_path / "sb.csv"
    speechbrain.write_text(f'ID,duration,wav,spk_id,wrd\nu1,1.0,{audio[0]},s,"WELL, ""YES"""\n')
    assert read_corpus("csv", speechbrain) == [Utterance("u1", audio[0], 1.0, 'WELL, "YES"', speaker="s")]
    deepspeech = tmp_path / "ds.csv"
    deepspeech.write_text(f"wav_filename,wav_filesize,transcript\n{audio[1]},32044,two\n")
    assert read_corpus("csv", deepspeech) == [Utterance("two", audio[1], 2.0, "two", extra={"wav_filesize": "32044"})]
    common_voice = tmp_path / "cv.tsv"
    common_voice.write_text(f'client_id\tpath\tsentence\tage\nabc\t{audio[0]}\tEr sagt: "so\t\n')
    assert read_corpus("tsv", common_voice) == [Utterance("one", audio[0], 1.0, 'Er sagt: "so', speaker="abc")]


def test_columns_by_name(audio, tmp_path):
    source = tmp_path / "t.csv"
    source.write_text(f"path,Satz,text\n{audio[0]},gesprochen,gedruckt\n")
    (utterance,) = read_corpus("csv", source, columns=Columns(text="Satz"))
    assert (utterance.text, utterance.extra) == ("gesprochen", {})
    assert read_corpus("csv", source)[0].extra == {"Satz": "gesprochen"}
    with pytest.raises(ConfigError, match="kaldi has none"):
        read_corpus("kaldi", tmp_path, columns=Columns(text="Satz"))


def test_lhotse_reads_what_is_written(audio, tmp_path):
    lhotse = pytest.importorskip("lhotse")
    target = tmp_path / "cuts.jsonl.gz"
    write_corpus("lhotse", target, [Utterance("u", audio[2], 1.5, "ja", 1.0, "s", "de", {"gender": "f", "age": 6})])
    (cut,) = lhotse.CutSet.from_file(target)
    assert cut.load_audio().shape == (1, 12000)
    (supervision,) = cut.supervisions
    assert (supervision.text, supervision.speaker, supervision.gender) == ("ja", "s", "f")
    assert (supervision.language, supervision.custom) == ("de", {"age": 6})


def test_lhotse_cuts_of_a_conversation(audio, tmp_path):
    """Two people in one cut, which begins inside the recording; and a cut in which nobody speaks."""
    lhotse = pytest.importorskip("lhotse")
    recording = lhotse.Recording.from_file(audio[2])
    spoken = [
        lhotse.SupervisionSegment("s1", recording.id, -0.5, 1.0, text="eins", speaker="a"),  # begins before the cut
        lhotse.SupervisionSegment("s2", recording.id, 1.0, 0.5, text="zwei", speaker="b"),
    ]
    cut = lhotse.MonoCut("c", 1.0, 2.0, 0, supervisions=spoken, recording=recording)
    silent = lhotse.MonoCut("silent", 0.0, 1.0, 0, recording=recording)
    path = tmp_path / "c.jsonl"
    lhotse.CutSet.from_cuts([cut, silent]).to_file(path)
    assert read_corpus("lhotse", path) == [
        Utterance("s1", audio[2], 0.5, "eins", 1.0, "a"),
        Utterance("s2", audio[2], 0.5, "zwei", 2.0, "b"),
        Utterance("silent", audio[2], 1.0, ""),
    ]


# --- round trips ---------------------------------------------------------------------------------------------

# What every format holds; control characters and line breaks are further below.
LETTERS = st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"))
TOKENS = st.text(LETTERS, min_size=1, max_size=6).filter(lambda token: token.isprintable() and " " not in token)
TEXTS = st.lists(st.text(LETTERS, max_size=5), max_size=4).map(lambda words: " ".join(" ".join(words).split()))


@st.composite
def corpora(draw):
    """Stretches of the recordings, by number, for the audio is not known here."""
    ids = draw(st.lists(TOKENS, min_size=1, max_size=5, unique=True))
    utterances = []
    for id in ids:
        number = draw(st.integers(0, 2))
        offset, duration = 0.0, number + 1.0
        if draw(st.booleans()):
            offset = draw(st.integers(0, 500_000)) / 1e6
            duration = draw(st.integers(1, 499_999)) / 1e6
        speaker = draw(st.none() | TOKENS.filter(lambda speaker, id=id: speaker != id))
        lang = draw(st.none() | st.sampled_from(["de", "zh-TW"]))
        extra = draw(st.sampled_from([{}, {"age": 6, "notes": ["ü", None]}]))
        utterances.append(Utterance(id, str(number), duration, draw(TEXTS), offset, speaker, lang, extra))
    return utterances


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(corpus=corpora(), format=st.sampled_from(sorted(TARGETS)))
def test_round_trip(audio, tmp_path, corpus, format):
    utterances = [replace(u, audio_filepath=audio[int(u.audio_filepath)]) for u in corpus]
    if format == "lhotse":
        pytest.importorskip("lhotse")
    write_corpus(format, tmp_path / TARGETS[format], utterances)
    back = read_corpus(format, tmp_path / TARGETS[format])
    if format in ("kaldi", "espnet"):  # their order is that of the ids, and there is no place for other fields
        utterances = sorted((replace(u, extra={}) for u in utterances), key=lambda u: u.id.encode())
    if format in ("csv", "tsv"):  # cells are text
        extras = [{k: json.dumps(v, ensure_ascii=False) for k, v in u.extra.items()} for u in utterances]
        utterances = [replace(u, extra=extra) for u, extra in zip(utterances, extras, strict=True)]
    assert back == utterances


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(format=st.sampled_from(sorted(TARGETS)), content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_content_makes_a_reader_crash(audio, tmp_path, format, content):
    path = tmp_path / TARGETS[format]
    if format in ("kaldi", "espnet"):
        path.mkdir(exist_ok=True)
        (path / "wav.scp").write_text(f"a {audio[0]}\n")
        (path / "text").write_bytes(content)
        (path / "segments").write_bytes(content)
    else:
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    with suppress(AsrError):
        read_corpus(format, path)


def test_line_breaks_survive_in_csv_and_are_refused_in_tsv(audio, tmp_path):
    utterance = Utterance("u", audio[0], 1.0, 'two\nlines, "quoted"\tand\r\na tab')
    write_corpus("csv", tmp_path / "t.csv", [utterance])
    assert read_corpus("csv", tmp_path / "t.csv") == [utterance]
    with pytest.raises(CorpusError, match="no tab and no line break for TSV"):
        write_corpus("tsv", tmp_path / "t.tsv", [utterance])
    assert not (tmp_path / "t.tsv").exists()


@needs_real_speech
@pytest.mark.parametrize("format", ["kaldi", "espnet", "nemo", "csv", "tsv"])
def test_real_manifests_in_many_languages_come_back(tmp_path, format):
    utterances = read_manifest(real_data() / "multilingual-samples.jsonl")
    write_corpus(format, tmp_path / TARGETS[format], utterances)
    back = read_corpus(format, tmp_path / TARGETS[format])
    assert sorted(back, key=lambda u: u.id) == sorted(utterances, key=lambda u: u.id)
