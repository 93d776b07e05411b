"""The file of log-probabilities: what is written comes back, what is wrong is named."""

import numpy as np
import pytest
import torch
from helpers import needs_real_speech, real_data

from asr.emissions import EmissionBatch, EmissionTable, emission_table, load_emissions, save_emissions
from asr.errors import ModelError
from asr.text.tokenizer import CharTokenizer
from asr.types import Utterance

TOKENIZER = CharTokenizer(("'", " ", "a"))
LENGTHS = {"u0": 3, "u1": 0, "u2": 5}


def log_probs(num_frames: int, seed: int = 0) -> torch.Tensor:
    logits = torch.randn(num_frames, TOKENIZER.vocab_size, generator=torch.Generator().manual_seed(seed))
    return torch.log_softmax(4 * logits, dim=-1)


def table(**changes) -> EmissionTable:
    rows = {id: log_probs(length, seed=length).half().numpy() for id, length in LENGTHS.items()}
    utterances = [Utterance(id, "a.wav", 0.5 + length, f"a {id}", speaker=None) for id, length in LENGTHS.items()]
    made = emission_table(rows, utterances, TOKENIZER, 0.03, "dev.jsonl")
    return EmissionTable(**{**{name: getattr(made, name) for name in made.__slots__}, **changes})


def test_what_is_written_comes_back(tmp_path):
    written = table()
    save_emissions(tmp_path / "dev.npz", written)
    read = load_emissions(tmp_path / "dev.npz")
    assert (read.ids, read.tokens, read.texts) == (("u0", "u1", "u2"), ("_", "'", " ", "a"), ("a u0", "a u1", "a u2"))
    assert (read.frame_seconds, read.source, read.speakers) == (0.03, "dev.jsonl", ("", "", ""))
    assert read.lengths.tolist() == [3, 0, 5]
    assert read.durations.tolist() == [3.5, 0.5, 5.5]
    assert read.log_probs.dtype == np.float16
    assert np.array_equal(read.log_probs, written.log_probs)
    assert [path.name for path in tmp_path.iterdir()] == ["dev.npz"]


def test_the_optional_part_may_be_absent(tmp_path):
    save_emissions(tmp_path / "dev.npz", table(frame_seconds=None, durations=None, speakers=None, source=""))
    read = load_emissions(tmp_path / "dev.npz")
    assert (read.frame_seconds, read.durations, read.speakers, read.source) == (None, None, None, "")


def test_rows_of_a_batch_have_no_padding():
    batch = EmissionBatch(("a", "b"), torch.stack([log_probs(4, 1), log_probs(4, 2)]), torch.tensor([4, 1]))
    rows = batch.rows()
    assert {id: row.shape for id, row in rows.items()} == {"a": (4, 4), "b": (1, 4)}
    assert np.array_equal(rows["b"], log_probs(4, 2)[:1].half().numpy())


@pytest.mark.parametrize(("max_frames", "ids"), [(100, [("u2", "u0", "u1")]), (6, [("u2",), ("u0", "u1")])])
def test_batches_are_padded_longest_first(max_frames, ids):
    made = table()
    batches = list(made.batches(max_frames))
    assert [batch.ids for batch in batches] == ids
    for batch in batches:
        assert batch.log_probs.dtype == torch.float32
        for row, id in enumerate(batch.ids):
            expected = log_probs(LENGTHS[id], seed=LENGTHS[id]).half().float()
            assert torch.equal(batch.log_probs[row, : batch.lengths[row]], expected)
            assert not batch.log_probs[row, batch.lengths[row] :].any()


