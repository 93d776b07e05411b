"""Recordings that cannot be read, or are shorter than stated: left out, named and counted, whatever route they take."""

import json
import re
import shutil
import signal
import wave
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import SAMPLE_RATE, sung_corpus
from test_training import SMALL, TEXTS
from typer.testing import CliRunner

from asr import training_data
from asr.cli.compose import compose_recipe
from asr.cli.main import app
from asr.cli.train import train_stage
from asr.data.audio_cache import ROUNDED_SECONDS, AudioStore, ShortAudioError
from asr.data.late_drops import LateDrops, SetSize
from asr.data.manifest import read_manifest, write_manifest
from asr.data.shard_writer import ShardLimits, write_shards
from asr.data.usable import refuse_too_many
from asr.errors import AudioError, Interrupted, ManifestError
from asr.training import monitor
from asr.training.checkpoint import list_checkpoints, load_checkpoint
from asr.training.loop import Trainer

BROKEN, LIAR = "train-3", "train-7"
SHORT = [
    *["training.epochs=2", "training.average_best=1", "training.log_every_steps=1", "augment=none"],
    "data.max_unusable_share=0.2",
]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """They take longer than the runs."""
    monkeypatch.setattr(monitor, "draw_curves", lambda *_: None)


@pytest.fixture
def corpus(tmp_path):
    return {
        "train": sung_corpus(tmp_path, "train", TEXTS, seed=1),
        "dev": sung_corpus(tmp_path, "dev", TEXTS[:4], seed=2),
    }


def damage(manifest: Path, id: str) -> Path:
    """Overwrite the audio of an utterance; returns its path."""
    path = next(Path(u.audio_filepath) for u in read_manifest(manifest) if u.id == id)
    path.write_bytes(b"RIFF and nothing else")
    return path


def overstate(manifest: Path, id: str, text: str = "a bad cab a bad cab a bad cab") -> None:
    """Say of an utterance that it lasts 5 s, and that more is said in it than it has room for."""
    write_manifest(
        manifest, [replace(u, duration=5.0, text=text) if u.id == id else u for u in read_manifest(manifest)]
    )


def configure(corpus, run_dir, *overrides):
    dev = corpus["dev"] if isinstance(corpus["dev"], list) else [corpus["dev"]]
    sets = [f"data.train=[{corpus['train']}]", f"data.dev=[{','.join(map(str, dev))}]", f"run_dir={run_dir}"]
    return compose_recipe("digits", [*SMALL, *SHORT, *sets, *overrides])


def train(corpus, run_dir, *overrides) -> Path:
    return train_stage(configure(corpus, run_dir, *overrides))


def dropped(run_dir: Path) -> list[tuple[str, str, str]]:
    rows = map(json.loads, (run_dir / "dropped.jsonl").read_text().splitlines())
    return [(row["set"], row["id"], row["code"]) for row in rows]


def epochs(run_dir: Path) -> list[dict[str, float]]:
    records = map(json.loads, (run_dir / "history.jsonl").read_text().splitlines())
    return [{n: v for n, v in record.items() if n != "seconds"} for record in records if record["kind"] == "epoch"]


def same_weights(one: Path, other: Path) -> bool:
    first, second = (load_checkpoint(list_checkpoints(run / "checkpoints", "resume")[-1]) for run in (one, other))
    return all(torch.equal(first.tensors[name], tensor) for name, tensor in second.tensors.items())


def stop_after(monkeypatch, steps: int):
    """Make trainers stop after so many steps, as Ctrl-C does."""
    step = Trainer._step

    def stopping(trainer, *arguments):
        step(trainer, *arguments)
        if trainer.position.step == steps:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "_step", stopping)


# ------------------------------------------------------------------------------------------ the store


def test_audio_shorter_than_stated_by_more_than_rounding_is_an_error(corpus):
    (first, *_) = read_manifest(corpus["train"])
    rounded, wrong = (replace(first, duration=first.duration + more) for more in (0.099, 0.11))
    store = AudioStore([first, rounded, wrong], SAMPLE_RATE, is_whole=True)
    assert len(store.waveform(1)) == len(store.waveform(0)) == round(first.duration * SAMPLE_RATE)
    with pytest.raises(ShortAudioError, match=rf"train-0\.wav: the manifest says .* has {first.duration:.3f} s"):
        store.waveform(2)
    assert len(AudioStore([wrong], SAMPLE_RATE).waveform(0)) == len(store.waveform(0))  # unless that is asked for
    assert 0.1 < ROUNDED_SECONDS < 0.101


