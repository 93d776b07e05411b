"""A loaded model: the same text alone, batched, from any source, and in windows; model directories that are damaged."""

import io
import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import SAMPLE_RATE, rounding, sing

import asr
from asr.audio import write_audio
from asr.builders import build_recognizer, load_model
from asr.config import DecodingConfig, FeaturesConfig, FrontendConfig, ModelConfig, to_json
from asr.data.dataset import Example, collate
from asr.errors import AudioError, ConfigError, ModelError
from asr.features import Statistics
from asr.files import sha256
from asr.model_directory import ModelFiles, write_checksums, write_model
from asr.recognizer import Recognizer
from asr.text.tokenizer import CharTokenizer

TOKENIZER = CharTokenizer.train(["abcd"])
FEATURES = FeaturesConfig(num_mels=23)
MODEL = ModelConfig(hidden_size=12, num_layers=2)
# Of one value: normalisation over the frames of two seconds, gates of two layers with 12 cells per direction, logits.
TERMS = 200 + (23 + 12) + (24 + 12) + 24


def make(normalize: str = "utterance", **model_options) -> Recognizer:
    torch.manual_seed(3)
    recognizer = build_recognizer(
        FeaturesConfig(num_mels=23, normalize=normalize),
        ModelConfig(hidden_size=12, num_layers=2, **model_options),
        DecodingConfig(),
        sample_rate=SAMPLE_RATE,
        case="lower",
        tokenizer=TOKENIZER,
    )
    if normalize == "global":
        recognizer.features.set_statistics(Statistics(mean=torch.full((23,), 8.0), std=torch.full((23,), 4.0)))
    recognizer.features.eval()
    recognizer.model.eval()
    with torch.no_grad():  # untrained models say almost nothing: push them to say much
        recognizer.model.output.weight.mul_(30)
    return recognizer


def song(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    letters = rng.choice(list("abcd "), size=int(seconds / 0.12))
    return sing("".join(letters), rng)[: int(seconds * SAMPLE_RATE)]


@pytest.fixture
def model_dir(tmp_path):
    recognizer = make()
    state = {f"model.{name}": tensor for name, tensor in recognizer.model.state_dict().items()}
    config = {
        "sample_rate": SAMPLE_RATE,
        "case": "lower",
        "features": to_json(FEATURES),
        "model": to_json(MODEL),
        "decoding": to_json(DecodingConfig()),
    }
    write_model(tmp_path / "model", ModelFiles(config, state, TOKENIZER.to_json()), card="# a card\n")
    return tmp_path / "model"


def test_a_written_model_says_what_it_said(model_dir):
    waveform = song(3.0)
    loaded = asr.load_model(model_dir)
    assert loaded.transcribe(waveform) == make().transcribe(waveform)
    assert loaded.transcribe(waveform).text
    assert (model_dir / "README.md").read_text() == "# a card\n"


def test_alone_or_in_any_batch():
    """The same but for the order of float32 sums, and the same text."""
    recognizer = make()
    waveforms = [song(seconds, seed) for seed, seconds in enumerate([2.0, 0.5, 1.3, 0.02, 0.0])]
    batch = collate([Example(f"u{i}", waveform.astype(np.float32), (), 0) for i, waveform in enumerate(waveforms)])
    together, lengths = recognizer.emissions(batch.waveforms, batch.waveform_lengths)
    texts = [hypothesis.text for hypothesis in recognizer.recognize(batch)]
    for row, waveform in enumerate(waveforms):
        alone, alone_lengths = recognizer.emissions(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
        assert lengths[row] == alone_lengths[0]
        difference = (together[row, : lengths[row]] - alone[0, : lengths[row]]).abs()
        assert difference.numel() == 0 or difference.max() <= rounding(alone, terms=TERMS)
        assert recognizer.transcribe(waveform).text == texts[row]
    assert texts[3:] == ["", ""]


def test_paths_files_and_arrays_are_one(model_dir, tmp_path):
    waveform = np.round(song(2.0) * 32768) / 32768
    write_audio(tmp_path / "a.wav", waveform.astype(np.float32), SAMPLE_RATE)
    model = asr.load_model(model_dir)
    from_path = model.transcribe(tmp_path / "a.wav")
    from_file = model.transcribe(io.BytesIO((tmp_path / "a.wav").read_bytes()))
    from_array = model.transcribe(waveform.astype(np.float32))
    stereo = model.transcribe(np.stack([waveform, waveform]).astype(np.float32), sample_rate=SAMPLE_RATE)
    assert from_path.text == from_file.text == from_array.text == stereo.text != ""
    assert from_path.duration == pytest.approx(2.0)


@pytest.mark.parametrize("frontend", ["none", "stack", "conv"])
def test_windows_of_a_long_recording_join_without_a_seam(frontend):
    """With features that do not look at the whole, and context enough, windows give what one piece gives."""
    recognizer = make(normalize="global", frontend=FrontendConfig(name=frontend))
    windowed = Recognizer(
        recognizer.features, recognizer.model, TOKENIZER, recognizer.decoder, window_seconds=1.5, context_seconds=3.0
    )
    waveform = song(12.3)
    windows = list(windowed._windows(iter([waveform])))
    assert len(windows) >= 8
    pieces = torch.cat([windowed._own_log_probs(window) for window in windows])
    (whole,) = recognizer.emissions(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)])).log_probs
    # The backward layers of a window know no more than three seconds of what comes; random weights remember longer.
    assert (pieces.argmax(1) == whole.argmax(1)).float().mean() > 0.95
    assert (pieces - whole).abs().mean() < 0.1 * whole.std()
    assert windowed.transcribe(waveform).duration == pytest.approx(12.3)


