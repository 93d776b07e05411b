"""Splits: no speaker, or no text, in two parts; sizes as near as whole groups allow; the same for the same seed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.data.splitting import Size, split
from asr.errors import ConfigError, CorpusError
from asr.types import Utterance

TENTHS = {"dev": Size(share=0.1), "test": Size(share=0.1)}


def corpus(num_speakers: int, per_speaker: int, seconds: float = 6.0) -> list[Utterance]:
    return [
        Utterance(f"{s}-{n}", "a.wav", seconds, f"text {n}", speaker=f"s{s}")
        for s in range(num_speakers)
        for n in range(per_speaker)
    ]


def minutes(part) -> float:
    return sum(utterance.duration for utterance in part) / 60


@pytest.mark.parametrize("by", ["speaker", "text"])
def test_parts_share_nothing_and_come_close(by):
    found = split(corpus(40, 20), TENTHS, by)
    assert list(found.parts) == ["train", "dev", "test"]
    assert sum(map(len, found.parts.values())) == 800
    keys = [key for part in found.parts.values() for key in {getattr(utterance, by) for utterance in part}]
    assert len(keys) == len(set(keys))
    assert [minutes(part) for part in found.parts.values()] == pytest.approx([64, 8, 8])


def test_the_order_is_the_manifests():
    utterances = corpus(10, 3)
    for part in split(utterances, TENTHS, "speaker").parts.values():
        assert list(part) == [utterance for utterance in utterances if utterance in part]


def test_the_seed_decides_and_nothing_else():
    utterances = corpus(30, 4)
    assert split(utterances, TENTHS, "speaker", 1) == split(utterances, TENTHS, "speaker", 1)
    assert split(utterances, TENTHS, "speaker", 1).parts != split(utterances, TENTHS, "speaker", 2).parts


def test_texts_are_the_same_whatever_their_case_and_punctuation():
    texts = ["Go on!", "go on", "“Go” on…", "stop", "", "", "wait"]
    utterances = [Utterance(str(n), "a.wav", 1.0, text) for n, text in enumerate(texts)]
    found = split(utterances, {"dev": Size(seconds=1.0)}, "text")
    assert found.num_groups == 5  # empty texts have nothing in common
    assert (
        len({part for part, us in found.parts.items() for u in us if "o" in u.text.lower() and "g" in u.text.lower()})
        == 1
    )


def test_both_keeps_chains_together():
    utterances = [
        Utterance(id, "a.wav", 1.0, text, speaker=speaker)
        for id, speaker, text in [("1", "a", "x"), ("2", "b", "x"), ("3", "b", "y"), ("4", "c", "y"), ("5", "d", "z")]
    ]
    found = split(utterances, {"dev": Size(share=0.2)}, "both")
    assert sorted(len(part) for part in found.parts.values()) == [1, 4]


def test_few_and_unequal_groups_fill_every_part():
    utterances = [Utterance(str(n), "a.wav", d, "x", speaker=str(n)) for n, d in enumerate([95.0, 3.0, 2.0])]
    found = split(utterances, TENTHS, "speaker")
    assert {name: [u.id for u in part] for name, part in found.parts.items()}["train"] == ["0"]
    assert all(len(part) == 1 for part in found.parts.values())


@given(st.lists(st.tuples(st.integers(0, 8), st.floats(0.1, 30)), min_size=3, max_size=40), st.integers(0, 3))
def test_any_split_is_whole_or_refused(drawn, seed):
    utterances = [Utterance(str(n), "a", d, "x", speaker=str(s)) for n, (s, d) in enumerate(drawn)]
    if len({s for s, _ in drawn}) < 3:
        with pytest.raises(CorpusError, match="expected one speaker or more for each of train, dev, test"):
            split(utterances, TENTHS, "speaker", seed)
        return
    parts = split(utterances, TENTHS, "speaker", seed).parts
    assert all(parts.values())
    assert sorted(u.id for part in parts.values() for u in part) == sorted(u.id for u in utterances)
    spoken = [speaker for part in parts.values() for speaker in {u.speaker for u in part}]
    assert len(spoken) == len(set(spoken))


def test_one_speaker_is_told_what_to_do():
    with pytest.raises(CorpusError, match=r"got 1 in all.*split with --by text, ask for fewer parts \(--test 0\)"):
        split(corpus(1, 20), TENTHS, "speaker")
    assert all(split(corpus(1, 20), TENTHS, "text").parts.values())
    with pytest.raises(CorpusError, match=r"1 of 2 name none, such as b; split with --by text"):
        split([Utterance("a", "a", 1.0, "x", speaker="s"), Utterance("b", "a", 1.0, "y")], TENTHS, "speaker")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10%", Size(share=0.1)),
        ("0.1", Size(share=0.1)),
        ("30min", Size(seconds=1800.0)),
        ("90 s", Size(seconds=90.0)),
        ("1.5h", Size(seconds=5400.0)),
        ("0", Size(share=0.0)),
    ],
)
def test_sizes(text, size):
    assert Size.parse("--dev", text) == size


@pytest.mark.parametrize("text", ["10", "ten", "-1%", "", "5 days", "nan", "1e3s"])
def test_sizes_that_are_none(text):
    with pytest.raises(ConfigError, match="--dev: expected a share such as 10%, or a duration"):
        Size.parse("--dev", text)


def test_sizes_that_leave_nothing():
    for sizes in ({"dev": Size(share=0.5), "test": Size(share=0.5)}, {"dev": Size(seconds=9999.0)}, {"dev": Size(0.0)}):
        with pytest.raises(ConfigError, match="expected sizes that leave audio for training"):
            split(corpus(5, 2), sizes, "speaker")
    with pytest.raises(CorpusError, match="got none"):
        split([], TENTHS, "speaker")
