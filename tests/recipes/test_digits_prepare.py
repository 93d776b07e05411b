"""The recipe `digits`: what it writes, that it writes it again, and that no voice or take is on both sides."""

import importlib
import io
import os
import sys
import tarfile
import threading
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from asr.audio import probe, read_audio, write_audio
from asr.data.manifest import read_manifest
from asr.errors import ConfigError, CorpusError
from asr.recipe import load_recipe

load_recipe("digits")  # as the command line does


def load(module):
    return importlib.import_module(f"asr_recipe_digits.{module}")


common, fsdd, joining, prepare, room = map(load, ["common", "fsdd", "joining", "prepare", "room"])
synthesis, synthetic, voices = map(load, ["synthesis", "synthetic", "voices"])

SPLITS = ("train", "dev", "test-strings", "test-singles")


def read_corpus(folder):
    return {split: read_manifest(folder / f"{split}.jsonl") for split in SPLITS}


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- options -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("timit", {}, "expected synthetic or fsdd, got 'timit'"),
        ("synthetic", {"num_trian": 5}, "unknown option 'num_trian'.*num_train"),
        ("synthetic", {"held_out_speaker": "theo"}, "unknown option 'held_out_speaker'"),
        ("synthetic", {"num_train": "5"}, "num_train: expected int, got '5'"),
        ("synthetic", {"num_train": True}, "num_train: expected int, got True"),
        ("synthetic", {"num_test_singles": 0}, "num_test_singles: expected 1 or more, got 0"),
        ("synthetic", {"seed": -1}, "seed: expected 0 or more, got -1"),
        ("fsdd", {"max_digits": 0}, "max_digits: expected 1 or more, got 0"),
        ("fsdd", {"held_out_speaker": "bob"}, "held_out_speaker: expected one of george, .*got 'bob'"),
    ],
)
def test_options_that_make_no_sense(tmp_path, name, options, message):
    with pytest.raises(ConfigError, match=message):
        prepare.prepare(name, options, tmp_path / "out", None)
    assert list(tmp_path.iterdir()) == []


# --- synthetic -----------------------------------------------------------------------------------------------

SMALL = {"num_train": 12, "num_dev": 2, "num_test_strings": 3, "num_test_singles": 10}


@pytest.fixture(scope="module")
def synthetic_folder(tmp_path_factory):
    pytest.importorskip("espeakng_loader")
    folder = tmp_path_factory.mktemp("synthetic") / "out"
    prepare.prepare("synthetic", SMALL | {"num_workers": 2}, folder, None)
    return folder


def test_synthetic_sizes_texts_and_audio(synthetic_folder):
    corpus = read_corpus(synthetic_folder)
    assert [len(corpus[split]) for split in SPLITS] == [12, 2, 3, 10]
    everything = [utterance for split in SPLITS for utterance in corpus[split]]
    assert len({utterance.id for utterance in everything}) == 27
    for utterance in everything:
        assert 1 <= len(utterance.text.split()) <= 7
        assert set(utterance.text.split()) <= set(common.WORDS)
        assert utterance.speaker.startswith("synthetic-")
        assert utterance.extra["synthetic"] is True
        info = probe(utterance.audio_filepath)
        assert (info.sample_rate, info.channels) == (16000, 1)
        assert info.duration == utterance.duration
        peak = np.abs(read_audio(utterance.audio_filepath, 16000).waveform).max()
        assert 0.01 < peak < 0.96  # audible, and 0.95 and the rounding to 16 bits: nothing clips
        # Margins are 0.2 s or more together. A digit at the fastest rate, 240 words a minute, takes about 0.25 s;
        # at the slowest, 120, about 0.6 s, and then come 0.4 s of pause or 0.6 s of margins.
        assert 0.12 < (utterance.duration - 0.2) / len(utterance.text.split()) < 1.7
    assert [u.text for u in corpus["test-singles"]] == list(common.WORDS)
    assert len({u.text for u in corpus["train"]}) > 6


def test_synthetic_again_is_the_same_with_any_number_of_processes(synthetic_folder, tmp_path):
    prepare.prepare("synthetic", SMALL | {"num_workers": 1}, tmp_path / "out", None)
    assert contents(tmp_path / "out") == contents(synthetic_folder)


