"""The recurrent language model: its scores, its way through a text, and whole training runs."""

import json
import math
import signal

import numpy as np
import pytest
import torch
from helpers import rounding
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from asr.cli.lm_recurrent import compose_language, train_recurrent
from asr.config import difference, to_json
from asr.data.text_corpus import encode_corpus, plan_streams
from asr.errors import ConfigError, Interrupted, ModelError, TextError
from asr.language_builders import build_language_model, load_language_model
from asr.language_config import LanguageModelConfig
from asr.language_experiment import read_tokenizer
from asr.models import language
from asr.models.language import RecurrentLanguageModel, next_token_nats, score_sentences
from asr.text.language_units import END_ID, TokenUnits, WordUnits, units_from_json
from asr.text.tokenizer import CharTokenizer
from asr.training.checkpoint import list_checkpoints, load_checkpoint
from asr.training.language_task import LanguageTask
from asr.training.loop import Trainer
from asr.training.monitor import draw_curves, epoch_line

pytestmark = pytest.mark.usefixtures("no_curves")

CPU = torch.device("cpu")
CELLS = ["rnn_tanh", "gru", "lstm"]
LETTERS = TokenUnits(CharTokenizer((" ", "a", "b", "c", "d")))
SMALL = [
    "units=char",
    "model.embedding_size=12",
    "model.hidden_size=16",
    "model.num_layers=2",
    "training.num_streams=3",
    "training.bptt_tokens=5",
    "training.epochs=2",
    "training.log_every_steps=1",
    "optim.warmup_steps=2",
    "machine.precision=float32",
    "machine.num_threads=1",
]


TERMS = 2 * (7 + 7) + 7 + 6 + 64  # of a score: gates of two layers, logits, the softmax's sum, up to 64 tokens


def small_model(cell="lstm", vocab_size=6, **options):
    torch.manual_seed(3)
    model = RecurrentLanguageModel(vocab_size, 7, 7, 2, cell=cell, **options)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.8, 0.8)  # far from uniform
    return model.eval()


def corpus(texts=("a bad cab", "dad", "abba"), units=LETTERS):
    return encode_corpus(texts, units).corpus


def task(model, **options):
    return LanguageTask(model, corpus(), corpus(), CPU, **{"num_streams": 2, "bptt_tokens": 4, "seed": 1, **options})


# ---- the model ------------------------------------------------------------------------------------------------------


def test_a_uniform_model_has_the_vocabularys_size_as_perplexity():
    model = small_model()
    torch.nn.init.zeros_(model.output_weight)
    torch.nn.init.zeros_(model.output_bias)
    fitted = task(model)
    values = fitted.validate().values
    assert values["perplexity"] == pytest.approx(6.0)
    # 16 characters and 3 ends; 5 words and 3 ends
    assert values["word_perplexity"] == pytest.approx(6.0 ** (19 / 8))
    (chunk, *_) = fitted.plan(0)
    loss = fitted.loss(model, chunk)
    assert [step.num_labels for step in fitted.load([chunk])] == [8]
    assert float(loss.detach()) == pytest.approx(8 * math.log(6.0))


