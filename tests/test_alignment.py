"""Forced alignment against every path there is, words by hand, and greedy words against forced alignment."""

import itertools
import math
import re
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import needs_real_speech, real_data
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

import asr
from asr.ctc import collapse, required_frames
from asr.decoding.alignment import TokenRuns, align, words_from_runs
from asr.decoding.alignment_kernel import best_path
from asr.decoding.greedy import GreedyDecoder
from asr.decoding.word_aligner import WordAligner
from asr.errors import ConfigError, ModelError, TargetError
from asr.text.tokenizer import CharTokenizer

TOKENIZER = CharTokenizer.train(["ab ba"])  # <blank> = 0, space = 1, a = 2, b = 3
BLANK, SPACE, A, B = range(4)


def random_log_probs(num_frames: int, seed: int, vocab_size: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(num_frames, vocab_size, generator=generator)).log_softmax(-1)


def best_path_by_hand(log_probs: torch.Tensor, tokens: list[int], blank_id: int = BLANK) -> tuple[int, ...]:
    """The likeliest of all paths that spell `tokens`, by trying every one."""
    num_frames, vocab_size = log_probs.shape
    paths = itertools.product(range(vocab_size), repeat=num_frames)
    spelling = [path for path in paths if collapse(path, blank_id) == tokens]
    return max(spelling, key=lambda path: sum(float(log_probs[t, label]) for t, label in enumerate(path)))


def path_of(runs: TokenRuns, num_frames: int) -> tuple[int, ...]:
    path = [BLANK] * num_frames
    for token, start, end in zip(runs.tokens, runs.starts, runs.ends):
        path[start:end] = [int(token)] * (end - start)
    return tuple(path)


def small_cases():
    """Every labelling of up to three tokens out of two, wherever it fits into up to six frames."""
    for length in (1, 2, 3):
        for tokens in itertools.product((1, 2), repeat=length):
            yield from ((list(tokens), n) for n in range(required_frames(tokens), 7))


@pytest.mark.parametrize(("tokens", "num_frames"), small_cases())
def test_it_is_the_best_of_all_paths(tokens, num_frames):
    log_probs = random_log_probs(num_frames, seed=num_frames)
    runs = align(log_probs, tokens, "u")
    assert runs.tokens.tolist() == tokens
    assert path_of(runs, num_frames) == best_path_by_hand(log_probs, tokens)


@pytest.mark.parametrize("impossible", [(0, 1), (2, 0), (4, 2)])
def test_it_goes_around_probabilities_of_zero(impossible):
    log_probs = random_log_probs(5, seed=7)
    log_probs[impossible] = -math.inf
    assert path_of(align(log_probs, [1, 2], "u"), 5) == best_path_by_hand(log_probs, [1, 2])


def test_a_matrix_by_hand():
    probs = torch.tensor(  # blank, space, a, b
        [
            [0.7, 0.1, 0.1, 0.1],
            [0.2, 0.1, 0.6, 0.1],
            [0.1, 0.1, 0.7, 0.1],
            [0.1, 0.1, 0.1, 0.7],
            [0.1, 0.7, 0.1, 0.1],
            [0.5, 0.1, 0.3, 0.1],
        ]
    )
    runs = align(probs.log(), [A, B, SPACE, A], "u")
    assert runs.starts.tolist() == [1, 3, 4, 5]
    assert runs.ends.tolist() == [3, 4, 5, 6]
    assert np.exp(runs.log_confidences) == pytest.approx([0.7, 0.7, 0.7, 0.3])
    first, second = words_from_runs(runs, TOKENIZER, 0.03)
    assert (first.text, second.text) == ("ab", "a")
    assert (first.start, first.end, second.start, second.end) == pytest.approx((0.03, 0.12, 0.15, 0.18))
    assert (first.confidence, second.confidence) == pytest.approx((0.7 * 0.7, 0.3))
    assert words_from_runs(runs, TOKENIZER, 0.03, audio_seconds=0.16)[1].end == 0.16


