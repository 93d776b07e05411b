"""Changing a model directory as a whole, and the files that its decoder names."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from asr import model_directory
from asr.builders import build_recognizer, load_model, model_files, read_decoding
from asr.config import Config, DecodingConfig, FeaturesConfig, ModelConfig
from asr.decoder_builder import build_decoder, check_decoding
from asr.decoding.beam import BeamDecoder
from asr.errors import ConfigError, ModelError, OutputError, TextError
from asr.model_directory import (
    NOTES,
    read_config,
    replace_card,
    update_config,
    update_model,
    write_checksums,
    write_model,
)
from asr.text.tokenizer import CharTokenizer
from asr.text.word_list import read_word_list

TOKENIZER = CharTokenizer.train(["ab c"])
ARPA = """\\data\\
ngram 1=5

\\1-grams:
-2\t<unk>
-99\t<s>
-0.5\t</s>
-0.5\tab
-0.5\tc

\\end\\
"""


def config(decoding: DecodingConfig | None = None) -> Config:
    data = replace(Config().data, train=["train.jsonl"], dev=["dev.jsonl"])
    features, model = FeaturesConfig(num_mels=10), ModelConfig(hidden_size=4, num_layers=1)
    made = replace(Config(), run_dir="run", data=data, features=features, model=model)
    return replace(made, decoding=decoding or DecodingConfig())


def write(directory, decoding: DecodingConfig | None = None):
    torch.manual_seed(1)
    made = config(decoding)
    recognizer = build_recognizer(
        made.features, made.model, made.decoding, sample_rate=16000, case="lower", tokenizer=TOKENIZER
    )
    write_model(directory, model_files(made, recognizer), "# card\n")
    return directory


@pytest.fixture
def model_dir(tmp_path):
    return write(tmp_path / "model")


@pytest.fixture
def arpa(tmp_path):
    path = tmp_path / "words.arpa"
    path.write_text(ARPA)
    return path


def decoding_of(directory) -> dict:
    return json.loads((directory / "config.json").read_text())["decoding"]


# ---- changes ----------------------------------------------------------------------------------------------------


def test_config_changes_keep_all_else(model_dir):
    weights = (model_dir / "model.safetensors").read_bytes()
    before = json.loads((model_dir / "config.json").read_text())
    update_config(model_dir, {"decoding.confidence_temperature": 1.7})
    after = json.loads((model_dir / "config.json").read_text())
    assert after["decoding"].pop("confidence_temperature") == 1.7
    assert before["decoding"].pop("confidence_temperature") == 1.0
    assert after == before
    assert (model_dir / "model.safetensors").read_bytes() == weights
    assert load_model(model_dir).decoder.confidence_temperature == 1.7
    assert (model_dir / "README.md").read_text() == "# card\n"
    assert [path.name for path in model_dir.parent.iterdir()] == ["model"]


def test_files_are_added_verified_replaced_and_removed(model_dir, arpa):
    changes = {"decoding.name": "beam", "decoding.language_model": "lm.arpa", "decoding.lm_weight": 0.5}
    update_model(model_dir, config_changes=changes, files={"lm.arpa": arpa}, note="With words.")
    assert "lm.arpa" in (model_dir / "SHA256SUMS").read_text()
    assert read_decoding(model_dir).language_model == str(model_dir / "lm.arpa")
    assert isinstance(load_model(model_dir).decoder, BeamDecoder)
    (model_dir / "lm.arpa").write_text(ARPA.replace("-2", "-3"))
    with pytest.raises(ModelError, match=r"lm\.arpa is damaged"):
        load_model(model_dir)
    write_checksums(model_dir)
    update_model(
        model_dir,
        config_changes={"decoding.language_model": "other.lm"},
        files={"other.lm": arpa},
        remove=["lm.arpa"],
        note="And again.",
    )
    assert not (model_dir / "lm.arpa").exists()
    load_model(model_dir)
    assert (model_dir / "README.md").read_text() == f"# card\n\n{NOTES}\n\nWith words.\n\nAnd again.\n"


def test_a_new_card_keeps_the_notes(model_dir):
    replace_card(model_dir, "# new\n")
    assert (model_dir / "README.md").read_text() == "# new\n"
    update_model(model_dir, config_changes={}, note="Tuned.")
    replace_card(model_dir, "# newer\n")
    assert (model_dir / "README.md").read_text() == f"# newer\n\n{NOTES}\n\nTuned.\n"


def test_what_else_lies_there_stays(model_dir, arpa):
    (model_dir / "deep").mkdir()
    (model_dir / "deep" / "config.json").write_text("{}")
    (model_dir / "mine.txt").write_text("notes")
    update_model(model_dir, config_changes={}, files={"folder": model_dir / "deep"})
    assert (model_dir / "deep" / "config.json").read_text() == "{}"
    assert (model_dir / "folder" / "config.json").read_text() == "{}"
    assert (model_dir / "mine.txt").read_text() == "notes"


def test_without_hard_links_files_are_copied(model_dir, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    update_config(model_dir, {"decoding.confidence_temperature": 2.0})
    load_model(model_dir)


def test_a_change_that_fails_changes_nothing(model_dir, arpa, monkeypatch):
    before = {path.name: path.read_bytes() for path in model_dir.iterdir()}

    def fail(*_):
        raise RuntimeError("no room")

    monkeypatch.setattr(model_directory, "write_checksums", fail)
    with pytest.raises(RuntimeError):
        update_model(model_dir, config_changes={"decoding.name": "beam"}, files={"lm.lm": arpa}, note="Tuned.")
    assert {path.name: path.read_bytes() for path in model_dir.iterdir()} == before
    assert sorted(path.name for path in model_dir.parent.iterdir()) == ["model", "words.arpa"]


def test_a_link_to_a_model_stays_a_link(model_dir, tmp_path):
    link = tmp_path / "current"
    link.symlink_to(model_dir)
    update_config(link, {"decoding.beam_width": 7})
    assert link.is_symlink()
    assert read_config(model_dir)["decoding"]["beam_width"] == 7


@pytest.mark.parametrize("prefix", ["model", ".model."])
def test_a_model_that_cannot_be_moved_stays_and_is_an_error_of_ours(model_dir, monkeypatch, prefix):
    """Such as a mount point; and when the new one cannot take the free place, the old one takes it again."""
    before = {path.name: path.read_bytes() for path in model_dir.iterdir()}
    rename = Path.rename

    def fail(path, target):
        if prefix in (path.name, path.parent.name[: len(prefix)]):
            raise OSError(16, "Device or resource busy")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError, match=f"{model_dir} cannot be written: .*Device or resource busy"):
        update_config(model_dir, {"decoding.beam_width": 7})
    assert {path.name: path.read_bytes() for path in model_dir.iterdir()} == before
    assert [path.name for path in model_dir.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"config_changes": {"decoding.beam": 3}}, "'decoding.beam'"),
        ({"config_changes": {"nothing.at.all": 3}}, "'nothing.at.all'"),
        ({"config_changes": {"case.lower": 3}}, "'case.lower'"),
        ({"config_changes": {}, "files": {"../lm.lm": None}}, "free file name"),
        ({"config_changes": {}, "files": {"config.json": None}}, "free file name"),
    ],
)
def test_impossible_changes(model_dir, arguments, message):
    with pytest.raises(ModelError, match=message):
        update_model(model_dir, **arguments)
    load_model(model_dir)


def test_damaged_models_and_other_formats_are_not_changed(model_dir):
    (model_dir / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="damaged"):
        update_config(model_dir, {})
    old = json.loads((model_dir / "config.json").read_text()) | {"format": 1}
    (model_dir / "config.json").write_text(json.dumps(old))
    write_checksums(model_dir)
    with pytest.raises(ModelError, match="expected format 2, got 1: another version"):
        update_config(model_dir, {})


# ---- the files that a decoder names ------------------------------------------------------------------------------


def test_a_runs_files_go_into_its_model(tmp_path, arpa):
    (tmp_path / "words.txt").write_text("ab a b\nc c\n\n")
    decoding = DecodingConfig(
        name="beam", language_model=str(arpa), lm_weight=0.7, lexicon=str(tmp_path / "words.txt"), hotwords=["c"]
    )
    model_dir = write(tmp_path / "model", decoding)
    arpa.unlink()
    assert (decoding_of(model_dir)["language_model"], decoding_of(model_dir)["lexicon"]) == ("lm.arpa", "lexicon.txt")
    described = load_model(model_dir).decoder.describe()
    assert (described["lm_weight"], described["lexicon"], described["hotwords"]) == (0.7, True, 1)


@pytest.mark.parametrize("name", ["../words.arpa", "/etc/passwd", "C:\\lm", "unlisted", "model.safetensors", "..", "."])
@pytest.mark.parametrize("option", ["language_model", "lexicon", "rescoring_model"])
def test_a_model_reads_nothing_outside_itself(model_dir, arpa, option, name):
    values = json.loads((model_dir / "config.json").read_text())
    weights = {"language_model": {"lm_weight": 1.0}, "rescoring_model": {"rescoring_weight": 1.0}}
    values["decoding"].update({"name": "beam", option: name, **weights.get(option, {})})
    (model_dir / "config.json").write_text(json.dumps(values))
    write_checksums(model_dir)
    (model_dir / "unlisted").write_text(ARPA)
    with pytest.raises(ModelError, match=rf"decoding\.{option}: expected the name of a file"):
        load_model(model_dir)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "beem"}, "expected greedy or beam, got 'beem'"),
        ({"nbest": 3}, "decoding.nbest: expected 1 beside name=greedy"),
        ({"hotwords": ["a"]}, r"decoding.hotwords: .*, where it does nothing, got \['a'\]"),
        ({"language_model": "x"}, "decoding.language_model: .* does nothing, got x"),
        ({"name": "beam", "lm_weight": 0.5}, "decoding.lm_weight: .* got 0.5 with none"),
        ({"name": "beam", "language_model": "x"}, "decoding.lm_weight: .* got 0 with x"),
        ({"name": "beam", "rescoring_weight": 0.5}, "decoding.rescoring_weight"),
    ],
)
def test_options_that_would_do_nothing(changes, message):
    with pytest.raises(ConfigError, match=message):
        check_decoding(DecodingConfig(**changes))


@pytest.mark.parametrize("changes", [{"beam_width": 0}, {"nbest": 1000}, {"blank_skip": 0.0}, {"token_floor": 1.0}])
def test_numbers_out_of_range(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        build_decoder(DecodingConfig(name="beam", **changes), TOKENIZER, 0.03)


def test_word_lists(tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeffab A B\n\n  c\tC\nü\n".encode())
    assert read_word_list(path) == ["ab", "c", "ü"]
    path.write_bytes(b"ab\n\xff\n")
    with pytest.raises(TextError, match=r"words\.txt:2: .*UTF-8"):
        read_word_list(path)
    path.write_text("\n \n")
    with pytest.raises(TextError, match="found none"):
        read_word_list(path)
    with pytest.raises(TextError, match="cannot read"):
        read_word_list(tmp_path / "nothing")
