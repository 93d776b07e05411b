"""Tables and directories as other tools, spreadsheets and machines write them."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from exchange_files import RATE, write_files

from asr.data.exchange import Columns, Faults, read_corpus
from asr.errors import CorpusError
from asr.types import Utterance


def read(folder, content, audio, format="csv", **options):
    """One row's utterance; the table lies beside the recording one.wav."""
    path = folder / f"t.{format}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (utterance,) = read_corpus(format, path, audio_root=Path(audio[0]).parent, **options)
    return utterance


SPEECHBRAIN = (
    "ID, duration, wav, wav_format, wav_opts, spk_id, spk_id_format, spk_id_opts, {0}, {0}_format, {0}_opts\n"
    "a, 1.0, one.wav, wav, , george, string, , zero, string, \n"
)


@pytest.mark.parametrize("column", ["char", "wrd", "transcript", "Sentence", "words"])
def test_speechbrains_blank_behind_each_comma(audio, tmp_path, column):
    assert read(tmp_path, SPEECHBRAIN.format(column), audio) == Utterance("a", audio[0], 1.0, "zero", speaker="george")


def test_characters_are_the_text_only_where_there_are_no_words(audio, tmp_path):
    assert read(tmp_path, "ID,wav,char,wrd\na,one.wav,z e,ze\n", audio).text == "ze"


DIALECTS = {
    "semicolons, decimal commas": 'id;audio;text;duration\na;one.wav;"ja; nein";0,75\n',
    "semicolons, decimal points": "id;audio;text;duration\na;one.wav;ja, nein;0.75\n",
    "Excel's first line": "sep=;\r\nid;audio;text;duration\r\na;one.wav;ja, nein;0,75\r\n",
    "tabs in csv": "id\taudio\ttext\tduration\na\tone.wav\tja, nein\t0.75\n",
    "bars": 'id|audio|text|duration\na|one.wav|ja, "nein|0.75\n',
    "byte-order mark": '\ufeffid,audio,text,duration\na,one.wav,"ja, nein",0.75\n',
    "CRLF and blank lines": '\r\nid,audio,text,duration\r\n\r\na,one.wav,"ja, nein",0.75\r\n\r\n',
    "old ends of lines": 'id,audio,text,duration\ra,one.wav,"ja, nein",0.75\r',
    "no-break spaces": 'id,audio\u00a0,text,duration\na,one.wav\u00a0,"ja, nein",\u00a00.75\n',
    "everything quoted": '"id","audio","text","duration"\n"a", "one.wav", "ja, nein", "0.75"\n',
    "pandas' index": ',id,audio,text,duration\n0,a,one.wav,"ja, nein",0.75\n',
    "a comma at the end": 'id,audio,text,duration,\na,one.wav,"ja, nein",0.75,\n',
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialects(audio, tmp_path, dialect):
    utterance = read(tmp_path, DIALECTS[dialect], audio)
    assert (utterance.id, utterance.audio_filepath, utterance.duration) == ("a", audio[0], 0.75)
    assert utterance.text in ("ja, nein", "ja; nein", 'ja, "nein')
    assert utterance.extra == {}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("format", ["csv", "tsv", "kaldi"])
def test_utf_16_is_named(audio, tmp_path, format, encoding):
    data = f"audio{chr(9) if format == 'tsv' else ','}text\n".encode(encoding)
    if format == "kaldi":
        folder = write_files(tmp_path / "d", wav__scp=f"a {audio[0]}\n")
        (folder / "text").write_bytes(data)
        source = folder
    else:
        source = tmp_path / "t"
        source.write_bytes(data)
    name = "UTF-32" if encoding == "utf-32" else "UTF-16"
    with pytest.raises(CorpusError, match=rf":1: expected .*UTF-8, got .*{name}.*convert the file"):
        read_corpus(format, source)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"PK\x03\x04\x14\0", "ZIP archive, as Excel's .xlsx"),
        (b"\xd0\xcf\x11\xe0\xa1", "Office document"),
        (b"\x1f\x8b\x08\0", "gzip archive; unpack it"),
        (b"PAR1\x15\x04", "Parquet file; write the table as CSV"),
    ],
)
def test_what_is_no_text_is_named(tmp_path, data, name):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(CorpusError, match=rf"t\.csv:1: expected text in UTF-8, got an? {name}"):
        read_corpus("csv", tmp_path / "t.csv")


def test_paths_of_other_machines(audio, tmp_path):
    for path in ("zwölf töne\\two.wav", "$data_root/zwölf töne/two.wav", "{data_root}/zwölf töne/two.wav"):
        assert read(tmp_path, f"wav,text\n{path},x\n", audio).audio_filepath == audio[1]
    assert read(tmp_path, f"wav,text\n{Path(audio[0]).as_uri()},x\n", audio).audio_filepath == audio[0]


