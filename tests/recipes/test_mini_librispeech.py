"""mini_librispeech in miniature, as its archives have it."""

import pytest
from corpus_imitation import pack, run_recipe, serving, speak

from asr.data.manifest import read_manifest
from asr.errors import ConfigError
from asr.recipe import load_recipe

TREE = {
    "train-clean-5": [("1088", "134315", ["A BAD CAB", "DAB A CAB", "ADD A CAB", "CAB"])],
    "dev-clean-2": [("1272", "135031", ["BAD", "A CAB"])],
}
SPEAKERS = (
    "; ID | SEX | SUBSET | MINUTES | NAME\n1088 | F | train-clean-5 | 1.0 | A\n1272 | M | dev-clean-2 | 1.0 | B\n"
)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    """Archives under the addresses that openslr.org has."""
    root = tmp_path_factory.mktemp("corpus")
    for part, ((reader, chapter, lines),) in TREE.items():
        folder = root / "LibriSpeech" / part / reader / chapter
        for position, text in enumerate(lines):
            speak(folder / f"{reader}-{chapter}-{position:04d}.flac", text)
        transcript = "".join(f"{reader}-{chapter}-{i:04d} {text}\n" for i, text in enumerate(lines))
        (folder / f"{reader}-{chapter}.trans.txt").write_text(transcript)
    (root / "LibriSpeech" / "SPEAKERS.TXT").write_text(SPEAKERS)
    folder = tmp_path_factory.mktemp("mirror")
    for part in TREE:
        archive = folder / "resources" / "31" / f"{part}.tar.gz"
        pack(archive, root, f"LibriSpeech/{part}", "LibriSpeech/SPEAKERS.TXT")
    return folder


def test_from_download_to_a_score(mirror, tmp_path):
    with serving(mirror) as url:
        scores = run_recipe("mini_librispeech", [f"+data.options.mirror={url}"], tmp_path)
    assert scores["dev-clean-2"]["reference_words"] == 3
    train = read_manifest(tmp_path / "prepared" / "train-clean-5.jsonl")
    assert [u.text for u in train] == ["a bad cab", "dab a cab", "add a cab", "cab"]
    assert {(u.speaker, u.extra["gender"]) for u in train} == {("1088", "female")}
    audio = tmp_path / "downloads/mini_librispeech/LibriSpeech/train-clean-5/1088/134315/1088-134315-0000.flac"
    assert train[0].audio_filepath == str(audio)


def test_it_has_two_parts(tmp_path):
    with pytest.raises(ConfigError, match="expected some of train-clean-5, dev-clean-2, got dev-clean"):
        load_recipe("mini_librispeech").prepare("mini_librispeech", {"parts": ["dev-clean"]}, tmp_path, None)
