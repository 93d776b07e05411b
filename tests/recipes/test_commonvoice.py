"""Common Voice in miniature: MP3 clips, tables whose columns change with the release, quotation marks, lost clips."""

import hashlib
import sys

import numpy as np
import pytest
import soundfile
from corpus_imitation import pack, run_recipe, serving
from hypothesis import given
from hypothesis import strategies as st

from asr.data.manifest import read_manifest
from asr.errors import ConfigError, CorpusError
from asr.recipe import load_recipe
from asr.text.normalize import normalize

prepare = load_recipe("commonvoice").prepare
module = sys.modules[prepare.__module__]
spoken = sys.modules["asr_recipe_commonvoice.sentences"].spoken

COLUMNS = {
    "3": "client_id path sentence up_votes down_votes age gender accent",
    "6.1": "client_id path sentence up_votes down_votes age gender accent locale segment",
    "13.0": "client_id path sentence up_votes down_votes age gender accents variant locale segment",
    "17.0": "client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents variant "
    "locale segment",
}
# split -> client, number of the clip, sentence
ROWS = {
    "train": [
        ("anna", 1, "Der Bär, „groß“ und alt’s."),
        ("anna", 2, 'Er sagte: "So'),  # a single quotation mark
        ("bert", 3, '"Sie rief ""Halt""!"'),  # a cell that was quoted for CSV
    ],
    "dev": [("cleo", 4, "Alte’n Bär")],
    "test": [("dora", 5, "Ein Bär – groß?"), ("emil", 6, "Alt!")],
}


def clip_name(number):
    return f"common_voice_de_{number}.mp3"