def test_progress_is_told_window_by_window(tmp_path):
    recognizer = make()
    windowed = Recognizer(recognizer.features, recognizer.model, TOKENIZER, recognizer.decoder, window_seconds=3.0)
    write_audio(tmp_path / "a.wav", song(12.0), SAMPLE_RATE)
    told = []
    windowed.transcribe(tmp_path / "a.wav", on_progress=lambda done, total: told.append((done, total)))
    assert [total for _, total in told] == [12.0] * len(told)
    done = [0.0, *(done for done, _ in told)]
    assert done[-1] == pytest.approx(12.0)
    assert all(1.5 <= later - earlier <= 3.03 for earlier, later in pairwise(done[:-1]))
    assert len(told) > 3


def test_windows_hold_every_sample_once():
    recognizer = make()
    windowed = Recognizer(recognizer.features, recognizer.model, TOKENIZER, recognizer.decoder, window_seconds=1.0)
    waveform = song(9.7)
    for block in (777, 8000, 100_000):
        blocks = (waveform[start : start + block] for start in range(0, len(waveform), block))
        windows = list(windowed._windows(blocks))
        assert np.array_equal(np.concatenate([w.samples[w.own_start : w.own_end] for w in windows]), waveform)
        assert all(w.own_start % windowed.samples_per_frame == 0 for w in windows)
        longest = windowed.window_frames * windowed.samples_per_frame + 2 * 4 * SAMPLE_RATE
        assert all(len(w.samples) <= longest + SAMPLE_RATE for w in windows)


@pytest.mark.parametrize("pause_seconds", [0.1, 0.4, 1.0])
def test_windows_end_in_pauses(pause_seconds):
    """Songs of two seconds with pauses between: no window of up to five ends inside a song."""
    recognizer = make()
    windowed = Recognizer(recognizer.features, recognizer.model, TOKENIZER, recognizer.decoder, window_seconds=5.0)
    pause = 1e-4 * np.random.default_rng(0).standard_normal(int(pause_seconds * SAMPLE_RATE)).astype(np.float32)
    waveform = np.concatenate([np.concatenate([song(2.0), pause])] * 12)
    windows = list(windowed._windows(iter([waveform])))
    assert len(windows) > 3
    end = 0
    for window in windows[:-1]:
        end += window.own_end - window.own_start
        place = end / SAMPLE_RATE % (2.0 + pause_seconds)
        assert 2.0 - 0.05 <= place <= 2.0 + pause_seconds + 0.05 or place <= 0.05