def test_a_step_by_hand():
    """One tanh cell of one unit with every weight known: h = tanh(e), logits (h, -h)."""
    model = RecurrentLanguageModel(2, 1, 1, 1, cell="rnn_tanh").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.embedding.weight[:] = torch.tensor([[0.5], [-1.0]])
        model.layers[0].weight_ih_l0[:] = 1.0
        model.output_weight[:] = torch.tensor([[1.0], [-1.0]])
    first, second = math.tanh(0.5), math.tanh(-1.0)  # after </s>, after the word 1
    nats = math.log(1 + math.exp(2 * first)) + math.log(1 + math.exp(-2 * second))
    assert score_sentences(model, [[1]])[0] == pytest.approx(-nats, abs=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_scores_do_not_depend_on_the_batch(cell, monkeypatch):
    model = small_model(cell)
    rng = np.random.default_rng(0)
    sentences = [rng.integers(1, 6, size=length).tolist() for length in (0, 1, 30, 3, 17, 30, 64)]
    alone = [float(score_sentences(model, [sentence])[0]) for sentence in sentences]
    tolerance = rounding(torch.tensor(alone), terms=TERMS)
    assert score_sentences(model, sentences).tolist() == pytest.approx(alone, abs=tolerance)
    monkeypatch.setattr(language, "SCORED_TOGETHER", 3)
    monkeypatch.setattr(language, "LOG_PROBS_AT_ONCE", 6 * 3 * 4)  # four tokens of three sentences
    assert score_sentences(model, sentences[::-1]).tolist() == pytest.approx(alone[::-1], abs=tolerance)


@pytest.mark.parametrize("cell", CELLS)
def test_probabilities_of_all_texts_sum_to_one(cell):
    """Every text of up to three tokens, and what is left for longer ones, add up to 1."""
    model = small_model(cell, vocab_size=3)
    texts = [[]] + [[a] for a in (1, 2)] + [[a, b] for a in (1, 2) for b in (1, 2)]
    finished = np.exp(score_sentences(model, texts)).sum()
    with torch.no_grad():
        longer = 0.0
        for a, b, c in np.ndindex(2, 2, 2):
            log_probs = model(torch.tensor([[END_ID, a + 1, b + 1]]), model(model.primer[None]).state).log_probs
            longer += math.exp(-next_token_nats(log_probs, torch.tensor([[a + 1, b + 1, c + 1]])).sum())
    assert finished + longer == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_carried_state_equals_one_long_pass(cell, tied):
    model = small_model(cell, tied=tied)
    tokens = torch.randint(0, 6, (3, 11))
    whole, last = model(tokens)
    first, state = model(tokens[:, :4])
    second, state = model(tokens[:, 4:], state)
    torch.testing.assert_close(torch.cat((first, second), dim=1), whole)
    torch.testing.assert_close(state, last)


def test_the_error_stops_where_a_step_begins():
    """Gradients of the second step are those of its chunk alone, begun in the state that the first one left."""
    model = small_model()
    fitted = task(model)
    first, second, *_ = fitted.plan(0)
    fitted.loss(model, first)
    state = fitted.carried()["state"]
    assert not state.requires_grad
    assert state.abs().max() > 0.01
    fitted.loss(model, second).backward()
    inputs, targets = (torch.from_numpy(ids).long() for ids in (second.inputs, second.targets))
    expected = torch.autograd.grad(
        next_token_nats(model(inputs, state.clone()).log_probs, targets).sum(), model.parameters()
    )
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_a_sentence_is_scored_after_the_beginning_of_the_training_text():
    model = small_model()
    assert corpus().beginning(5).tolist() == LETTERS.encode("d cab")
    two = [*LETTERS.encode("a bad cab"), END_ID, *LETTERS.encode("dad")]
    assert corpus().beginning(11).tolist() == two[-11:]
    assert corpus(["ab"]).beginning(4).tolist() == [END_ID, END_ID, *LETTERS.encode("ab")]
    before = score_sentences(model, [[3, 2]])[0]
    task(model)
    whole = torch.tensor([[*model.primer.tolist(), END_ID, 3, 2, END_ID]])
    with torch.no_grad():
        nats = next_token_nats(model(whole[:, :-1]).log_probs, whole[:, 1:])
    expected = -nats[0, -3:].sum()
    assert score_sentences(model, [[3, 2]])[0] == pytest.approx(float(expected), abs=rounding(expected, terms=TERMS))
    assert abs(score_sentences(model, [[3, 2]])[0] - before) > 1e-3


def test_an_epoch_begins_with_an_empty_state():
    model = small_model()
    fitted = task(model)
    before = float(fitted.loss(model, fitted.plan(0)[0]).detach())
    for chunk in fitted.plan(0):
        fitted.loss(model, chunk)
    assert float(fitted.loss(model, fitted.plan(0)[0]).detach()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tied": True, "embedding_size": 8}, "tied: expected embedding_size and hidden_size alike"),
        ({"cell": "elman"}, "rnn_tanh, gru or lstm"),
        ({"num_layers": 0}, "at least 1"),
        ({"dropout": 1.0}, r"dropout in \[0, 1\)"),
    ],
)
def test_models_that_cannot_be(options, message):
    with pytest.raises(ConfigError, match=message):
        build_language_model(LanguageModelConfig(**options), 5)


# ---- the text -------------------------------------------------------------------------------------------------------


