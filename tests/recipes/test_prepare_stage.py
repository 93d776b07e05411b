"""When `asr prepare` has nothing to do, and what it says when it had."""

import pytest
from corpus_imitation import speak

from asr.cli.compose import compose_recipe
from asr.cli.prepare import prepare_stage
from asr.errors import CorpusError


@pytest.fixture
def corpus(tmp_path):
    """Common Voice with one clip a split."""
    language = tmp_path / "disk" / "cv-corpus-17.0-2024-03-15" / "hi"
    for number, split in enumerate(("train", "dev", "test")):
        speak(language / "clips" / f"{split}.wav", "a bad cab")
        row = f"client{number}\t{split}.wav\tमैं घर, जा।\thi\n"
        (language / f"{split}.tsv").write_text(f"client_id\tpath\tsentence\tlocale\n{row}", encoding="utf-8")
    return tmp_path / "disk"


def test_prepared_again_only_when_something_changed(corpus, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("ASR_DATA", raising=False)
    directory = tmp_path / "data" / "hi"

    def prepared(*options):
        overrides = ["data.options.language=hi", f"data.dir={directory}"]
        return prepare_stage(compose_recipe("commonvoice", [*overrides, *(f"+data.options.{o}" for o in options)]))

    assert prepared(f"corpus_dir={corpus}")
    assert "  train.jsonl: 1 utterances, 0.00 hours\n" in capsys.readouterr().out
    assert "मैं घर जा" in (directory / "train.jsonl").read_text(encoding="utf-8")
    assert not prepared(f"corpus_dir={corpus}")
    assert not prepared(), "where it lies need not be said twice"
    assert prepared(f"corpus_dir={corpus}", "keep_punctuation=true")
    assert "मैं घर, जा।" in (directory / "train.jsonl").read_text(encoding="utf-8")
    assert prepared(f"corpus_dir={corpus / 'cv-corpus-17.0-2024-03-15'}")  # another place, and no punctuation
    with pytest.raises(CorpusError, match="no folder: neither"):  # other options, and nobody says where
        prepared("keep_punctuation=true")
    (directory / "test.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(CorpusError, match="no folder: neither"):
        prepared()
