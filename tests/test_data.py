"""The sampler, the audio cache and batches."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import SAMPLE_RATE, sung_corpus
from hypothesis import given
from hypothesis import strategies as st

from asr.augment import AdditiveNoise
from asr.data.ahead import map_ahead
from asr.data.audio_cache import AudioStore
from asr.data.dataset import SpeechDataset, load_batches
from asr.data.manifest import read_manifest
from asr.data.sampler import Curriculum, Draw, fill_batches, padding_share, plan_epoch, plan_in_order
from asr.errors import AudioError

durations = st.lists(st.floats(0.1, 30.0), min_size=1, max_size=60)


@given(durations, st.integers(0, 3))
def test_a_plan_has_every_utterance_once_within_the_budget(lengths, epoch):
    plan = plan_epoch(np.array(lengths), budget=60.0, seed=7, epoch=epoch)
    assert sorted(index for batch in plan for index in batch) == list(range(len(lengths)))
    for batch in plan:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= 60.0 + 1e-9


def test_a_plan_is_a_function_of_seed_and_epoch():
    lengths = np.random.default_rng(0).uniform(1, 15, 500)
    plans = [list(plan_epoch(lengths, 120.0, seed, epoch)) for seed, epoch in ((1, 3), (1, 3), (1, 4), (2, 3))]
    assert plans[0] == plans[1]
    assert plans[0] != plans[2]
    assert plans[0] != plans[3]


def test_sortagrad_goes_from_short_to_long_in_the_first_epochs_only():
    lengths = np.random.default_rng(0).uniform(1, 15, 500)
    plans = [list(plan_epoch(lengths, 120.0, 1, epoch, Curriculum(sorted_epochs=2))) for epoch in range(3)]
    for plan in plans[:2]:
        longest = np.array([lengths[batch].max() for batch in plan])
        assert (longest[1:] > 0.96 * longest[:-1]).all()  # what is sorted was shaken by 2 % each
    assert plans[0] != plans[1]  # the lengths are shaken anew
    assert plans[2] == list(plan_epoch(lengths, 120.0, 1, 2))
    assert all(sorted(i for batch in plan for i in batch) == list(range(500)) for plan in plans)


def test_a_growing_curriculum_by_hand():
    """c(t) = √(t (1 − 0.25²) / 2 + 0.25²) of eight utterances: 0.25, 0.729 and 1, so 2, 6 and 8."""
    lengths = np.array([1.0, 8.0, 3.0, 4.0, 5.0, 6.0, 7.0, 2.0])
    curriculum = Curriculum(growing_epochs=2, first_share=0.25)
    used = [sorted(i for batch in plan_epoch(lengths, 9.0, 1, e, curriculum) for i in batch) for e in range(4)]
    assert used == [[0, 7], [0, 2, 3, 4, 5, 7], list(range(8)), list(range(8))]
    assert list(plan_epoch(lengths, 9.0, 1, 2, curriculum)) == list(plan_epoch(lengths, 9.0, 1, 2))


@given(durations, st.integers(1, 5), st.floats(0.001, 1.0))
def test_a_growing_curriculum_never_shrinks(lengths, growing_epochs, first_share):
    curriculum = Curriculum(growing_epochs=growing_epochs, first_share=first_share)
    sizes = [sum(map(len, plan_epoch(np.array(lengths), 60.0, 7, e, curriculum))) for e in range(growing_epochs + 1)]
    assert sizes == sorted(sizes)
    assert sizes[0] >= 1
    assert sizes[-1] == len(lengths)


@pytest.mark.parametrize(
    "options", [{"sorted_epochs": -1}, {"growing_epochs": -1}, {"first_share": 0.0}, {"first_share": 1.1}]
)
def test_curriculum_options_are_checked(options):
    with pytest.raises(ValueError, match="expected"):
        Curriculum(**options)


def test_padding_by_hand():
    """Batches of 1 s beside 3 s, and 2 s alone: 2 s of 8 are padding. What is in no batch does not count."""
    assert padding_share(np.array([1.0, 3.0, 2.0, 9.0]), [[0, 1], [2]]) == pytest.approx(2 / 8)
    assert padding_share(np.zeros(0), []) == 0.0


@pytest.mark.parametrize("budget", [60.0, 160.0, 600.0])
def test_padding_is_below_five_percent(budget):
    """On durations as those of read speech: 4,000 utterances, gamma-distributed around 6 s."""
    lengths = np.random.default_rng(0).gamma(4.0, 1.5, 4000).clip(0.5, 30)
    for epoch in range(3):
        assert padding_share(lengths, plan_epoch(lengths, budget, 0, epoch)) < 0.05


@given(durations, st.floats(1.0, 200.0))
def test_batches_are_cut_as_late_as_the_budget_allows(lengths, budget):
    order = list(np.argsort(lengths, kind="stable"))
    batches, longest = [], 0.0
    for index in order:
        longest = max(longest, lengths[index])
        if not batches or longest * (len(batches[-1]) + 1) > budget:
            batches.append([])
            longest = lengths[index]
        batches[-1].append(index)
    assert list(fill_batches(lengths, order, budget)) == batches


def test_a_slice_of_a_plan_is_the_rest_of_it():
    plan = plan_epoch(np.random.default_rng(0).uniform(1, 15, 100), 60.0, 1, 0)
    assert list(plan[3:]) == list(plan)[3:]
    assert plan[3:][0] == plan[3]
    assert plan[-1] == list(plan)[-1]


def test_an_utterance_longer_than_the_budget_is_a_batch_of_its_own():
    assert list(fill_batches([1.0, 50.0, 1.0], [0, 2, 1], budget=10.0)) == [[0, 2], [1]]
    assert list(fill_batches([], [], budget=10.0)) == []


def test_evaluation_begins_with_the_longest():
    assert list(plan_in_order(np.array([1.0, 9.0, 5.0]), budget=10.0)) == [[1], [2, 0]]


@pytest.fixture
def utterances(tmp_path):
    return read_manifest(sung_corpus(tmp_path, "train", ["ab", "bad cab", "d", "cab dab"]))


def test_cached_and_read_waveforms_are_the_same_to_the_bit(utterances):
    cached, read = AudioStore(utterances, SAMPLE_RATE), AudioStore(utterances, SAMPLE_RATE)
    assert cached.fill(budget_bytes=10**7, num_threads=2)
    for index in range(len(utterances)):
        assert np.array_equal(cached.waveform(index), read.waveform(index))
        assert cached.waveform(index).dtype == np.float32


def test_a_cache_over_its_budget_is_not_filled(utterances):
    store = AudioStore(utterances, SAMPLE_RATE)
    assert not store.fill(store.expected_bytes() - 1, num_threads=1)
    assert store.fill(store.expected_bytes(), num_threads=1)


def everything(dataset: SpeechDataset, plan: list[list[Draw]], num_workers: int) -> list[torch.Tensor]:
    return [
        tensor
        for batch in load_batches(dataset, plan, num_workers)
        for tensor in (
            batch.waveforms,
            batch.waveform_lengths,
            batch.targets,
            batch.target_lengths,
            torch.tensor(batch.seeds),
        )
    ]


def test_augmented_batches_do_not_depend_on_the_number_of_workers(utterances):
    store = AudioStore(utterances, SAMPLE_RATE)
    noise = AdditiveNoise(store, 0.7, 0.0, 20.0)
    dataset = SpeechDataset(store, [[1], [2, 3], [], [4]], seed=5, noise=noise)
    plan = [[Draw(0, 2, 0.9), Draw(3, 2, 1.1)], [Draw(1, 2)], [Draw(2, 2)]]
    alone = everything(dataset, plan, num_workers=0)
    for num_workers in (1, 3):
        parallel = everything(dataset, plan, num_workers)
        assert all(torch.equal(a, b) for a, b in zip(alone, parallel, strict=True))
    later = everything(dataset, [[Draw(d.index, 3, d.speed) for d in batch] for batch in plan], 0)
    assert not all(torch.equal(a, b) for a, b in zip(alone, later))


def test_batches_are_padded_with_zeros(utterances):
    dataset = SpeechDataset(AudioStore(utterances, SAMPLE_RATE), [[1], [2, 3], [], [4]])
    (batch,) = load_batches(dataset, [[Draw(0, 0), Draw(1, 0), Draw(2, 0)]], 0)
    assert batch.ids == ("train-0", "train-1", "train-2")
    assert batch.targets.tolist() == [[1, 0], [2, 3], [0, 0]]
    assert batch.target_lengths.tolist() == [1, 2, 0]
    for row, length in enumerate(batch.waveform_lengths.tolist()):
        assert batch.waveforms[row, length:].eq(0).all()
        assert batch.waveforms[row, :length].ne(0).any()


def test_an_error_in_a_worker_arrives_as_it_is(utterances, tmp_path):
    (tmp_path / "audio" / "train-1.wav").write_bytes(b"no audio at all")
    dataset = SpeechDataset(AudioStore(utterances, SAMPLE_RATE), [[]] * 4)
    with pytest.raises(AudioError, match=r"train-1\.wav"):
        list(load_batches(dataset, [[Draw(0, 0)], [Draw(1, 0)]], num_workers=2))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_unreadable_audio_is_left_out_where_that_is_wanted(utterances, tmp_path, num_workers):
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    broken = replace(utterances[0], id="broken", audio_filepath=str(tmp_path / "broken.wav"))
    dataset = SpeechDataset(AudioStore([broken, utterances[1]], SAMPLE_RATE), [(), ()])
    unreadable = {}
    batches = list(load_batches(dataset, [[Draw(0, 0), Draw(1, 0)], [Draw(0, 0)]], num_workers, unreadable))
    assert [batch.ids for batch in batches] == [(utterances[1].id,)]
    assert "broken.wav" in unreadable["broken"]


def test_targets_for_each_utterance(utterances):
    with pytest.raises(ValueError, match="a target for each of 4 utterances, got 1"):
        SpeechDataset(AudioStore(utterances, SAMPLE_RATE), [[1]])


def test_an_abandoned_iterator_is_closed_without_waiting_for_threads(monkeypatch):
    """The garbage collector closes it, perhaps inside a lock that joining a thread needs: that hung a process."""
    begun, go_on = threading.Event(), threading.Event()

    def work(item):
        begun.set()
        assert go_on.wait(10)
        return item

    results = map_ahead(work, range(100), num_threads=1)
    taking = threading.Thread(target=lambda: next(results))
    taking.start()
    assert begun.wait(10)
    go_on.set()
    taking.join()
    go_on.clear()  # the second item is being worked on, or will be
    monkeypatch.setattr(threading.Thread, "join", lambda *_: pytest.fail("waits for a thread"))
    results.close()
    go_on.set()


def test_work_ahead_comes_in_order_and_errors_at_their_place():
    def work(item):
        if item == 3:
            raise KeyError(item)
        return item

    results = map_ahead(work, range(6), num_threads=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError):
        next(results)