@given(
    texts=st.lists(st.text("abcd", min_size=1, max_size=6), min_size=1, max_size=12),
    num_streams=st.integers(1, 4),
    num_steps=st.integers(1, 7),
    epoch=st.integers(0, 3),
)
def test_streams_hold_every_sentence_once(texts, num_streams, num_steps, epoch):
    encoded = corpus(texts)
    chunks = plan_streams(encoded, num_streams, num_steps, seed=1, epoch=epoch)
    length = len(encoded.ids) // num_streams
    assert [chunk.number for chunk in chunks] == list(range(math.ceil(length / num_steps)))
    if not chunks:
        return
    inputs = np.concatenate([chunk.inputs for chunk in chunks], axis=1)
    targets = np.concatenate([chunk.targets for chunk in chunks], axis=1)
    assert inputs.shape == targets.shape == (num_streams, length)
    assert (inputs[:, 1:] == targets[:, :-1]).all()  # a target is the next input
    read = targets.flatten().tolist()  # the streams laid end to end: one text, less what did not fill them
    pieces = "".join(map(chr, read)).split(chr(END_ID))
    whole = ["".join(map(chr, LETTERS.encode(text))) for text in texts]
    assert len(encoded.ids) - len(read) < num_streams
    for piece in pieces[:-1]:
        whole.remove(piece)
    assert pieces[-1] == "" or any(text.startswith(pieces[-1]) for text in whole)


def test_an_epochs_order_is_its_own():
    encoded = corpus([letter * 3 for letter in "abcd"] * 5)
    orders = [
        plan_streams(encoded, 1, 100, seed, epoch)[0].targets.tolist() for seed, epoch in [(1, 0), (1, 1), (2, 0)]
    ]
    assert orders[0] == plan_streams(encoded, 1, 100, 1, 0)[0].targets.tolist()
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]


def test_sentences_that_cannot_be_spelt_are_counted_and_named():
    encoded = encode_corpus(["ab", "a quiz", "zoo"], LETTERS)
    assert (encoded.corpus.num_sentences, encoded.num_dropped) == (1, 2)
    assert "'q'" in encoded.describe_drops()
    with pytest.raises(TextError, match="all 1 cannot be spelt"):
        encode_corpus(["zoo"], LETTERS)


def test_words_and_their_share_of_the_unknown():
    units = WordUnits.learn(["b a a", "c b a", "d e <unk>"], vocab_size=4)
    assert units == WordUnits(("a", "b"), num_unlisted=3)
    assert units.encode("b z a") == [3, 1, 2]
    assert units.unlisted_nats("b z a z") == pytest.approx(2 * math.log(3))
    assert units_from_json(json.loads(json.dumps(units.to_json()))) == units
    assert units_from_json(LETTERS.to_json()) == LETTERS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": ["a", "a"]}, "'a' more than once"),
        ({"words": ["a b"]}, "without white space"),
        ({"words": ["</s>"]}, "none of them </s>"),
        ({"words": [3]}, "list of strings"),
        ({"num_unlisted": -1}, "0 or more"),
        ({"num_unlisted": True}, "whole number"),
        ({"version": 9}, "version"),
        ({"more": 1}, "fields"),
    ],
)
def test_word_lists_that_cannot_be(change, message):
    with pytest.raises(TextError, match=message):
        units_from_json({**WordUnits(("a",), 0).to_json(), **change})


def test_word_lists_that_cannot_be_learnt():
    with pytest.raises(TextError, match="at least 3"):
        WordUnits.learn(["a b"], vocab_size=2)
    with pytest.raises(TextError, match="got no word"):
        WordUnits.learn([""], vocab_size=9)


# ---- training -------------------------------------------------------------------------------------------------------


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("A bad cab\ndad abba\n\nadd a cab\nbad dad\n" * 6)
    return path


def history(run_dir):
    records = [json.loads(line) for line in (run_dir / "history.jsonl").read_text().splitlines()]
    return [(r["step"], r["loss"]) for r in records]


def test_a_text_is_learnt_by_heart(tmp_path):
    """After the first letter the alphabet leaves no choice; a wrong state, loss or target could not reach this."""
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    (tmp_path / "alphabet.txt").write_text(f"{alphabet}\n" * 60)
    overrides = [*SMALL, "model.dropout=0", "model.hidden_size=32", "training.bptt_tokens=16", "training.epochs=8"]
    model_dir = train_recurrent(
        [tmp_path / "alphabet.txt"], [], tmp_path / "run", [*overrides, "optim.lr=0.02", "optim.schedule=constant"]
    )
    scorer = load_language_model(model_dir)
    assert math.exp(-scorer.log_probs([alphabet])[0] / 27) < 1.1
    assert scorer.log_probs(["abcdefghijklmonpqrstuvwxyz"])[0] < -5