def test_synthetic_voices_of_the_tests_are_never_trained_on(synthetic_folder):
    def family(variant):
        """Gene2 is Gene with another pitch; m1 and m2 are different voices."""
        return variant.rstrip("0123456789") if len(variant) > 2 else variant

    families = [{family(v) for v in split} for split in (voices.TRAIN, voices.DEV, voices.TEST)]
    assert len(set().union(*families)) == sum(map(len, families))
    corpus = read_corpus(synthetic_folder)
    heard = {split: {u.speaker.split("+")[1] for u in corpus[split]} for split in SPLITS}
    assert heard["train"] <= set(voices.TRAIN)
    assert heard["dev"] <= set(voices.DEV)
    assert heard["test-strings"] | heard["test-singles"] <= set(voices.TEST)


def test_drawing_does_not_depend_on_the_size_and_follows_the_seed():
    def draw(index, seed=1, **options):
        return synthetic.draw(
            synthetic.SyntheticOptions(seed=seed, **options), "train", index, np.random.default_rng((seed, 0, index))
        )

    assert draw(3) == draw(3, num_train=5)
    assert draw(3) != draw(4)
    assert draw(3) != draw(3, seed=2)
    lengths = Counter(len(draw(index, max_digits=3).digits) for index in range(200))
    assert set(lengths) == {1, 2, 3}


def test_ssml_of_a_plan():
    plan = synthetic.draw(synthetic.SyntheticOptions(), "train", 0, np.random.default_rng(0))
    fields = {name: getattr(plan, name) for name in plan.__slots__}
    plan = synthetic.Plan(**fields | {"digits": (3, 1, 9), "pauses_ms": (0, 120)})
    assert plan.text == "three one nine"
    assert plan.ssml == '<speak>three one <break time="120ms"/> nine</speak>'


def test_every_voice_that_is_named_exists():
    pytest.importorskip("espeakng_loader")
    data = synthesis.find_espeak()[1]
    variants = {path.name for path in (data / "voices" / "!v").iterdir()}
    assert {*voices.TRAIN, *voices.DEV, *voices.TEST} <= variants
    assert all((data / "lang" / identifier).is_file() for identifier in synthesis.ACCENTS.values())


def test_espeak_says_what_it_is_told():
    pytest.importorskip("espeakng_loader")
    espeak = synthesis.Espeak()
    say = partial(espeak.say, voice=synthesis.Voice("en-us", "m4"), seed=1)
    slow, fast = (say("<speak>seven</speak>", manner=synthesis.Manner(rate, 50, 50)) for rate in (120, 240))
    assert len(slow) > 1.5 * len(fast)
    assert np.abs(slow.astype(int)).max() > 1000
    with pytest.raises(CorpusError, match="no voice variant 'nobody'"):
        espeak.say("<speak>one</speak>", synthesis.Voice("en-us", "nobody"), synthesis.Manner(175, 50, 50), seed=1)


def test_without_espeak_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(CorpusError, match=r"pip install 'blstm-asr\[digits\]'"):
        prepare.prepare("synthetic", {}, tmp_path / "out", None)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_fails_is_an_error_and_leaves_nothing(monkeypatch, tmp_path):
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(synthetic.sys, "executable", "false")  # a program that does nothing but fail
    with pytest.raises(CorpusError, match="synthesis of train 0-12 failed: exit status 1"):
        prepare.prepare("synthetic", SMALL, tmp_path / "out", None)
    assert list(tmp_path.iterdir()) == []


# --- the room ------------------------------------------------------------------------------------------------


def test_noise_has_its_colour():
    def power(spectrum, low, high):
        return spectrum[low:high].sum()  # 1 Hz a bin

    for kind, octave_db in {"white": 3.0, "pink": 0.0, "brown": -3.0}.items():
        # Power 1/f^n in [f, 2f] goes with f^(1-n): an octave higher brings +3, 0 and -3 dB.
        noise = room.make_noise(kind, 16000 * 8, 16000, np.random.default_rng(0)).reshape(8, 16000)
        spectrum = (np.abs(np.fft.rfft(noise, axis=1)) ** 2).mean(axis=0)
        measured = 10 * np.log10(power(spectrum, 2000, 4000) / power(spectrum, 1000, 2000))
        assert measured == pytest.approx(octave_db, abs=0.3)  # 8,000 bins are averaged: 0.05 dB of chance
    for kind in room.NOISES:
        noise = room.make_noise(kind, 20001, 16000, np.random.default_rng(0))
        assert noise.shape == (20001,)
        assert np.mean(noise**2) == pytest.approx(1.0)