def test_nothing_and_silence_give_empty_text():
    recognizer = make()
    with torch.no_grad():
        recognizer.model.output.bias[0] = 1e4  # blanks
    for waveform in (np.zeros(0, np.float32), np.zeros(100, np.float32), np.zeros(SAMPLE_RATE, np.float32)):
        assert recognizer.transcribe(waveform).text == ""


@pytest.mark.parametrize("num_samples", range(16_000, 16_240, 13))
def test_words_end_inside_the_audio(num_samples):
    transcript = make().transcribe(song(3.0)[:num_samples])
    assert all(word.start < word.end <= transcript.duration for word in transcript.words)
    assert transcript.words


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "int16", "int32", "int8", "uint8"])
def test_a_tensor_is_taken_as_an_array_is(dtype):
    recognizer = make()
    waveform = np.round(song(2.0) * 128) / 128  # which all these types can hold
    scale = {"int16": 2**15, "int32": 2**31, "int8": 2**7, "uint8": 2**7}.get(dtype, 1)
    samples = torch.from_numpy(waveform * scale + (128 if dtype == "uint8" else 0)).to(getattr(torch, dtype))
    expected = recognizer.transcribe(waveform.astype(np.float32))
    assert expected.text
    assert recognizer.transcribe(samples) == expected
    for stereo in (torch.stack([samples, samples]), torch.stack([samples, 0 * samples], dim=1)[:, :1]):
        assert recognizer.transcribe(stereo, sample_rate=SAMPLE_RATE) == expected
    channel = recognizer.transcribe(torch.stack([0 * samples, samples]), channel=1)
    assert channel == expected


def test_tensors_that_need_gradients_and_tensors_of_another_type():
    recognizer = make()
    waveform = torch.from_numpy(song(1.0).astype(np.float32))
    expected = recognizer.transcribe(waveform)
    assert recognizer.transcribe(waveform.clone().requires_grad_()) == expected
    with pytest.raises(AudioError, match="got int64, whose full scale is not known"):
        recognizer.transcribe(torch.zeros(100, dtype=torch.int64))


def test_the_best_hypothesis_has_its_score(model_dir):
    waveform = song(2.0)
    greedy = asr.load_model(model_dir).transcribe(waveform)
    transcript = asr.load_model(model_dir, decoding={"name": "beam", "nbest": 4, "beam_width": 20}).transcribe(waveform)
    scores = [transcript.score, *(other.score for other in transcript.alternatives)]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)
    assert greedy.score <= transcript.score < 0  # the beam's sums over paths, of which greedy takes one


def test_decoding_is_chosen_by_name(model_dir):
    assert asr.load_model(model_dir, decoding=DecodingConfig(name="beam", beam_width=7)).decoder.describe() == (
        asr.load_model(model_dir, decoding={"name": "beam", "beam_width": 7}).decoder.describe()
    )
    for decoding, message in [
        ({"beam_widht": 7}, "decoding: unknown option 'beam_widht'; did you mean beam_width"),
        ({"name": "baem"}, "decoding.name: expected greedy or beam, got 'baem'; did you mean beam"),
        ({"nbest": 5}, "decoding.nbest: expected 1 beside name=greedy"),
        ({"name": "beam", "beam_width": 0}, r"decoding.beam_width: expected .*, got 0"),
        (DecodingConfig(nbest=5), "decoding.nbest: expected 1 beside name=greedy"),
    ]:
        with pytest.raises(ConfigError, match=message):
            asr.load_model(model_dir, decoding=decoding)