def broken(value: float, frame: int = 4) -> np.ndarray:
    numbers = table().log_probs.copy()
    numbers[frame, 1] = value
    return numbers


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"log_probs": broken(np.nan)}, "u2, frame 1: expected log-probabilities.*NaN"),
        ({"log_probs": broken(np.inf, frame=0)}, r"u0, frame 0: .*\+inf"),
        ({"log_probs": broken(3.0)}, "u2, frame 1: .*logits"),
        ({"ids": ("u0", "u1", "u0")}, "'u0' more than once"),
        ({"ids": (), "texts": (), "lengths": np.zeros(0, np.int64)}, "at least one utterance"),
        ({"texts": ("a",)}, "texts: expected 3, one for each id, got 1"),
        ({"lengths": np.array([3, 0, 4])}, "add up to the 8 rows"),
        ({"lengths": np.array([9, -1, 0])}, "shortest -1"),
        ({"tokens": ("_", "'", " ")}, "a column for each of 3 different tokens, got 4"),
        ({"tokens": ("_", "'", " ", " ")}, "3 different tokens"),
        ({"tokens": ("'", "_", " ", "a")}, "expected the blank"),
        ({"frame_seconds": 30.0}, "frame_seconds: expected between 0 and 1"),
    ],
)
def test_what_is_wrong_is_named(changes, message):
    with pytest.raises(ModelError, match=message):
        table(**changes)


def test_minus_infinity_is_a_probability_of_zero():
    numbers = table().log_probs.copy()
    numbers[0] = [0.0, -np.inf, -np.inf, -np.inf]
    table(log_probs=numbers)


def arrays() -> dict[str, np.ndarray]:
    made = table()
    return {name: np.asarray(getattr(made, name)) for name in ("ids", "lengths", "log_probs", "tokens", "texts")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("tokens"), "expected an array 'tokens'"),
        (lambda a: a.update(lengths=a["lengths"].astype(float)), "lengths: expected integers in 1 dimensions"),
        (lambda a: a.update(log_probs=a["log_probs"][None]), "log_probs: expected floats in 2 dimensions"),
        (lambda a: a.update(ids=np.array([1, 2, 3])), "ids: expected text"),
        (lambda a: a.update(texts=np.array(["x"])), r"dev\.npz: texts: expected 3"),
    ],
)
def test_files_from_strangers(tmp_path, change, message):
    values = arrays()
    change(values)
    np.savez(tmp_path / "dev.npz", **values)
    with pytest.raises(ModelError, match=message):
        load_emissions(tmp_path / "dev.npz")


def test_float32_and_other_integers_are_read_too(tmp_path):
    values = arrays()
    values.update(log_probs=values["log_probs"].astype(np.float32), lengths=values["lengths"].astype(np.int32))
    np.savez(tmp_path / "dev.npz", **values)
    assert np.array_equal(load_emissions(tmp_path / "dev.npz").log_probs, table().log_probs)


def test_pickles_and_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "dev.npz", **{**arrays(), "texts": np.array([{}, [], None], dtype=object)})
    with pytest.raises(ModelError, match="without pickles"):
        load_emissions(tmp_path / "dev.npz")
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(ModelError, match="single array"):
        load_emissions(tmp_path / "single.npy")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ModelError, match=r"text\.npz"):
        load_emissions(tmp_path / "text.npz")
    with pytest.raises(ModelError, match="--save-log-probs"):
        load_emissions(tmp_path / "nothing.npz")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_files_cut_short(tmp_path, share):
    save_emissions(tmp_path / "dev.npz", table())
    data = (tmp_path / "dev.npz").read_bytes()
    (tmp_path / "dev.npz").write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelError, match=r"dev\.npz"):
        load_emissions(tmp_path / "dev.npz")


def test_tokens_must_be_the_models():
    table().check_tokens(TOKENIZER)
    with pytest.raises(ModelError, match="expected 'b' in column 3, got 'a'"):
        table().check_tokens(CharTokenizer(("'", " ", "b")))
    with pytest.raises(ModelError, match="expected 5 tokens, got 4"):
        table().check_tokens(CharTokenizer(("'", " ", "a", "b")))


@needs_real_speech
def test_the_shared_file():
    read = load_emissions(real_data() / "emissions" / "librispeech-test.npz")
    assert (len(read.ids), len(read.log_probs), read.tokens[:3]) == (395, 80523, ("_", " ", "a"))
    assert sum(int(batch.lengths.sum()) for batch in read.batches(20_000)) == 80523