def test_temperature_changes_confidences_and_no_times():
    log_probs = random_log_probs(6, seed=1)
    plain, tempered = (align(log_probs, [1, 2], "u", confidence_temperature=t) for t in (1.0, 2.0))
    assert plain.starts.tolist() == tempered.starts.tolist()
    frames = range(plain.starts[0], plain.ends[0])
    roots = [log_probs[t].exp().sqrt() for t in frames]  # softmax(log p / 2) is proportional to sqrt(p)
    assert math.exp(tempered.log_confidences[0]) == pytest.approx(max(float(r[1] / r.sum()) for r in roots), rel=1e-5)
    with pytest.raises(ConfigError, match="above 0, got 0"):
        align(log_probs, [1, 2], "u", confidence_temperature=0.0)


@pytest.mark.parametrize(
    "change",
    [lambda x: x.half(), lambda x: x.double(), lambda x: x.t().contiguous().t(), lambda x: x.clone().requires_grad_()],
)
def test_any_float_type_and_memory_layout(change):
    log_probs = random_log_probs(6, seed=2)
    assert align(change(log_probs), [1, 2], "u").starts.tolist() == align(log_probs, [1, 2], "u").starts.tolist()


def test_a_blank_that_is_not_the_first_label():
    log_probs = random_log_probs(5, seed=3)
    swapped = log_probs[:, [2, 1, 0]]
    assert align(swapped, [1, 0], "u", blank_id=2).ends.tolist() == align(log_probs, [1, 2], "u").ends.tolist()


@pytest.mark.parametrize("num_frames", [0, 4])
def test_nothing_to_align(num_frames):
    assert len(align(random_log_probs(num_frames, seed=0), [], "u").tokens) == 0


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([1, 1, 1], "has 4 frames, its 3 labels need 5"),
        ([1, 3], "expected labels in 0…2, got 3"),
        ([1, -1], "got -1"),
        ([1, 0], "holds the blank"),
    ],
)
def test_what_does_not_fit_names_the_utterance(tokens, message):
    with pytest.raises(TargetError, match=message) as error:
        align(random_log_probs(4, seed=0), tokens, "u-17")
    assert "u-17" in str(error.value)


def test_text_of_probability_zero_and_broken_numbers_name_the_utterance():
    log_probs = random_log_probs(4, seed=0)
    log_probs[:, 2] = -math.inf
    with pytest.raises(TargetError, match="no path of utterance u-17"):
        align(log_probs, [1, 2], "u-17")
    for broken in (math.nan, math.inf):
        log_probs[1, 0] = broken
        with pytest.raises(ModelError, match="u-17"):
            align(log_probs, [1], "u-17")


def test_a_table_of_more_than_two_to_the_31_states_in_bounded_memory():
    num_frames, num_tokens = 60_000, 20_000  # half an hour of 30 ms frames
    assert num_frames * (2 * num_tokens + 1) > 2**31
    generator = np.random.default_rng(0)
    starts = np.sort(generator.choice(num_frames // 2, num_tokens, replace=False)) * 2  # never side by side
    tokens = generator.integers(1, 4, num_tokens)
    labels = np.zeros(num_frames, dtype=np.int64)
    labels[starts] = tokens
    log_probs = torch.full((num_frames, 4), math.log(0.1))
    log_probs[torch.arange(num_frames), torch.from_numpy(labels)] = math.log(0.7)
    tracemalloc.start()
    runs = align(log_probs, tokens.tolist(), "u")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert runs.starts.tolist() == starts.tolist()
    assert runs.ends.tolist() == (starts + 1).tolist()
    assert peak < 50e6  # the table at a byte for each state would be 2.4 GB


def score(log_probs: torch.Tensor, path: Sequence[int]) -> float:
    return float(log_probs.double()[torch.arange(len(path)), torch.tensor(path)].sum())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=40), st.integers(0, 1000), st.integers(0, 2**31))