def write_release(folder, version="17.0", rows=ROWS, durations=True, suffix=".mp3"):
    """A language's folder below `folder`, named as in that release."""
    language = folder / ("cv-corpus-3_de" if version == "3" else f"cv-corpus-{version}-2024-03-15/de")
    (language / "clips").mkdir(parents=True)
    columns = COLUMNS[version].split()
    seconds = {}
    for split, utterances in rows.items():
        lines = ["\t".join(columns)]
        for client, number, sentence in utterances:
            seconds[clip_name(number)] = 1.0 + 0.1 * number
            tone = 0.1 * np.sin(np.arange(int(32000 * seconds[clip_name(number)])) / 9)
            soundfile.write(language / "clips" / clip_name(number), tone, 32000, format="MP3")
            row = {"client_id": client, "path": f"common_voice_de_{number}{suffix}", "sentence": sentence}
            row |= {"age": "twenties", "accents": "Wien", "accent": "Wien", "locale": "de", "up_votes": "2"}
            lines.append("\t".join(row.get(column, "") for column in columns))
        (language / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if durations:
        lines = [f"{name}\t{round(1000 * value)}" for name, value in seconds.items()]
        (language / "clip_durations.tsv").write_text("\n".join(["clip\tduration[ms]", *lines]) + "\n")
    return language


def splits(folder):
    return {split: read_manifest(folder / f"{split}.jsonl") for split in ("train", "dev", "test")}


def test_from_disk_to_a_score(tmp_path):
    write_release(tmp_path / "disk")
    overrides = ["data.options.language=de", f"+data.options.corpus_dir={tmp_path / 'disk'}"]
    overrides += ["model.frontend.channels=[2,2]"]
    scores = run_recipe("commonvoice", overrides, tmp_path)
    assert scores["test"]["reference_words"] == 4
    made = splits(tmp_path / "prepared")
    assert {split: [u.text for u in utterances] for split, utterances in made.items()} == {
        "train": ["Der Bär groß und alt's", "Er sagte So", "Sie rief Halt"],
        "dev": ["Alte'n Bär"],
        "test": ["Ein Bär groß", "Alt"],
    }
    first = made["train"][0]
    assert (first.id, first.speaker, first.lang, first.duration) == ("common_voice_de_1", "anna", "de", 1.1)
    assert dict(first.extra) == {"age": "twenties", "accents": "Wien"}
    # the alphabet comes from the training data
    vocab = (tmp_path / "run" / "model" / "tokenizer.json").read_text(encoding="utf-8")
    assert "ä" in vocab
    assert "ß" in vocab


@pytest.mark.parametrize("version", COLUMNS)
def test_every_release_is_read(tmp_path, version):
    write_release(tmp_path / "disk", version, durations=False, suffix="" if version == "3" else ".mp3")
    prepare("commonvoice", {"language": "de", "corpus_dir": str(tmp_path / "disk")}, tmp_path / "out", None)
    first = splits(tmp_path / "out")["train"][0]
    assert (first.id, first.lang) == ("common_voice_de_1", "de")
    assert first.duration == pytest.approx(1.1, abs=0.1)  # measured; MP3 comes in frames of 36 ms, padded
    assert dict(first.extra) == {"age": "twenties", "accents": "Wien"}


def test_the_newest_release_unless_another_is_asked_for(tmp_path):
    for version in ("6.1", "17.0", "3", "13.0"):
        write_release(tmp_path / "asr_data", version)
    (tmp_path / "asr_data" / "cv-corpus-18.0-delta-2024-06-14").mkdir()
    for options, folder in [
        ({}, "cv-corpus-17.0-2024-03-15/de"),
        ({"version": "6.1"}, "cv-corpus-6.1-2024-03-15/de"),
        ({"version": "3"}, "cv-corpus-3_de"),
    ]:
        prepare("commonvoice", {"language": "de", **options}, tmp_path / "out", tmp_path / "asr_data")
        assert f"/{folder}/clips/" in splits(tmp_path / "out")["dev"][0].audio_filepath
    with pytest.raises(CorpusError, match=r"expected Common Voice 1, language 'de'"):
        prepare("commonvoice", {"language": "de", "version": "1"}, tmp_path / "out", tmp_path / "asr_data")


def test_the_languages_own_folder(tmp_path):
    language = write_release(tmp_path / "disk")
    for folder in (language, language.parent):
        prepare("commonvoice", {"language": "de", "corpus_dir": str(folder)}, tmp_path / "out", None)
        assert len(splits(tmp_path / "out")["train"]) == 3
    with pytest.raises(CorpusError, match=r"expected data\.options\.language, 'en', in every line, got 'de'"):
        prepare("commonvoice", {"corpus_dir": str(language)}, tmp_path / "out", None)


def test_an_archive_at_an_address(tmp_path):
    language = write_release(tmp_path / "disk")
    archive = pack(tmp_path / "web" / "cv-de.tar.gz", tmp_path / "disk", language.parent.name)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    with serving(tmp_path / "web") as url:
        options = {"language": "de", "url": f"{url}/cv-de.tar.gz?signed=yes", "sha256": digest}
        prepare("commonvoice", options, tmp_path / "data" / "de", None)
    assert len(splits(tmp_path / "data" / "de")["test"]) == 2


def test_punctuation_can_stay(tmp_path):
    write_release(tmp_path / "disk")
    options = {"language": "de", "corpus_dir": str(tmp_path / "disk"), "keep_punctuation": True}
    prepare("commonvoice", options, tmp_path / "out", None)
    assert [u.text for u in splits(tmp_path / "out")["train"]] == [
        "Der Bär, „groß“ und alt's.",
        'Er sagte: "So',
        'Sie rief "Halt"!',
    ]


def test_missing_clips_are_named_or_left_out(tmp_path, capsys):
    language = write_release(tmp_path / "disk")
    (language / "clips" / clip_name(2)).unlink()
    options = {"language": "de", "corpus_dir": str(tmp_path / "disk")}
    with pytest.raises(
        CorpusError, match=r"train\.tsv:3: clips that are not in .*common_voice_de_2\.mp3; .*skip_missing"
    ):
        prepare("commonvoice", options, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()
    prepare("commonvoice", options | {"skip_missing_clips": True}, tmp_path / "out", None)
    assert len(splits(tmp_path / "out")["train"]) == 2
    assert "left out: " in capsys.readouterr().err


def test_nobody_is_in_two_splits(tmp_path, capsys):
    rows = ROWS | {"dev": [*ROWS["dev"], ("dora", 7, "Dora")], "train": [*ROWS["train"], ("cleo", 8, "Cleo")]}
    write_release(tmp_path / "disk", rows=rows)
    prepare("commonvoice", {"language": "de", "corpus_dir": str(tmp_path / "disk")}, tmp_path / "out", None)
    made = splits(tmp_path / "out")
    assert [u.speaker for u in made["dev"]] == ["cleo"]
    assert [u.speaker for u in made["train"]] == ["anna", "anna", "bert"]
    errors = capsys.readouterr().err
    assert "left out of dev: 1 clips of speakers who are in test" in errors
    assert "left out of train: 1 clips of speakers who are in dev" in errors


def test_training_on_all_that_is_validated(tmp_path):
    extra = [
        ("anna", 9, "Neu"),
        ("emil", 10, "Von Emil"),  # is in test
        ("fritz", 11, "Alt!"),  # a sentence of test
    ]
    everything = [row for rows in ROWS.values() for row in rows]
    write_release(tmp_path / "disk", rows=ROWS | {"validated": [*everything, *extra]})
    options = {"language": "de", "corpus_dir": str(tmp_path / "disk"), "validated": True}
    prepare("commonvoice", options, tmp_path / "out", None)
    assert [u.text for u in splits(tmp_path / "out")["train"]][3:] == ["Neu"]


def spoil(name, old, new):
    def change(language):
        path = language / name
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")

    return change


BROKEN = {
    "column": (spoil("train.tsv", "client_id", "client"), r"train\.tsv:1: .*none called client_id"),
    "language": (
        spoil("test.tsv", "\tde\t", "\tnl\t"),
        r"test\.tsv:2: expected data\.options\.language, 'de', .*got 'nl'",
    ),
    "tab": (spoil("dev.tsv", "Alte’n ", "Alte\t"), r"dev\.tsv:2: expected 13 cells as in the header, got 14"),
    "duration": (spoil("clip_durations.tsv", "1100", "long"), r"clip_durations\.tsv:2: expected milliseconds"),
    "no split": (lambda language: (language / "dev.tsv").unlink(), r"cannot read .*dev\.tsv"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_release_is_named_and_leaves_nothing(tmp_path, case):
    change, message = BROKEN[case]
    change(write_release(tmp_path / "disk"))
    with pytest.raises(CorpusError, match=message):
        prepare("commonvoice", {"language": "de", "corpus_dir": str(tmp_path / "disk")}, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


def test_where_to_get_it(tmp_path):
    write_release(tmp_path / "disk")
    with pytest.raises(CorpusError, match=r"language 'nl', in .*found de\. To get it, accept the terms at https"):
        prepare("commonvoice", {"language": "nl", "corpus_dir": str(tmp_path / "disk")}, tmp_path / "out", None)
    with pytest.raises(CorpusError, match="no folder: neither"):
        prepare("commonvoice", {"language": "nl"}, tmp_path / "out", None)


def test_names_and_options(tmp_path):
    assert module.BENCHMARK_OPTION == "language"
    with pytest.raises(ConfigError, match="got 'cv'"):
        prepare("cv", {}, tmp_path, None)
    with pytest.raises(ConfigError, match="unknown option 'lower'"):
        prepare("commonvoice", {"lower": True}, tmp_path, None)
    with pytest.raises(ConfigError, match="expected a language such as de"):
        prepare("commonvoice", {"language": "../de"}, tmp_path, None)


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("L’été, c'est «fini»!", "L'été c'est fini"),
        ("Col·legi d’ací", "Col·legi d'ací"),  # Catalan
        ("你好，世界。", "你好 世界"),
        ("क्या हाल है?", "क्या हाल है"),  # Hindi: vowel signs are marks, not punctuation
        ("ինչպե՞ս ես", "ինչպես ես"),  # Armenian: the question mark stands inside the word
        ("'quoted' and don't", "quoted and don't"),
        ("well-known — and/or…", "well known and or"),
        ('"„L’été“, dit-il – ""voilà""!"', "L'été dit il voilà"),
        ("Ja", "Ja"),
        ("…", ""),
    ],
)
def test_spoken(sentence, expected):
    assert spoken(sentence, keep_punctuation=False) == expected


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_spoken_twice_is_spoken_once(sentence):
    once = spoken(sentence, keep_punctuation=False)
    assert spoken(once, keep_punctuation=False) == once
    assert once == normalize(once, "keep")