def test_noise_is_added_at_its_ratio_to_the_speech_not_to_the_pauses():
    tone = np.sqrt(2) * np.sin(np.arange(16000) * 0.3)  # mean square 1
    signal = np.concatenate([tone, np.zeros(16000)])
    noise = room.make_noise("white", 32000, 16000, np.random.default_rng(0))
    added = room.add_noise(signal, noise, 20.0, 16000) - signal
    assert 10 * np.log10(np.mean(added**2)) == pytest.approx(-20.0, abs=0.05)  # the tone's last period is cut


def test_echo_decays_by_60_db_in_its_time():
    impulse = np.zeros(16000)
    impulse[0] = 1.0
    response = room.reverberate(impulse, 16000, 0.5, 6.0, np.random.default_rng(0))
    assert response[0] == pytest.approx(1.0)
    tail = response[1:8001] ** 2
    assert 10 * np.log10(tail.sum()) == pytest.approx(-6.0)  # the direct sound has energy 1
    assert np.allclose(response[8001:], 0.0, atol=1e-12)
    # Backward integral (Schroeder 1965): from 0.05 to 0.25 s the level falls by 60 * 0.2 / 0.5 = 24 dB.
    level = 10 * np.log10(np.cumsum(tail[::-1])[::-1])
    assert level[800] - level[4000] == pytest.approx(24.0, abs=1.0)


def test_level_is_set_and_never_clips():
    tone = np.sin(np.arange(16000) * 0.3)
    assert room.active_rms(room.set_level(tone, -20.0, 16000), 16000) == pytest.approx(0.1)
    assert np.abs(room.set_level(tone, 0.0, 16000)).max() == pytest.approx(0.95)


# --- fsdd ----------------------------------------------------------------------------------------------------

NOISE_RMS = 0.01
TAKES_PER_DIGIT = 10


def imitation(speaker, digit, number):
    """A word between two silences; 0.12 s each, of 8 kHz, with the same faint noise throughout."""
    rng = np.random.default_rng((len(speaker), digit, number))
    word = np.concatenate([np.zeros(960), 0.3 * np.sin(np.arange(960) * (0.1 + 0.1 * digit)), np.zeros(960)])
    return np.rint((word + NOISE_RMS * rng.standard_normal(2880)) * 32768).astype(np.int16)


@pytest.fixture(scope="module")
def takes():
    return [
        joining.Take(digit, speaker, number, imitation(speaker, digit, number))
        for speaker in ("ann", "bobby")
        for digit in range(10)
        for number in range(TAKES_PER_DIGIT)
    ]


def make(takes, folder, **options):
    sizes = {"num_train_strings": 60, "num_dev_strings": 10, "num_test_strings": 20}
    return fsdd.make_splits(fsdd.FsddOptions(**sizes | options), takes, folder, lambda done, total: None)


@pytest.fixture(scope="module")
def made(takes, tmp_path_factory):
    """The splits of the imitation; tests only read them."""
    return make(takes, tmp_path_factory.mktemp("fsdd"))


def takes_of(utterances):
    return [name for utterance in utterances for name in utterance.extra["takes"]]


def test_fsdd_splits_share_no_take(made):
    numbers = {split: {int(name.split("_")[2]) for name in takes_of(made[split])} for split in SPLITS}
    assert numbers == {"train": {8, 9}, "dev": {5, 6, 7}, "test-strings": set(range(5)), "test-singles": set(range(5))}
    assert [len(made[split]) for split in SPLITS] == [60 + 40, 10 + 60, 20, 100]


def test_fsdd_strings_are_of_one_speaker_and_say_their_takes(made):
    for utterances in made.values():
        for utterance in utterances:
            digits, speakers, _ = zip(*(name.split("_") for name in utterance.extra["takes"]))
            assert utterance.text == " ".join(common.WORDS[int(digit)] for digit in digits)
            assert {f"fsdd-{speaker}" for speaker in speakers} == {utterance.speaker}
            assert 1 <= len(digits) <= 7


def test_fsdd_takes_are_used_equally(made):
    strings = made["train"][:60]
    uses = Counter(takes_of(strings))
    for speaker in ("ann", "bobby"):
        counts = [uses[f"{digit}_{speaker}_{number}"] for digit in range(10) for number in (8, 9)]
        assert max(counts) - min(counts) <= 1