def test_a_recording_without_samples_is_an_error(tmp_path, corpus):
    with wave.open(str(tmp_path / "empty.wav"), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
    empty = replace(read_manifest(corpus["train"])[0], audio_filepath=str(tmp_path / "empty.wav"), duration=0.05)
    with pytest.raises(AudioError):
        AudioStore([empty], SAMPLE_RATE, is_whole=True).waveform(0)


@pytest.mark.parametrize("budget", [0, 10**7])
def test_measuring_names_what_fails_and_keeps_the_rest(corpus, budget):
    damage(corpus["train"], BROKEN)
    utterances = read_manifest(corpus["train"])[:6]
    store = AudioStore(utterances, SAMPLE_RATE, is_whole=True)
    measured = store.measure(budget, num_threads=2)
    assert list(measured.failures) == [3]
    assert [int(n) for n in measured.lengths] == [
        0 if i == 3 else round(u.duration * 8000) for i, u in enumerate(utterances)
    ]
    assert store.is_filled == (budget > 0)
    with pytest.raises(AudioError, match="train-3"):
        store.waveform(3)
    assert len(store.waveform(4)) == measured.lengths[4]


def test_too_many_unusable_utterances_are_refused():
    first = [("u", "why")]
    refuse_too_many("train", {"unreadable-audio": 1}, first, 10, 0.1)
    refuse_too_many("train", {"too-long": 9}, first, 10, 0.1)  # as the user asked
    with pytest.raises(ManifestError, match=r"train: 2 of 10 .*\(2 silent\), 20\.0%, .*allows 10\.0%.*raise data\.max"):
        refuse_too_many("train", {"silent": 2}, first, 10, 0.1)


def test_late_drops_are_told_once_and_listed_once(tmp_path):
    path = tmp_path / "dropped.jsonl"
    path.write_text(json.dumps({"set": "train", "id": "a"}) + "\n")  # found before the run fell back
    drops = LateDrops({"train": SetSize(100, {"too-long": 50}), "dev": SetSize(10)}, 0.02, path)
    drops.found["train"] |= {"b": "cut", "a": "cut"}
    assert drops.exchange() == [("train", "a", "cut"), ("train", "b", "cut")]
    assert drops.exchange() == []
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["a", "b"]
    drops.found["train"]["c"] = "cut"
    with pytest.raises(ManifestError, match="train: 3 of 100"):
        drops.check("train")


# ------------------------------------------------------------------------------------------ runs


def test_damaged_and_overstated_recordings_are_left_out_the_same_with_and_without_a_cache(corpus, tmp_path, capsys):
    damage(corpus["train"], BROKEN)
    overstate(corpus["train"], LIAR)
    train(corpus, tmp_path / "cached")
    said = capsys.readouterr().out
    assert "10 utterances to train on" in " ".join(said.split())
    assert f"train {BROKEN}: " in said
    train(corpus, tmp_path / "read", "machine.cache_gib=0")
    for run in ("cached", "read"):
        assert dropped(tmp_path / run) == [("train", BROKEN, "unreadable-audio"), ("train", LIAR, "wrong-duration")]
    assert epochs(tmp_path / "cached") == epochs(tmp_path / "read")
    assert same_weights(tmp_path / "cached", tmp_path / "read")


def test_a_duration_rounded_up_leaves_too_few_frames_for_a_dense_text(corpus, tmp_path):
    """Its 0.44 s make 14 frames, and the text needs 15; by the stated 0.5 s there were 16."""
    first, *others = read_manifest(corpus["train"])
    assert first.duration == 0.44
    write_manifest(corpus["train"], [replace(first, duration=0.5, text="ababababababaca"), *others])
    train(corpus, tmp_path / "run")
    assert dropped(tmp_path / "run") == [("train", "train-0", "unalignable")]


def test_a_mended_recording_is_taken_before_the_first_step_and_not_after_it(corpus, tmp_path, monkeypatch, capsys):
    whole = read_manifest(corpus["train"])[3]
    content = Path(whole.audio_filepath).read_bytes()
    path = damage(corpus["train"], BROKEN)
    with pytest.raises(ManifestError, match="1 of 12"):
        train(corpus, tmp_path / "run", "data.max_unusable_share=0.01")
    path.write_bytes(content)
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(Interrupted):
            train(corpus, tmp_path / "run", "data.max_unusable_share=0.01")
    assert dropped(tmp_path / "run") == []
    damage(corpus["train"], BROKEN)
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(Interrupted):
            train(corpus, tmp_path / "without")
    path.write_bytes(content)
    capsys.readouterr()
    train(corpus, tmp_path / "without")
    said = " ".join(capsys.readouterr().out.split())
    assert "1 files that were left out when this run began have changed since" in said
    assert "11 utterances to train on" in said


@pytest.mark.parametrize("route", ["files", "shards"])
def test_a_large_corpus_is_not_listened_to_before_and_goes_on_to_the_same_bit(
    corpus, tmp_path, monkeypatch, capsys, route
):
    """What cannot be read is then left out when its turn comes, in every epoch, before and after a stop."""
    monkeypatch.setattr(training_data, "HEARD_HOURS", 0.0)
    if route == "shards":
        write_shards(tmp_path / "set", read_manifest(corpus["train"]), ShardLimits(1 << 30, 3))
        corpus["train"] = tmp_path / "set"
        shard = sorted((tmp_path / "set").glob("*.tar"))[0]
        content = bytearray(shard.read_bytes())
        content[content.index(b"RIFF") : content.index(b"RIFF") + 4] = b"JUNK"
        shard.write_bytes(content)
    else:
        damage(corpus["train"], BROKEN)
        overstate(corpus["train"], LIAR)
    options = ["machine.cache_gib=0", "data.batch_seconds=0", "features.normalize=global"]
    train(corpus, tmp_path / "whole", *options)
    said = " ".join(capsys.readouterr().out.split())
    lost = dropped(tmp_path / "whole")
    assert len(lost) == (1 if route == "shards" else 2)
    for _, id, code in lost:
        assert f"left out from here on: train {id}" in said
        assert code == "unreadable-audio"
    with monkeypatch.context() as patch:
        stop_after(patch, 14)
        with pytest.raises(Interrupted):
            train(corpus, tmp_path / "halves", *options)
    train(corpus, tmp_path / "halves", *options)
    assert epochs(tmp_path / "halves") == epochs(tmp_path / "whole")
    assert same_weights(tmp_path / "whole", tmp_path / "halves")
    assert sorted(dropped(tmp_path / "halves")) == sorted(lost)
    cached = train(corpus, tmp_path / "cached", *options, "machine.cache_gib=1")
    assert cached.is_dir()
    assert same_weights(tmp_path / "whole", tmp_path / "cached")


@pytest.mark.parametrize("name", ["train", "dev"])
def test_too_many_lost_while_it_runs_end_the_run(corpus, tmp_path, monkeypatch, name):
    monkeypatch.setattr(training_data, "HEARD_HOURS", 0.0)
    for number in range(3):
        damage(corpus[name], f"{name}-{number}")
    with pytest.raises(ManifestError, match=rf"{name}: \d of \d+ utterances cannot be used .*\n  {name}-\d: .*wav"):
        train(corpus, tmp_path / "run", "machine.cache_gib=0")
    assert not (tmp_path / "run" / "model").exists()


def test_damage_between_two_starts_of_a_run_is_named(corpus, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(Interrupted):
            train(corpus, tmp_path / "run")
    damage(corpus["train"], BROKEN)
    damage(corpus["dev"], "dev-1")
    train(corpus, tmp_path / "run", "data.max_unusable_share=0.25")
    said = " ".join(capsys.readouterr().out.split())
    assert f"left out from here on: train {BROKEN}" in said
    assert "left out from here on: dev dev-1" in said
    assert (epochs(tmp_path / "run")[-1]["utterances"], epochs(tmp_path / "run")[-1]["left_out"]) == (3, 1)


# ------------------------------------------------------------------------------------------ validation


def test_all_words_of_the_dev_set_count_whatever_the_model_can_spell(corpus, tmp_path, capsys):
    utterances = read_manifest(corpus["dev"])
    texts = ["ab", "ba", "bad quäck", "dab " * 30]  # one that cannot be spelt, one that cannot be aligned
    write_manifest(corpus["dev"], [replace(u, text=text) for u, text in zip(utterances, texts)])
    model = train(corpus, tmp_path / "run", "data.max_duration_seconds=0.5", "data.min_duration_seconds=0.1")
    said = " ".join(capsys.readouterr().out.split())
    assert "dev: 2 of 4 texts cannot be spelt or aligned by this model" in said
    last = epochs(tmp_path / "run")[-1]
    assert (last["words"], last["utterances"], last["left_out"]) == (34, 4, 0)
    assert torch.isfinite(torch.tensor(last["loss"]))
    assert "| dev | " in (model / "README.md").read_text()
    assert " | 4 | " in (model / "README.md").read_text()


def test_several_dev_sets_give_a_figure_each_and_one_without_words_none(corpus, tmp_path, capsys):
    silent = sung_corpus(tmp_path, "noise", ["a", "b"], seed=5)
    write_manifest(silent, [replace(u, text="") for u in read_manifest(silent)])
    damage(corpus["dev"], "dev-2")
    both = {**corpus, "dev": [corpus["dev"], silent]}
    model = train(both, tmp_path / "run")
    last = epochs(tmp_path / "run")[-1]
    assert (last["utterances/dev"], last["left_out/dev"], last["words/noise"], last["left_out"]) == (3, 1, 0, 1)
    assert last["wer/dev"] <= last["wer"]  # what is said where nothing was adds errors and no words
    assert "wer/noise" not in last
    said = " ".join(capsys.readouterr().out.split())
    assert f"(WER dev {last['wer/dev']:.1%}, noise no words)" in said
    rows = [line for line in (model / "README.md").read_text().splitlines() if line.startswith("| dev")]
    assert [row.split(" | ")[3] for row in rows] == ["5 of 6", "3 of 4", "2"]
    assert rows[2].startswith("| dev: noise | no words | – |")


def test_a_dev_set_without_words_is_judged_by_the_loss(corpus, tmp_path, capsys):
    write_manifest(corpus["dev"], [replace(u, text="") for u in read_manifest(corpus["dev"])])
    model = train(corpus, tmp_path / "run", "training.criterion=wer")
    said = " ".join(capsys.readouterr().out.split())
    assert "the texts of the development set have no words: epochs are chosen by the loss" in said
    assert "the best by loss" in said
    for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines():
        assert not {"wer", "cer"} & json.loads(line, parse_constant=pytest.fail).keys()
    assert "| dev | no words | – | 4 | – |" in (model / "README.md").read_text()


# ------------------------------------------------------------------------------------------ the trained model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that is trained a little, and the sets of its run: of `dev` one recording is damaged, one overstated."""
    folder = tmp_path_factory.mktemp("model")
    corpus = {name: sung_corpus(folder, name, TEXTS, seed=seed) for name, seed in (("train", 1), ("dev", 2))}
    damage(corpus["dev"], "dev-3")
    overstate(corpus["dev"], "dev-7")
    utterances = read_manifest(corpus["dev"])
    write_manifest(corpus["dev"], [replace(u, text="bad quäck") if u.id == "dev-2" else u for u in utterances])
    return train(corpus, folder / "run", "optim.lr=0.01", "training.epochs=8"), corpus["dev"]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_evaluation_leaves_out_names_and_counts_and_agrees_with_validation(model, tmp_path):
    directory, dev = model
    trained = json.loads((directory.parent / "result.json").read_text())["figures"]
    few = run("evaluate", directory, dev, "-o", tmp_path / "few")
    assert isinstance(few.exception, ManifestError)
    assert "dev: 2 of 12 utterances cannot be used" in str(few.exception)
    assert "raise --max-unusable-share" in str(few.exception)
    assert not (tmp_path / "few").exists()
    result = run("evaluate", directory, dev, "-o", tmp_path / "out", "--max-unusable-share", "0.2")
    assert result.exit_code == 0, result.output
    assert "dev: 2 of 12 utterances left out:" in result.output
    assert "  dev-7: " in result.output
    assert "the manifest says 5 s" in result.output
    assert re.search(r"Utterances +10 of 12", result.output)
    score = json.loads((tmp_path / "out" / "score.json").read_text())
    assert (score["utterances"], score["left_out"]) == (10, 2)
    assert score["reference_words"] == trained["words"] == sum(len(u.text.split()) for u in read_manifest(dev)) - 10
    assert (score["wer"], score["cer"]) == (trained["wer"], trained["cer"])
    rows = [json.loads(line) for line in (tmp_path / "out" / "dropped.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["dev-3", "dev-7"]


def test_nothing_to_hear_is_an_error(model, tmp_path):
    directory, dev = model
    write_manifest(tmp_path / "m.jsonl", [u for u in read_manifest(dev) if u.id == "dev-3"])
    result = run("evaluate", directory, tmp_path / "m.jsonl", "--max-unusable-share", "1")
    assert "m: none of 1 utterances can be heard; the first: " in str(result.exception)


def test_a_model_is_tuned_and_calibrated_on_what_can_be_heard(model, tmp_path):
    directory, dev = model
    copy = shutil.copytree(directory, tmp_path / "model")
    (tmp_path / "lm.txt").write_text("a bad cab\nab ba\ndad\n" * 5)
    run("lm", "train", tmp_path / "lm.txt", "-o", tmp_path / "lm.arpa", "--order", "2", "--discount-fallback")
    options = ["--lm", tmp_path / "lm.arpa", "--trials", "4", "--dry-run", "-o", tmp_path / "tune"]
    for command in (["tune", copy, dev, *options], ["calibrate", copy, dev, "-o", tmp_path / "calibrate"]):
        refused = run(*command)
        assert "dev: 2 of 12 utterances cannot be used" in str(refused.exception)
        result = run(*command, "--max-unusable-share", "0.2")
        assert result.exit_code == 0, result.output
        assert "dev: 2 of 12 utterances left out:" in result.output