def test_perplexities_are_drawn(tmp_path):
    values = {"loss": 1.0, "perplexity": 2.7, "word_perplexity": 9.0, "train_loss": 1.1, "seconds": 1.0}
    draw_curves([{"kind": "epoch", "step": 1, "epoch": 0, **values}], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
    line = "epoch 1/9  loss 1.100  dev 1.000  perplexity    2.700  a word     9.00  1 s"
    assert epoch_line(1, 9, values, is_best=False) == line


def test_checkpoints_by_steps(text, tmp_path, monkeypatch):
    saved = []
    original = Trainer._save
    monkeypatch.setattr(Trainer, "_save", lambda trainer: (saved.append(trainer.position.step), original(trainer)))
    overrides = [*SMALL, "training.epochs=1", "training.checkpoint_steps=2"]
    train_recurrent([text], [text], tmp_path / "run", overrides)
    assert saved == [*range(2, saved[-1] + 1, 2), saved[-1]]  # and at the end of the epoch


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_stopped_run_goes_on_to_the_same_bit(text, tmp_path, monkeypatch, cell):
    """Stopped in the middle of the second epoch, with dropout and a hidden state that must be carried over."""
    overrides = [*SMALL, f"model.cell={cell}", "model.dropout=0.3"]
    train_recurrent([text], [text], tmp_path / "whole", overrides)
    steps_an_epoch = len(history(tmp_path / "whole")) // 2 - 1
    original = Trainer._step

    def stop_in_the_second_epoch(trainer, *arguments):
        original(trainer, *arguments)
        if trainer.position.step == steps_an_epoch + 3:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", stop_in_the_second_epoch)
        with pytest.raises(Interrupted, match="goes on from there"):
            train_recurrent([text], [text], tmp_path / "halves", overrides)
    assert len(history(tmp_path / "halves")) < len(history(tmp_path / "whole"))
    train_recurrent([text], [text], tmp_path / "halves", overrides)
    assert history(tmp_path / "halves") == history(tmp_path / "whole")
    whole, halves = (
        load_checkpoint(list_checkpoints(tmp_path / name / "checkpoints", "resume")[-1]).tensors
        for name in ("whole", "halves")
    )
    assert "carried.state" in whole
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


@pytest.mark.parametrize(
    "overrides",
    [
        ["units=word", "vocab_size=5"],
        ["units=bpe", "vocab_size=9", "model.cell=gru"],
        ["model=lstm_2x512_tied", "model.embedding_size=8", "model.hidden_size=8", "model.cell=rnn_tanh"],
        ["units=tokenizer", "tokenizer=TOKENIZER", "optim.name=sgd", "optim.schedule=plateau"],
        ["tokenizer=TOKENIZER", "machine.precision=bf16", "case=upper"],
    ],
    ids=["words", "bpe", "tied", "tokenizer", "bf16"],
)
def test_every_choice_trains_and_scores(text, tmp_path, capsys, overrides):
    """Whatever the units, a loaded model scores texts the same way."""
    upper = "case=upper" in overrides
    CharTokenizer.train(["ABCD" if upper else "abcd"]).save(tmp_path / "tokenizer.json")
    overrides = [override.replace("TOKENIZER", str(tmp_path / "tokenizer.json")) for override in overrides]
    run_dir = tmp_path / "run"
    model_dir = train_recurrent([text], [], run_dir, [*SMALL[1:], "training.epochs=1", *overrides])
    assert "1 of 24 sentences, chosen by seed 1, are held out" in " ".join(capsys.readouterr().out.split())
    names = {"config.json", "model.safetensors", "tokenizer.json", "README.md", "SHA256SUMS"}
    assert {path.name for path in model_dir.iterdir()} == names
    assert "perplexity a word" in (model_dir / "README.md").read_text()
    scores = load_language_model(model_dir).log_probs(["a bad cab", "", "A  BAD cab"])
    assert np.isfinite(scores).all()
    assert scores[0] == scores[2] < scores[1] < 0
    before = (model_dir / "model.safetensors").stat().st_mtime_ns
    train_recurrent([text], [], run_dir, [*SMALL[1:], "training.epochs=1", *overrides])  # done: nothing happens
    assert (model_dir / "model.safetensors").stat().st_mtime_ns == before


def test_another_config_or_text_in_the_same_directory(text, tmp_path):
    once = [*SMALL, "training.epochs=1"]
    train_recurrent([text], [], tmp_path / "run", once)
    with pytest.raises(ConfigError, match=r"optim\.lr"):
        train_recurrent([text], [], tmp_path / "run", [*once, "optim.lr=0.5"])
    text.write_text(text.read_text() + "cab\n")
    with pytest.raises(ConfigError, match="contents"):
        train_recurrent([text], [], tmp_path / "run", once)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["units=syllable"], "auto, word, char, bpe or tokenizer"),
        (["units=tokenizer"], "expected a model directory or a tokenizer.json"),
        (["units=word", "tokenizer=somewhere"], "expected tokenizer beside tokenizer=somewhere"),
        (["model.hiden_size=3"], "hiden_size"),
        (["model=lstm_9x9"], "lstm_9x9"),
        (["training.num_streams=100000"], "at least one token for each of 100000 streams"),
        (["training.bptt_tokens=0"], "bptt_tokens: expected a whole number, from 1"),
        (["optim.lr=1e-3,2e-3"], "^optim.lr: expected one value, got 2, 0.001,0.002; a text with commas is in quotes$"),
        (["texts=x"], "^texts: expected it as an argument of the command, the files, not as texts="),
        (["run_dir=x"], "^run_dir: expected it as an argument of the command, -o"),
        (["case=title"], "lower, upper or keep"),
    ],
)
def test_configs_that_cannot_be(text, tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        train_recurrent([text], [], tmp_path / "run", [*SMALL, *overrides])


def test_texts_that_cannot_be_used(text, tmp_path):
    with pytest.raises(TextError, match=r"nowhere\.txt"):
        train_recurrent([tmp_path / "nowhere.txt"], [], tmp_path / "run", SMALL)
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(TextError, match="found none"):
        train_recurrent([text], [tmp_path / "empty.txt"], tmp_path / "run", SMALL)
    (tmp_path / "one.txt").write_text("abba\n")
    with pytest.raises(TextError, match="at least 2 sentences"):
        train_recurrent([tmp_path / "one.txt"], [], tmp_path / "other", SMALL)


@pytest.mark.parametrize("name", ["lstm_2x512", "lstm_1x256", "lstm_2x512_tied", "gru_2x512"])
def test_every_named_model_composes_and_builds(text, tmp_path, name):
    config = compose_language([text], [], tmp_path, [f"model={name}"])
    assert build_language_model(config.model, 50).num_states == (1 if name.startswith("gru") else 2)
    assert difference(to_json(config), to_json(compose_language([text], [], tmp_path, [f"model={name}"]))) == []


def test_paths_with_the_characters_of_hydras_grammar(text, tmp_path):
    odd = text.rename(tmp_path / "a=b,{c} [d]: $e.txt")
    assert compose_language([odd], [odd], tmp_path, []).texts == [str(odd)]


# ---- model directories ----------------------------------------------------------------------------------------------


def test_directories_that_are_no_language_model(text, tmp_path):
    model_dir = train_recurrent([text], [], tmp_path / "run", [*SMALL, "training.epochs=1"])
    with pytest.raises(ConfigError, match="case"):
        read_tokenizer(model_dir, "upper")
    assert read_tokenizer(model_dir, "lower").encode("ab") == [2, 3]
    config = json.loads((model_dir / "config.json").read_text())

    def rewritten(change):
        from asr.model_directory import write_checksums

        (model_dir / "config.json").write_text(json.dumps(change))
        write_checksums(model_dir)
        return model_dir

    with pytest.raises(ModelError, match="expected a recurrent language model"):
        load_language_model(rewritten({**config, "kind": "acoustic_model"}))
    with pytest.raises(ConfigError, match="case: expected lower, upper or keep"):
        load_language_model(rewritten({**config, "case": ["lower"]}))
    with pytest.raises(ConfigError, match="hidden_size"):
        load_language_model(rewritten({**config, "model": {**config["model"], "hidden_size": "16"}}))
    with pytest.raises(ModelError, match="does not fit"):
        load_language_model(rewritten({**config, "model": {**config["model"], "hidden_size": 17}}))
    assert load_language_model(rewritten(config)).units.vocab_size == 6
    weights = load_file(model_dir / "model.safetensors")
    save_file({**weights, "primer": weights["primer"] + 99}, model_dir / "model.safetensors")
    with pytest.raises(ModelError, match="primer: expected ids from 0 to 5"):
        load_language_model(rewritten(config))
    (model_dir / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(ModelError, match="damaged"):
        load_language_model(model_dir)
