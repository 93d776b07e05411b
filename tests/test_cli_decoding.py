"""The decoding options of the command line, and `asr tune` from log-probabilities to a model that decodes so."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import typer
from helpers import sung_corpus
from typer.testing import CliRunner

from asr.builders import build_recognizer, load_model, model_files, read_decoding
from asr.cli.decoding_options import DEFAULT_LM_WEIGHT, DEFAULT_WORD_BONUS, DecodingOptions, read_hotwords
from asr.cli.evaluate import evaluate
from asr.cli.transcribe import transcribe
from asr.cli.tune import tune
from asr.config import Config, DecodingConfig, FeaturesConfig, ModelConfig
from asr.emissions import emission_table, load_emissions, save_emissions
from asr.errors import AsrError, ConfigError, OutputError, ScoringError, TextError
from asr.model_directory import write_model
from asr.text.tokenizer import CharTokenizer
from asr.types import Utterance

SAMPLE_RATE = 8000
TOKENIZER = CharTokenizer.train(["abcd "])
TUNED = DecodingConfig(name="beam", language_model="/m/lm.lm", lm_weight=0.8, word_bonus=1.5, beam_width=16)
GREEDY = DecodingConfig(confidence_temperature=1.3)
app = typer.Typer()
for command in (tune, evaluate, transcribe):
    app.command()(command)


def arpa(path, word: str, other: str):
    """A unigram model that knows two words, the first a thousand times as likely as the second."""
    path.write_text(
        f"\\data\\\nngram 1=5\n\n\\1-grams:\n-5\t<unk>\n-99\t<s>\n-0.4\t</s>\n-0.3\t{word}\n-3.3\t{other}\n\n\\end\\\n"
    )
    return path


# ---- options ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "own", "expected"),
    [
        ({}, GREEDY, GREEDY),
        ({}, TUNED, TUNED),
        ({"decoder": "greedy"}, replace(TUNED, confidence_temperature=1.3), GREEDY),
        ({"decoder": "beam"}, GREEDY, replace(GREEDY, name="beam")),
        ({"no_lm": True}, GREEDY, GREEDY),
        ({"no_lm": True}, TUNED, replace(TUNED, language_model="", lm_weight=0.0, word_bonus=0.0)),
        ({"no_lm": True, "word_bonus": 0.3}, TUNED, replace(TUNED, language_model="", lm_weight=0.0, word_bonus=0.3)),
        ({"lm": "x.arpa"}, TUNED, replace(TUNED, language_model="x.arpa")),
        ({"lm_weight": 2.0, "nbest": 4}, TUNED, replace(TUNED, lm_weight=2.0, nbest=4)),
        ({"unknown_penalty": -5.0}, TUNED, replace(TUNED, unknown_penalty=-5.0)),
        (
            {"lm": "x.arpa"},
            GREEDY,
            replace(
                GREEDY,
                name="beam",
                language_model="x.arpa",
                lm_weight=DEFAULT_LM_WEIGHT,
                word_bonus=DEFAULT_WORD_BONUS,
            ),
        ),
        (
            {"lm": "x.arpa", "lm_weight": 1.2},
            GREEDY,
            replace(GREEDY, name="beam", language_model="x.arpa", lm_weight=1.2),
        ),
        (
            {"lm": "x.arpa", "word_bonus": -1.0},
            GREEDY,
            replace(GREEDY, name="beam", language_model="x.arpa", lm_weight=DEFAULT_LM_WEIGHT, word_bonus=-1.0),
        ),
        (
            {"hotwords": "new  york, anna", "hotword_boost": 2.0},
            TUNED,
            replace(TUNED, hotwords=["new york", "anna"], hotword_boost=2.0),
        ),
    ],
)
def test_options_over_the_models_own(given, own, expected):
    assert DecodingOptions(**given).apply(own) == expected


@pytest.mark.parametrize(
    ("given", "own", "message"),
    [
        ({"decoder": "greedy", "lm": "x"}, GREEDY, "--lm does nothing with greedy decoding"),
        ({"decoder": "greedy", "nbest": 5}, TUNED, "--nbest does nothing with greedy decoding; add --decoder beam"),
        ({"nbest": 5}, GREEDY, "--nbest does nothing with greedy"),
        ({"beam_width": 5}, GREEDY, "--beam-width does nothing"),
        ({"lm": "x", "no_lm": True}, TUNED, "--lm and --no-lm contradict"),
        ({"lm_weight": 1.0, "no_lm": True}, TUNED, "--lm-weight and --no-lm contradict"),
        ({"decoder": "beam", "lm_weight": 1.0}, GREEDY, "--lm-weight does nothing with no language model; add --lm"),
        ({"lm_weight": 0.0}, TUNED, "--no-lm decodes without"),
        ({"decoder": "beam", "unknown_penalty": -5.0}, GREEDY, "--unknown-penalty does nothing with no language model"),
        ({"unknown_penalty": -5.0, "lexicon": "words.txt"}, TUNED, "--unknown-penalty does nothing with a lexicon"),
        ({"hotword_boost": 1.0}, TUNED, "--hotword-boost does nothing with no hotwords"),
        ({"hotwords": " , "}, TUNED, "expected at least one word"),
    ],
)
def test_contradictions_are_explained(given, own, message):
    with pytest.raises(ConfigError, match=message):
        DecodingOptions(**given).apply(own)


def test_hotwords_from_a_file(tmp_path):
    (tmp_path / "words.txt").write_text("\ufeffnew   york\n\nanna, too\nnew york\n", encoding="utf-8")
    assert read_hotwords(f"@{tmp_path / 'words.txt'}") == ["new york", "anna, too"]
    with pytest.raises(TextError, match="cannot read"):
        read_hotwords(f"@{tmp_path / 'nothing.txt'}")


@pytest.mark.parametrize("command", ["evaluate", "transcribe"])
def test_every_command_has_every_option(command):
    """The names are the interface: scripts depend on them."""
    known = {option for parameter in typer.main.get_command(app).commands[command].params for option in parameter.opts}
    assert {
        *("--decoder", "--beam-width", "--lm", "--no-lm", "--lm-weight", "--word-bonus", "--unknown-penalty"),
        *("--lexicon", "--hotwords", "--hotword-boost", "--nbest"),
    } <= known


# ---- commands -----------------------------------------------------------------------------------------------------


def run(*arguments) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "120"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def model_dir(tmp_path):
    config = Config(
        run_dir="x",
        data=replace(Config().data, train=[], dev=[], sample_rate=SAMPLE_RATE),
        features=FeaturesConfig(num_mels=10),
        model=ModelConfig(hidden_size=8, num_layers=1),
    )
    torch.manual_seed(3)
    recognizer = build_recognizer(
        config.features, config.model, config.decoding, sample_rate=SAMPLE_RATE, case="lower", tokenizer=TOKENIZER
    )
    with torch.no_grad():
        recognizer.model.output.weight.mul_(30)
    write_model(tmp_path / "model", model_files(config, recognizer), "# card\n")
    return tmp_path / "model"


@pytest.fixture
def emissions(tmp_path):
    """Four times `ab`, which sounds a little more like `ac`: greedy decoding has all of them wrong."""
    probs = np.full((3, TOKENIZER.vocab_size), 0.01)
    for frame, likely in enumerate([{"a": 0.95}, {"c": 0.5, "b": 0.45}, {" ": 0.01}]):
        for symbol, prob in likely.items():
            probs[frame, TOKENIZER.vocab.index(symbol)] = prob
    probs[2, 0] = 0.95
    probs /= probs.sum(axis=1, keepdims=True)
    rows = {f"u{n}": np.log(probs).astype(np.float16) for n in range(4)}
    utterances = [Utterance(id, "a.wav", 0.1, "ab") for id in rows]
    path = tmp_path / "cached-dev.npz"
    save_emissions(path, emission_table(rows, utterances, TOKENIZER, 0.03, "dev.jsonl"))
    return path


def test_tune_writes_what_it_finds(model_dir, emissions, tmp_path):
    lm = arpa(tmp_path / "words.arpa", "ab", "ac")
    output = run("tune", model_dir, "--emissions", emissions, "--lm", lm, "--trials", 8, "--beam-width", 8)
    assert "greedy" in output
    assert "100.00" in output
    decoding = read_decoding(model_dir)
    assert (decoding.name, decoding.beam_width, decoding.language_model) == ("beam", 8, str(model_dir / "lm.lm"))
    trials = [json.loads(line) for line in (tmp_path / "tune" / "cached-dev" / "trials.jsonl").read_text().splitlines()]
    assert len(trials) == 8
    assert [set(trial) for trial in trials] == [{"lm_weight", "word_bonus", "wer", "cer"}] * 8
    written = {"lm_weight": decoding.lm_weight, "word_bonus": decoding.word_bonus, "wer": 0.0, "cer": 0.0}
    assert written in trials
    assert (tmp_path / "tune" / "cached-dev" / "surface.png").read_bytes().startswith(b"\x89PNG")
    card = (model_dir / "README.md").read_text()
    assert "words.arpa" in card
    assert "test set" not in card
    lm.unlink()
    table = load_emissions(emissions)
    batch = next(table.batches(100))
    found = load_model(model_dir).decoder.decode(batch.log_probs, batch.lengths, batch.ids)
    assert [hypothesis.text for hypothesis in found] == ["ab"] * 4


def test_tune_does_not_write_its_trials_over_what_it_reads(model_dir, emissions, tmp_path):
    lm = tmp_path / "trials.jsonl"
    lm.write_text("a language model of an unlucky name")
    with pytest.raises(OutputError, match="which is read; name another file"):
        run("tune", model_dir, "--emissions", emissions, "--lm", lm, "-o", tmp_path)
    assert lm.read_text() == "a language model of an unlucky name"


def test_tune_stores_what_it_finds_before_it_shows_it(model_dir, emissions, tmp_path, monkeypatch):
    def stop(*_):
        raise BrokenPipeError

    monkeypatch.setattr("asr.cli.tune.show", stop)
    lm = arpa(tmp_path / "words.arpa", "ab", "ac")
    with pytest.raises(BrokenPipeError):
        run("tune", model_dir, "--emissions", emissions, "--lm", lm, "--trials", 3, "--force")
    assert read_decoding(model_dir).name == "beam"
    assert len(list((tmp_path / "tune" / "cached-dev").iterdir())) == 2


def test_a_model_is_tuned_again_on_its_own_language_model(model_dir, emissions, tmp_path):
    lm = arpa(tmp_path / "words.arpa", "ab", "ac")
    run("tune", model_dir, "--emissions", emissions, "--lm", lm, "--trials", 3)
    lm.unlink()
    run("tune", model_dir, "--emissions", emissions, "--trials", 3, "--seed", 2, "--beam-width", 4)
    assert read_decoding(model_dir).beam_width == 4
    assert (model_dir / "README.md").read_text().count("was tuned by") == 2


def test_without_improvement_nothing_is_written_unless_forced(model_dir, emissions, tmp_path):
    lm = arpa(tmp_path / "words.arpa", "ac", "ab")
    arguments = ("tune", model_dir, "--emissions", emissions, "--lm", lm, "--trials", 3)
    before = {path.name: path.read_bytes() for path in model_dir.iterdir()}
    assert "no improvement" in run(*arguments)
    assert {path.name: path.read_bytes() for path in model_dir.iterdir()} == before
    run(*arguments, "--force")
    assert read_decoding(model_dir).name == "beam"


def test_a_dry_run_writes_no_model(model_dir, emissions, tmp_path):
    lm = arpa(tmp_path / "words.arpa", "ab", "ac")
    before = {path.name: path.read_bytes() for path in model_dir.iterdir()}
    run("tune", model_dir, "--emissions", emissions, "--lm", lm, "--trials", 2, "--dry-run", "-o", tmp_path / "out")
    assert {path.name: path.read_bytes() for path in model_dir.iterdir()} == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["surface.png", "trials.jsonl"]


def test_test_sets_are_refused_unless_told_otherwise(model_dir, emissions, tmp_path):
    lm = arpa(tmp_path / "words.arpa", "ab", "ac")
    by_name = tmp_path / "my-test.npz"
    emissions.rename(by_name)
    with pytest.raises(ConfigError, match="is a test set by its name"):
        run("tune", model_dir, "--emissions", by_name, "--lm", lm)
    by_source = tmp_path / "renamed.npz"
    table = load_emissions(by_name)
    changed = {name: getattr(table, name) for name in table.__slots__} | {"source": "strings.test.jsonl"}
    save_emissions(by_source, type(table)(**changed))
    with pytest.raises(ConfigError, match=r"strings\.test\.jsonl is a test set"):
        run("tune", model_dir, "--emissions", by_source, "--lm", lm)
    run("tune", model_dir, "--emissions", by_source, "--lm", lm, "--trials", 2, "--allow-test")
    assert "is a test set by its name" in (model_dir / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected a manifest to tune on"),
        (["dev.jsonl", "--emissions", "dev.npz"], "got both"),
        (["dev.jsonl"], "expected --lm"),
        (["nowhere.jsonl", "--lm", "LM"], "nowhere"),
        (["--emissions", "nowhere.npz", "--lm", "LM"], "nowhere"),
        (["dev.jsonl", "--lm", "LM", "--lm-weight-range", "2", "1"], "smaller to a larger"),
    ],
)
def test_mistakes_are_explained(model_dir, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    arpa(tmp_path / "LM", "ab", "ac")
    with pytest.raises(AsrError, match=message):
        run("tune", model_dir, *arguments)


def test_evaluate_saves_log_probs_that_tune_and_decoders_agree_on(model_dir, tmp_path):
    dev = sung_corpus(tmp_path, "dev", ["ab", "a bad cab", "cab"])
    lm = arpa(tmp_path / "words.arpa", "ab", "cab")
    run("evaluate", model_dir, dev, "-o", tmp_path / "greedy", "--save-log-probs", tmp_path / "dev.npz")
    table = load_emissions(tmp_path / "dev.npz")
    assert (table.ids, table.texts) == (("dev-0", "dev-1", "dev-2"), ("ab", "a bad cab", "cab"))
    assert (table.speakers, table.source, table.frame_seconds) == (("s0", "s1", "s2"), "dev.jsonl", pytest.approx(0.03))
    run("tune", model_dir, dev, "--lm", lm, "--trials", 2, "--dry-run", "-o", tmp_path / "audio")
    run("tune", model_dir, "--emissions", tmp_path / "dev.npz", "--lm", lm, "--trials", 2, "-o", tmp_path / "cached")
    assert (tmp_path / "audio" / "trials.jsonl").read_text() == (tmp_path / "cached" / "trials.jsonl").read_text()


def test_evaluate_writes_the_nbest_list_and_says_how_it_decoded(model_dir, tmp_path):
    dev = sung_corpus(tmp_path, "dev", ["ab", "a bad cab"])
    lm = arpa(tmp_path / "words.arpa", "ab", "cab")
    output = run("evaluate", model_dir, dev, "-o", tmp_path / "out", "--lm", lm, "--nbest", 3)
    assert f"lm_weight {DEFAULT_LM_WEIGHT:g}" in output
    assert "nbest.jsonl" in output
    rows = [json.loads(line) for line in (tmp_path / "out" / "nbest.jsonl").read_text().splitlines()]
    assert [(row["id"], row["rank"]) for row in rows] == [(f"dev-{n}", rank) for n in (0, 1) for rank in (1, 2, 3)]
    assert all(row["score"] == pytest.approx(sum(row["parts"].values())) for row in rows)
    assert [row["score"] for row in rows[:3]] == sorted((row["score"] for row in rows[:3]), reverse=True)
    decoder = json.loads((tmp_path / "out" / "score.json").read_text())["decoder"]
    assert (decoder["name"], decoder["lm_weight"], decoder["nbest"]) == ("beam", DEFAULT_LM_WEIGHT, 3)
    run("evaluate", model_dir, dev, "-o", tmp_path / "out")
    assert not (tmp_path / "out" / "nbest.jsonl").exists()


def test_a_tuned_model_uses_its_language_model_and_can_be_told_not_to(model_dir, emissions, tmp_path):
    dev = sung_corpus(tmp_path, "dev", ["ab", "cab"])
    lm = arpa(tmp_path / "words.arpa", "ab", "ac")
    run("tune", model_dir, "--emissions", emissions, "--lm", lm, "--trials", 3)

    def decoder(*options) -> dict:
        run("evaluate", model_dir, dev, "-o", tmp_path / "out", *options)
        return json.loads((tmp_path / "out" / "score.json").read_text())["decoder"]

    assert decoder()["lm_order"] == 1
    assert decoder("--no-lm")["lm_order"] == 0
    assert decoder("--decoder", "greedy")["name"] == "greedy"
    audio = tmp_path / "audio" / "dev-0.wav"
    assert run("transcribe", audio, "--model", model_dir) != ""
    assert run("transcribe", audio, "--model", model_dir, "--no-lm") != ""


def test_options_that_have_no_place(model_dir, tmp_path):
    dev = sung_corpus(tmp_path, "dev", ["ab"])
    with pytest.raises(ConfigError, match="expected one manifest, got 2"):
        run("evaluate", model_dir, dev, sung_corpus(tmp_path, "test", ["ab"]), "--save-log-probs", tmp_path / "x.npz")
    with pytest.raises(ConfigError, match="two manifests are called dev"):
        run("evaluate", model_dir, dev, dev)
    with pytest.raises(ConfigError, match=r"ends in \.npz"):
        run("evaluate", model_dir, dev, "--save-log-probs", tmp_path / "x.bin")
    with pytest.raises(AssertionError, match="no place for alternatives"):
        run("transcribe", tmp_path / "audio" / "dev-0.wav", "--model", model_dir, "--decoder", "beam", "--nbest", 2)


def test_a_field_has_to_be_in_one_of_the_sets_before_any_work_is_done(model_dir, tmp_path, monkeypatch):
    """A set without it is not broken down by it, and that is said."""
    plain, aged = sung_corpus(tmp_path, "plain", ["ab"]), sung_corpus(tmp_path, "aged", ["ab", "cab"])
    rows = [json.loads(line) | {"age": 6} for line in aged.read_text().splitlines()]
    aged.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = run("evaluate", model_dir, plain, aged, "--by", "age", "-o", tmp_path / "out")
    assert "plain: no utterance has age" in output
    breakdowns = [
        json.loads((tmp_path / "out" / n / "score.json").read_text())["breakdowns"] for n in ("plain", "aged")
    ]
    assert [sorted(found) for found in breakdowns] == [["duration", "speaker"], ["age", "duration", "speaker"]]
    table = (tmp_path / "out" / "results.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in table] == ["set", "---", "plain", "aged"]

    monkeypatch.setattr("asr.cli.evaluate.load", lambda *_: pytest.fail("the model was loaded"))
    with pytest.raises(ScoringError, match=r"no utterance has the field 'height'.*age, duration, speaker"):
        run("evaluate", model_dir, plain, aged, "--by", "age,height", "-o", tmp_path / "out")
    with pytest.raises(OutputError, match=r"plain\.jsonl is no directory"):
        run("evaluate", model_dir, plain, "-o", plain / "out")