def test_fsdd_singles_are_the_recordings_bit_for_bit(takes, made):
    samples = {take.name: take.samples for take in takes}
    for utterance in made["test-singles"]:
        (name,) = utterance.extra["takes"]
        waveform = read_audio(utterance.audio_filepath, 8000).waveform
        assert np.array_equal(waveform * 32768, samples[name])


def test_fsdd_held_out_speaker_is_alone_in_the_tests(takes, tmp_path, monkeypatch):
    monkeypatch.setattr(fsdd, "SHA256_OF_SPEAKERS", {"ann": "", "bobby": ""})
    splits = make(takes, tmp_path, held_out_speaker="ann")
    speakers = {split: {utterance.speaker for utterance in splits[split]} for split in SPLITS}
    assert speakers == {
        "train": {"fsdd-bobby"},
        "dev": {"fsdd-bobby"},
        "test-strings": {"fsdd-ann"},
        "test-singles": {"fsdd-ann"},
    }
    assert len(splits["test-singles"]) == 10 * TAKES_PER_DIGIT
    assert not {int(name.split("_")[2]) for name in takes_of(splits["train"])} & set(range(8))


def test_fsdd_pauses_last_as_long_as_drawn_and_sound_like_the_recordings(made):
    strings = made["test-strings"]
    for utterance in strings:
        count = len(utterance.extra["takes"])
        pauses_seconds = utterance.duration - count * 2880 / 8000
        assert 0.05 * (count + 1) - 1e-3 < pauses_seconds < 0.4 * (count + 1) + 1e-3
    waveforms = [read_audio(utterance.audio_filepath, 8000).waveform for utterance in strings]
    starts = np.concatenate([waveform[:400] for waveform in waveforms])  # the first 0.05 s are pause in every string
    # The floor is measured where a take is quietest, which is some dB below its mean.
    assert -3.0 < 20 * np.log10(np.sqrt(np.mean(starts**2)) / NOISE_RMS) < 0.5


def test_floor_has_the_level_and_the_spectrum_of_the_quiet_parts():
    rng = np.random.default_rng(0)
    noises = [room.make_noise("brown", 4000, 8000, rng) * 0.01 + 0.02 for _ in range(40)]  # with an offset
    takes = [joining.Take(0, "ann", n, np.rint(noise * 32768).astype(np.int16)) for n, noise in enumerate(noises)]
    floor = joining.measure_floor(takes)
    # Bins of 31.25 Hz; brown falls by 20 dB a decade of amplitude: 2 kHz is 12 dB below 500 Hz.
    assert 20 * np.log10(floor.amplitudes[16] / floor.amplitudes[64]) == pytest.approx(12.0, abs=2.0)
    assert 0.002 < floor.rms < 0.01  # the noise is 0.01, and the floor its quieter moments; the offset is none of it
    string = joining.JoinedString("x", (takes[0],), floor, (1, 2))
    assert np.abs(string.render()).max() < 0.2


def test_takes_fade_into_the_pauses_and_change_at_most_2_db():
    steady = joining.Take(1, "ann", 0, np.full(800, 3277, dtype=np.int16))  # 0.1 of full scale
    silence = joining.Floor(0.0, np.ones(129))
    for seed in range(1, 9):
        string = joining.JoinedString("x", (steady,), silence, (seed,)).render()
        spoken = string[np.flatnonzero(string)]
        gain = string.max() / 0.1
        assert 10 ** (-2 / 20) < gain < 10 ** (2 / 20)
        # 24 samples are 3 ms; the take's first and last sample are 0.
        assert np.allclose(spoken[:23], 0.1 * gain * np.arange(1, 24) / 24)
        assert np.allclose(spoken, spoken[::-1])
        assert len(spoken) == 798


def test_a_loud_string_is_softened_rather_than_clipped(takes):
    loud = joining.Take(1, "ann", 0, np.where(np.arange(4000) % 20 < 10, 32767, -32768).astype(np.int16))
    floor = joining.measure_floor(takes)
    peaks = [np.abs(joining.JoinedString("x", (loud, loud), floor, (seed,)).render()).max() for seed in range(1, 9)]
    assert max(peaks) == pytest.approx(0.99)
    assert min(peaks) > 0.7  # two takes at most 2 dB softer, 0.79


# --- fsdd: where the recordings come from ----------------------------------------------------------------------


