import pytest
from helpers import needs_real_speech, real_data, sung_corpus

from asr.data.manifest import read_manifest
from asr.errors import ConfigError, CorpusError
from asr.recipe import load_recipe

prepare = load_recipe("mini_english").prepare
PARTS = ["speechocean762", "librispeech", "ljtexts"]


@pytest.fixture
def corpora(tmp_path):
    """An ASR_DATA in miniature; one text has a curly apostrophe and a capital."""
    for part in PARTS:
        for split in ("train", "dev", "test"):
            sung_corpus(tmp_path, f"{part}-{split}", ["ab", "ba’d A"])
    sung_corpus(tmp_path, "noise", [""])
    return tmp_path


def test_manifests_are_joined_and_normalised(corpora, tmp_path):
    prepare("mini_english", {}, tmp_path / "out", corpora)
    train = read_manifest(tmp_path / "out" / "train.jsonl")
    assert [u.text for u in train] == ["ab", "ba'd a"] * 3
    assert len(read_manifest(tmp_path / "out" / "dev.jsonl")) == 4
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "dev.jsonl",
        "librispeech-test.jsonl",
        "noise.jsonl",
        "speechocean762-test.jsonl",
        "train.jsonl",
    ]


def test_what_is_missing_is_named(corpora, tmp_path):
    (corpora / "librispeech-train.jsonl").unlink()
    with pytest.raises(CorpusError, match=r"librispeech-train\.jsonl"):
        prepare("mini_english", {}, tmp_path / "out", corpora)
    assert not (tmp_path / "out").exists()
    with pytest.raises(CorpusError, match="ASR_DATA"):
        prepare("mini_english", {}, tmp_path / "out", None)


def test_options_it_does_not_have(corpora, tmp_path):
    with pytest.raises(ConfigError, match="speed"):
        prepare("mini_english", {"speed": 1}, tmp_path / "out", corpora)
    with pytest.raises(ConfigError, match="maxi"):
        prepare("maxi_english", {}, tmp_path / "out", corpora)


@needs_real_speech
def test_real_speakers_of_the_tests_are_in_no_training(tmp_path):
    prepare("mini_english", {}, tmp_path / "out", real_data())
    speakers = {p.stem: {u.speaker for u in read_manifest(p)} for p in (tmp_path / "out").glob("*.jsonl")}
    for test in ("librispeech-test", "speechocean762-test"):
        assert not speakers[test] & (speakers["train"] | speakers["dev"])