def test_absolute_paths_of_windows_are_called_so(tmp_path):
    (tmp_path / "t.csv").write_text("wav,text\nC:\\Users\\ann\\one.wav,x\n")
    with pytest.raises(CorpusError, match=r"t\.csv:2: no such audio file: C:\\Users\\ann\\one\.wav, a path of Windows"):
        read_corpus("csv", tmp_path / "t.csv")


def test_a_csv_called_tsv_says_so(tmp_path):
    (tmp_path / "t.tsv").write_text("wav,text\na.wav,x\n")
    with pytest.raises(CorpusError, match=r":1: expected a header with tabs .*got 'wav,text'; is it csv"):
        read_corpus("tsv", tmp_path / "t.tsv")


# --- tables without a header


@pytest.mark.parametrize("line", ["a,one.wav,ja,3", "a;one.wav;ja;3", "a|one.wav|ja|3", "a\tone.wav\tja\t3"])
def test_columns_of_a_table_without_a_header(audio, tmp_path, line):
    columns = Columns(names=("id", "audio", "text", "take"))
    assert read(tmp_path, f"{line}\n", audio, columns=columns) == Utterance(
        "a", audio[0], 1.0, "ja", extra={"take": "3"}
    )
    columns = Columns(names=("id", "wav", "sentence", "-"))
    assert read(tmp_path, f"{line}\n", audio, columns=columns).extra == {}


@pytest.mark.parametrize(
    ("content", "names", "message"),
    [
        ("a,one.wav,ja\n", ("wav", "text"), r"--columns names 2 columns \(wav, text\), the first row has 3"),
        ("audio,text\none.wav,ja\n", ("audio", "text"), "--columns is for tables without a header"),
        ("a,one.wav\n", ("id", "audio"), "--columns: expected a column for text"),
        ("a,b\n", ("text", "text"), "--columns: expected a name of its own"),
    ],
)
def test_columns_that_do_not_fit(audio, tmp_path, content, names, message):
    with pytest.raises(CorpusError, match=message):
        read(tmp_path, content, audio, columns=Columns(names=names))


# --- what no manifest can hold


def test_a_recording_without_samples_is_named_and_never_has_duration_0(audio, tmp_path):
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE)
    (tmp_path / "t.csv").write_text(f"ID,wav,wrd\na,{audio[0]},x\nb,none.wav,y\n")
    with pytest.raises(CorpusError, match=r"t\.csv:3: .*none\.wav: the recording has no samples"):
        read_corpus("csv", tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text(f"ID,wav,wrd,duration\na,{audio[0]},x,0\n")
    with pytest.raises(CorpusError, match=r"t\.csv:2: expected a duration above 0 s, got 0"):
        read_corpus("csv", tmp_path / "t.csv")


def test_bad_rows_are_left_out_and_all_listed(audio, tmp_path):
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE)
    (tmp_path / "text.wav").write_text("no audio")
    rows = [
        "id,wav,wrd,duration",
        f"good,{audio[0]},x,",
        "gone,gone.wav,x,",
        "text,text.wav,x,",
        "none,none.wav,x,",
        f"good,{audio[1]},x,",
        f"ragged,{audio[1]}",
        f"long,{audio[1]},x,long",
        f'"q"uoted,{audio[1]},x,',
        f"fine,{audio[1]},x,",
        'open,"x',
    ]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    faults = Faults(skip=True)
    assert [u.id for u in read_corpus("csv", tmp_path / "t.csv", faults=faults)] == ["good", "fine"]
    places = {left_out.place.rpartition(":")[2]: left_out.code for left_out in faults.left_out}
    assert places == {
        "3": "missing-audio",
        "4": "unreadable-audio",
        "5": "no-samples",
        "6": "duplicate-id",
        "7": "malformed",
        "8": "malformed",
        "9": "malformed",
        "11": "malformed",
    }
    assert faults.counts.total() == 8


def test_bad_entries_of_a_kaldi_directory_are_left_out(audio, tmp_path):
    folder = write_files(
        tmp_path / "d",
        wav__scp=f"a {audio[0]}\nb sph2pipe x |\nc {audio[1]}\na {audio[2]}\nd {audio[2]}\n",
        text="a x\nb y\nd z  \nd zz\ne e\n",
        utt2spk="a s\n",
        utt2dur="d long\n",
    )
    faults = Faults(skip=True)
    assert [(u.id, u.speaker) for u in read_corpus("kaldi", folder, faults=faults)] == [("a", "s")]
    assert sorted((left_out.id, left_out.code) for left_out in faults.left_out) == [
        ("a", "duplicate-id"),
        ("b", "unreadable-audio"),
        ("c", "no-text"),
        ("d", "duplicate-id"),
        ("d", "malformed"),
        ("e", "no-audio"),
    ]


def test_nothing_left_is_an_error(tmp_path):
    (tmp_path / "t.csv").write_text("wav,wrd\nno.wav,x\n")
    with pytest.raises(CorpusError, match=r"expected utterances, all 1 were left out, the first: .*:2: no such audio"):
        read_corpus("csv", tmp_path / "t.csv", faults=Faults(skip=True))