@pytest.fixture
def release(takes, monkeypatch):
    """Two speakers stand for the release."""
    monkeypatch.setattr(fsdd, "SHA256_OF_SPEAKERS", fsdd.digest_speakers(takes))
    monkeypatch.setattr(fsdd, "TAKES_PER_DIGIT", TAKES_PER_DIGIT)
    return takes


FOLDER = Path("the/folder")


def test_other_recordings_are_refused(release):
    fsdd.check_takes(list(reversed(release)), FOLDER)
    with pytest.raises(
        CorpusError, match="in the/folder: expected 200 recordings, got 199; missing: 0_ann_0; unknown: none"
    ):
        fsdd.check_takes(release[1:], FOLDER)
    stranger = joining.Take(0, "eve", 0, release[0].samples)
    with pytest.raises(CorpusError, match="unknown: 0_eve_0"):
        fsdd.check_takes([*release, stranger], FOLDER)
    changed = joining.Take(0, "ann", 0, release[0].samples ^ np.int16(1))
    with pytest.raises(CorpusError, match="the samples of ann are not those of release"):
        fsdd.check_takes([changed, *release[1:]], FOLDER)


@pytest.fixture
def archive_url(release, tmp_path):
    """Serves a tar.gz laid out as GitHub's."""
    folder = tmp_path / "served"
    folder.mkdir()
    wav = folder / "take.wav"
    with tarfile.open(folder / "v1.tar.gz", "w:gz", compresslevel=1) as tar:
        for take in release:
            write_audio(wav, (take.samples / 32768).astype(np.float32), 8000)
            entry = tarfile.TarInfo(f"free-spoken-digit-dataset-1/recordings/{take.name}.wav")
            entry.size = wav.stat().st_size
            tar.addfile(entry, io.BytesIO(wav.read_bytes()))
    handler = type("Handler", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1.tar.gz"
    server.shutdown()
    thread.join()
    server.server_close()


def test_fsdd_is_downloaded_once_and_prepared_the_same_again(archive_url, tmp_path):
    options = {"url": archive_url, "num_train_strings": 6, "num_dev_strings": 2, "num_test_strings": 4}
    out = tmp_path / "data" / "fsdd"
    prepare.prepare("fsdd", options, out, None)
    first = contents(out)
    (out / "prepared.json").write_text("{}")  # the command line's note
    assert {len(read_corpus(out)[split]) for split in SPLITS} == {6 + 40, 2 + 60, 4, 100}
    prepare.prepare("fsdd", options | {"url": "http://127.0.0.1:1/gone"}, out, None)  # it has what it needs
    assert contents(out) == first
    assert sorted(path.name for path in out.iterdir()) == [
        "audio", "dev.jsonl", "test-singles.jsonl", "test-strings.jsonl", "train.jsonl"
    ]  # fmt: skip


def test_an_interrupted_preparation_leaves_the_earlier_corpus(release, tmp_path, monkeypatch):
    def interrupted(options, asr_data, downloads, directory, report):
        (directory / "audio").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(fsdd, "make_corpus", interrupted)
    out = tmp_path / "out"
    out.mkdir()
    (out / "train.jsonl").write_text("earlier")
    with pytest.raises(KeyboardInterrupt):
        prepare.prepare("fsdd", {}, out, None)
    assert contents(tmp_path) == {"out/train.jsonl": b"earlier"}
    (out / "thesis.tex").write_text("dear")
    with pytest.raises(CorpusError, match=r"got thesis\.tex in it"):
        prepare.prepare("fsdd", {}, out, None)


def test_asr_data_without_the_recordings(tmp_path):
    with pytest.raises(CorpusError, match=r"no .*fsdd-train\.jsonl and no .*fsdd-test\.jsonl; correct ASR_DATA"):
        prepare.prepare("fsdd", {}, tmp_path / "out", tmp_path)


def test_the_real_recordings_are_those_of_the_release():
    if "ASR_DATA" not in os.environ:
        pytest.skip("ASR_DATA is not set: no real recordings")
    asr_data = Path(os.environ["ASR_DATA"])
    takes = fsdd.load_takes(fsdd.find_shared(asr_data))
    fsdd.check_takes(takes, asr_data)
    sizes = {split: len(own) for split, own in fsdd.split_takes(takes, "").items()}
    assert sizes == {"train": 2520, "dev": 180, "test": 300}
    sizes = {split: len(own) for split, own in fsdd.split_takes(takes, "theo").items()}
    assert sizes == {"train": 2100, "dev": 150, "test": 500}