def test_it_is_as_likely_as_the_path_of_torchaudio(tokens, num_spare, seed):
    forced_align = pytest.importorskip("torchaudio").functional.forced_align
    log_probs = random_log_probs(required_frames(tokens) + num_spare, seed, vocab_size=5)
    ours = path_of(align(log_probs, tokens, "u"), len(log_probs))
    theirs = forced_align(log_probs[None], torch.tensor([tokens]), blank=BLANK)[0][0].tolist()
    assert collapse(ours) == tokens
    # ours adds up in float64, theirs in float32
    assert score(log_probs, ours) == pytest.approx(score(log_probs, theirs), rel=1e-6)


class Called(TorchFunctionMode):
    """Notes the names of what is called in torch."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.add(getattr(func, "__name__", str(func)))
        return func(*args, **(kwargs or {}))


def test_torch_computes_nothing():
    """Its threads would meet at the end of each operation, and on a busy machine wait milliseconds for one another."""
    log_probs = random_log_probs(3000, seed=0)
    decoder = GreedyDecoder(CharTokenizer.train(["a"]), 0.03, confidence_temperature=2.0)
    aligner = WordAligner(decoder.tokenizer, 0.03, temperature=2.0, utterance="u")
    with Called() as called:
        align(log_probs, [1, 2, 1], "u", confidence_temperature=2.0)
        aligner.accept(log_probs)
        aligner.settle([1, 2, 1, 2], num_stable=4)
        aligner.finish([1, 2, 1, 2])
        hypothesis = decoder.decode(log_probs[None], torch.tensor([3000]), ["u"])[0]
    assert hypothesis.words
    moves = {"__get__", "detach", "cpu", "numpy", "tolist", "tensor", "__getitem__", "__iter__", "unbind", "dim"}
    assert called.names <= moves


def test_nothing_of_the_package_imports_torchaudio():
    imports = re.compile(r"^\s*(?:import|from) torchaudio\b", re.MULTILINE)
    sources = list(Path(asr.__file__).parent.rglob("*.py"))
    assert len(sources) > 100
    assert [path.name for path in sources if imports.search(path.read_text(encoding="utf-8"))] == []


paths = st.lists(st.integers(0, 3), max_size=30)


@settings(max_examples=50)
@given(paths, st.integers(0, 2**31))
def test_greedy_words_are_those_of_forced_alignment(path, seed):
    # no two labels of a frame are equally likely, so that the best path is unique
    noise = torch.rand(len(path), 4, generator=torch.Generator().manual_seed(seed))
    noise[torch.arange(len(path)), torch.tensor(path, dtype=torch.int64)] = 2.0
    log_probs = noise.log_softmax(-1)
    decoder = GreedyDecoder(TOKENIZER, 0.03, confidence_temperature=1.7)
    hypothesis = decoder.decode(log_probs[None], torch.tensor([len(path)]), ["u"])[0]
    runs = align(log_probs, hypothesis.tokens, "u", confidence_temperature=1.7)
    for word, aligned in zip(hypothesis.words, words_from_runs(runs, TOKENIZER, 0.03), strict=True):
        assert (word.text, word.start, word.end) == (aligned.text, aligned.start, aligned.end)
        assert word.confidence == pytest.approx(aligned.confidence, rel=1e-5)


# ---- bridges


BRIDGE = -1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([1, 2, BRIDGE]), min_size=1, max_size=3), st.integers(0, 3), st.integers(0, 2**31))
def test_a_bridge_is_as_likely_as_the_likeliest_label(tokens, num_spare, seed):
    log_probs = random_log_probs(required_frames(tokens) + num_spare, seed)
    bridge = log_probs.max(dim=1).values - 0.05
    labels = [3 if token == BRIDGE else token for token in tokens]
    positions = best_path(log_probs.numpy(), np.array(labels, dtype=np.uint32), bridge.numpy(), BLANK)
    ours = [BLANK if position < 0 else labels[position] for position in positions.tolist()]
    with_bridge = torch.cat((log_probs, bridge[:, None]), dim=1)
    least = score(with_bridge, best_path_by_hand(with_bridge, labels))
    assert score(with_bridge, ours) >= least - 1e-6  # two bridges may touch, two equal labels may not
    assert [positions.tolist().count(index) > 0 for index in range(len(tokens))] == [True] * len(tokens)


def emitting(path: str) -> torch.Tensor:
    """(T, 4) log-probabilities of a model that is sure of a path: `.` blank, `_` space, a, b."""
    probs = torch.full((len(path), 4), 0.01)
    probs[torch.arange(len(path)), torch.tensor(["._ab".index(label) for label in path])] = 0.97
    return probs.log()


def places(path: str, tokens: list[int]) -> list[str]:
    """What of the path each token has."""
    runs = align(emitting(path), tokens, "u", bridge_id=BRIDGE)
    return [path[start:end] for start, end in zip(runs.starts, runs.ends)]


def test_a_bridge_takes_what_its_neighbours_leave():
    assert places("..a..b..a.b..b..", [A, BRIDGE, B]) == ["a", "b..a.b", "b"]
    assert places("..ab..a..", [BRIDGE, A]) == ["ab", "a"]
    assert places("..ab..a..", [A, BRIDGE]) == ["a", "b..a"]
    assert places("..a_b.a_a..", [A, SPACE, BRIDGE, SPACE, A]) == ["a", "_", "b.a", "_", "a"]
    assert places("..ab..a..", [BRIDGE]) == ["ab..a"]


def test_a_bridge_over_nothing_stands_in_the_middle():
    runs = align(emitting("..a......b.."), [A, BRIDGE, B], "u", bridge_id=BRIDGE)
    assert (runs.starts.tolist(), runs.ends.tolist()) == ([2, 5, 9], [3, 6, 10])
    runs = align(emitting("..ab.."), [A, B, BRIDGE, BRIDGE], "u", bridge_id=BRIDGE)
    assert (runs.starts.tolist(), runs.ends.tolist()) == ([2, 3, 4, 5], [3, 4, 5, 6])


def test_bridges_side_by_side_share_alike():
    runs = align(emitting("..a.bbabab.a.."), [A, BRIDGE, BRIDGE, A], "u", bridge_id=BRIDGE)
    assert (runs.starts.tolist(), runs.ends.tolist()) == ([2, 4, 7, 11], [3, 7, 10, 12])


def test_a_bridge_has_no_confidence_and_leaves_its_neighbours_theirs():
    runs = align(emitting("..a.b.a.."), [A, BRIDGE, A], "u", bridge_id=BRIDGE)
    assert np.exp(runs.log_confidences) == pytest.approx([0.97, 0.0, 0.97])


def test_bridges_need_frames_too():
    with pytest.raises(TargetError, match="no path of utterance u-17 spells its 3 labels"):
        align(emitting("ab"), [A, BRIDGE, B], "u-17", bridge_id=BRIDGE)
    with pytest.raises(TargetError, match=r"expected labels in 0…3, got -1"):
        align(emitting("ab"), [A, BRIDGE], "u-17")


# ---- real speech


@needs_real_speech
def test_greedy_is_within_a_frame_of_forced_alignment_on_real_speech():
    data = np.load(real_data() / "emissions" / "librispeech-test.npz")
    tokenizer = CharTokenizer(tuple(data["tokens"][1:].tolist()))
    decoder = GreedyDecoder(tokenizer, 0.03)
    ends = np.cumsum(data["lengths"])
    all_log_probs = torch.from_numpy(data["log_probs"][: ends[29]].astype(np.float32))
    errors = []
    for id, start, end in zip(data["ids"][:30].tolist(), ends - data["lengths"], ends):
        log_probs = all_log_probs[start:end]
        hypothesis = decoder.decode(log_probs[None], torch.tensor([len(log_probs)]), [id])[0]
        aligned = words_from_runs(align(log_probs, hypothesis.tokens, id), tokenizer, 0.03)
        for word, other in zip(hypothesis.words, aligned, strict=True):
            errors += [abs(word.start - other.start), abs(word.end - other.end)]
    assert len(errors) > 500
    assert np.mean(errors) / 0.03 <= 0.01  # frames; only ties between labels, float16's, can differ