def test_greedy_leaves_nothing_of_a_beam_search(model_dir):
    edit_config(model_dir, lambda c: c["decoding"].update(name="beam", nbest=3, confidence_temperature=2.0))
    described = asr.load_model(model_dir, decoding={"name": "greedy"}).decoder.describe()
    assert described["name"] == "greedy"
    assert described["confidence_temperature"] == 2.0


def test_the_directory_of_a_run_means_the_model_in_it(model_dir, tmp_path):
    waveform = song(1.0)
    assert asr.load_model(tmp_path).transcribe(waveform) == asr.load_model(model_dir).transcribe(waveform)
    (tmp_path / "unfinished" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ModelError, match="it is that of a run, which has no model yet"):
        asr.load_model(tmp_path / "unfinished")


def test_a_rate_with_a_file_is_a_mistake(model_dir, tmp_path):
    with pytest.raises(ValueError, match="with an array or tensor only"):
        asr.load_model(model_dir).transcribe(tmp_path / "a.wav", sample_rate=8000)
    with pytest.raises(AudioError, match=r"a\.wav"):
        asr.load_model(model_dir).transcribe(tmp_path / "a.wav")


# ---- damaged, incomplete and evil model directories -------------------------------------------------------------


def test_a_path_that_is_no_model(tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        load_model(tmp_path / "nothing")
    with pytest.raises(ModelError, match="no SHA256SUMS"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_damaged_and_missing_files_are_named(model_dir, name):
    data = bytearray((model_dir / name).read_bytes())
    data[len(data) // 2] ^= 1
    (model_dir / name).write_bytes(data)
    with pytest.raises(ModelError, match=f"{name} is damaged"):
        load_model(model_dir)
    (model_dir / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        load_model(model_dir)


def test_the_card_may_be_edited(model_dir):
    (model_dir / "README.md").write_text("better words")
    load_model(model_dir)


def edit_config(model_dir, change):
    path = model_dir / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    write_checksums(model_dir)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda c: c.update(format=99), ModelError, "expected format 2, got 99"),
        (lambda c: c["model"].update(_target_="torch.load"), ConfigError, "unknown option '_target_'"),
        (lambda c: c.update(decoding={"_target_": "os.system", "name": "greedy"}), ConfigError, "_target_"),
        (lambda c: c["model"].update(cell="os.system"), ConfigError, "model.cell: expected rnn_tanh, gru or lstm"),
        (lambda c: c["model"].update(hidden_size=13), ModelError, "does not fit"),
        (lambda c: c.pop("features"), ModelError, "features"),
        (lambda c: c.update(sample_rate="8000"), ConfigError, r"config\.json: sample_rate: expected a whole"),
    ],
)
def test_configs_from_strangers(model_dir, change, error, message):
    edit_config(model_dir, change)
    with pytest.raises(error, match=message):
        load_model(model_dir)


def test_a_pickle_under_the_weights_name_is_not_unpickled(model_dir, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    torch.save({"w": Evil()}, model_dir / "model.safetensors")
    write_checksums(model_dir)
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(model_dir)
    assert not (tmp_path / "executed").exists()


def test_checksums_cannot_point_outside(model_dir, tmp_path):
    (tmp_path / "secret").write_text("x")
    sums = model_dir / "SHA256SUMS"
    sums.write_text(sums.read_text() + f"{sha256(tmp_path / 'secret')}  ../secret\n")
    with pytest.raises(ModelError, match="expected lines"):
        load_model(model_dir)


def test_a_model_is_replaced_whole(model_dir):
    files = ModelFiles({"sample_rate": 1}, {"w": torch.zeros(1)}, {})
    write_model(model_dir, files, "new card")
    assert json.loads((model_dir / "config.json").read_text()) == {"format": 2, "sample_rate": 1}
    assert [path.name for path in model_dir.parent.iterdir()] == ["model"]
