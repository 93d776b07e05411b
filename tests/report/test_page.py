"""The report as a file: complete, closed to any network, and safe with any text."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
import torch
from helpers import SAMPLE_RATE, sing
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_report import HOSTILE, UTTERANCES, assessment, illustration, runs, write

from asr.audio import write_audio
from asr.builders import build_recognizer
from asr.config import DecodingConfig, FeaturesConfig, ModelConfig
from asr.errors import AudioError, ScoringError
from asr.report.bars import chart
from asr.report.clips import clip
from asr.report.figures import PIXELS_PER_SECOND, POSTERIORS_HEIGHT, SPECTROGRAM_HEIGHT, draw
from asr.report.illustrations import Illustration, illustrate, illustrate_audio, worst_ids
from asr.report.tallies import tallies
from asr.scoring.breakdown import break_down
from asr.text.tokenizer import CharTokenizer
from asr.types import Utterance


class Page(HTMLParser):
    """What a browser would make of a page: its elements, addresses, texts and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.attributes: set[str] = set()
        self.meta: dict[str, str] = {}
        self.raw: dict[str, str] = {}  # content of style and script, by tag or id
        self.text = ""
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.attributes |= set(found)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "action", "data", "poster")]
        if tag == "meta":
            self.meta[found.get("http-equiv") or found.get("name") or "charset"] = found.get("content", "")
        self._open = found.get("id", tag) if tag in ("script", "style") else ""

    def handle_endtag(self, tag):
        self._open = ""

    def handle_data(self, data):
        if self._open:
            self.raw[self._open] = self.raw.get(self._open, "") + data
        else:
            self.text += data + " "


def read(path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write(path, illustrations=(illustration("u10"), illustration("u2")))
    return read(path)


def test_the_page_reaches_for_nothing(page):
    assert [address for address in page.addresses if not address.startswith(("data:", "#"))] == []
    assert page.tags.count("audio") == 2
    assert page.tags.count("image") == 4  # spectrograms and posteriors
    policy = page.meta["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "http" not in policy
    for tag in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(page.raw[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "style" not in page.attributes  # the policy would drop them
    assert not [name for name in page.attributes if name.startswith("on")]
    assert "url(" not in page.raw["style"]
    assert "@import" not in page.raw["style"]


def test_hostile_text_is_text(page):
    assert "img" not in page.tags
    assert "b" not in page.tags
    assert page.tags.count("script") == 2
    assert page.tags.count("style") == 1
    assert page.text.count(HOSTILE) == 4  # the title, the system, the speaker's and the accent's bar
    assert "</text>" in page.text  # a token's name
    rows = json.loads(page.raw["data"])["rows"]
    assert [row[:5] for row in rows] == [[id, row[2], row[3], row[0], row[1]] for id, row in UTTERANCES.items()]


@settings(max_examples=15)
@given(st.lists(st.text(), min_size=4, max_size=4))
def test_any_text_comes_back(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("any") / "report.html"
    reference, hypothesis, speaker, id = texts
    whole = assessment({id: (reference, hypothesis, speaker or None, None)}, name=texts[0])
    write(path, whole)
    found = read(path)
    scored = whole.scored.score.utterances[0]
    assert json.loads(found.raw["data"])["rows"] == [
        [id, speaker or None, None, scored.reference, scored.hypothesis, scored.operations, None]
    ]
    assert found.tags.count("script") == 2


def test_summary_by_hand(page):
    """10 reference words; 1 S, 1 D, 1 + 3 I: 6 errors; 3 of 4 sentences."""
    text = re.sub(r"\s+", " ", page.text)
    assert "Word error rate 60.00 % 95 % interval" in text
    assert "Sentences with errors 75.00 %" in text
    for line in ("Substitutions 1", "Deletions 1", "Insertions 4", "Reference words 10", "Utterances 4"):
        assert line in text
    assert "Audio 0:00:42 Times real time 83×" in text
    assert "as scored 60.00 %" in text
    assert "basic" in text
    assert "decoder lm.weight 0.5" in text


def test_what_is_unknown_has_no_column(tmp_path):
    write(tmp_path / "report.html", assessment({"u1": ("a b", "a", None, None)}))
    page = read(tmp_path / "report.html")
    table = json.loads(page.raw["data"])
    assert (table["has_speakers"], table["has_durations"]) == (False, False)
    assert "no interval" in page.text
    html = (tmp_path / "report.html").read_text()
    assert re.findall(r'<th [^>]*data-key="(\w+)"', html) == ["id", "words", "errors", "wer", "text"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("", "x y", None, None), "Word error rate – no rate: the references have no words"),
        (("x", "x", None, None), "Word error rate 0.00 % no interval: it takes two utterances with words"),
    ],
)
def test_rates_of_next_to_nothing(tmp_path, row, said):
    write(tmp_path / "report.html", assessment({"u1": row}))
    assert said in re.sub(r"\s+", " ", read(tmp_path / "report.html").text)


def test_ten_thousand_utterances_are_data_not_elements(tmp_path):
    words = " ".join(["word"] * 20)
    write(
        tmp_path / "report.html",
        assessment({f"u{n}": (words, words, None, 5.0) for n in range(10_000)}, normalizers=()),
    )
    page = read(tmp_path / "report.html")
    assert len(json.loads(page.raw["data"])["rows"]) == 10_000
    assert len(page.tags) < 5000
    assert (tmp_path / "report.html").stat().st_size < 4_000_000


def test_an_illustration_of_another_set_is_refused(tmp_path):
    with pytest.raises(ScoringError, match="u99"):
        write(tmp_path / "report.html", illustrations=(illustration("u99"),))
    assert not (tmp_path / "report.html").exists()


def test_tallies_by_hand():
    pairs, insertions, deletions = tallies(assessment().scored.score, most=2)
    assert [(w.reference, w.hypothesis, n) for w, n in pairs.rows] == [("dead", "dad", 1)]
    assert (insertions.total, insertions.distinct) == (4, 4)
    assert [(w.hypothesis, n) for w, n in insertions.rows] == [("</script><img", 1), ("deaf", 1)]
    assert [(w.reference, n) for w, n in deletions.rows] == [("fee", 1)]


def test_bars_by_hand():
    """No error in 3 words, 1 in 3, 3 in 1, 2 in 3: the scale ends at 3, which is round."""
    scored = assessment().scored
    drawn = chart(break_down(scored, "duration"))
    assert [(bar.name, bar.utterances, bar.words) for bar in drawn.bars] == [
        ("0–2 s", 1, 3),
        ("2–5 s", 1, 3),
        ("10–20 s", 1, 1),
        ("≥ 20 s", 1, 3),
    ]
    assert drawn.scale == pytest.approx(3.0)
    assert [bar.wer for bar in drawn.bars] == pytest.approx([0, 1 / 3, 3, 2 / 3])
    assert [bar.length for bar in drawn.bars] == pytest.approx([0, 1 / 9, 1, 2 / 9])
    assert drawn.overall_at == pytest.approx(0.6 / 3)
    assert drawn.more == ()


def test_many_groups_come_worst_first_and_infinite_rates_have_no_bar():
    rows = {f"u{n}": ("a b c d", " ".join("abcd"[: n % 5]), f"s{n:02d}", None) for n in range(20)}
    rows["empty"] = ("", "extra", "nobody", None)
    drawn = chart(break_down(assessment(rows).scored, "speaker"))
    rates = [bar.wer for bar in (*drawn.bars, *drawn.more)]
    assert (len(drawn.bars), len(drawn.more)) == (12, 9)
    assert (drawn.bars[0].name, rates[0], drawn.bars[0].length) == ("nobody", None, None)
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert drawn.scale == pytest.approx(1.0)


@pytest.mark.parametrize("sample_rate", [8000, 16000, 10_000, 96_000])
def test_a_clip_is_the_audio(sample_rate):
    """In place to the sample and close in value; a rate that MP3 does not know becomes the next one."""
    waveform = np.resize(sing("abcdef", np.random.default_rng(0)), sample_rate).astype(np.float32)
    url = clip(waveform, sample_rate)
    assert url.startswith("data:audio/mpeg;base64,")
    decoded, rate = soundfile.read(io.BytesIO(base64.b64decode(url.split(",")[1])))
    assert rate == {10_000: 11_025, 96_000: 48_000}.get(sample_rate, sample_rate)
    assert len(decoded) == pytest.approx(len(waveform) * rate / sample_rate, abs=1)
    if rate == sample_rate:
        assert np.corrcoef(decoded, waveform)[0, 1] > 0.99


def test_a_picture_by_hand():
    picture = draw(illustration())
    assert picture.width == 360
    assert picture.nyquist_khz == 4.0
    assert [span.label for span in picture.hypothesis] == ["a", "␣", "b", "</text>"]
    assert picture.hypothesis[0].x == pytest.approx(10 * 0.02 * PIXELS_PER_SECOND)
    assert picture.hypothesis[0].width == pytest.approx(3 * 0.02 * PIXELS_PER_SECOND)
    assert len(picture.reference) == 1


def pixels(url: str, width: int, height: int) -> np.ndarray:
    """(height, width, RGBA) as floats, at one pixel of the page each."""
    image = Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGBA")
    return np.asarray(image.resize((width, height)), dtype=float)


def test_colours_say_what_was_written():
    """At the run of "a" its curve is blue and the runner-up's orange; where only the blank is likely, little ink."""
    picture = draw(illustration())
    posteriors = pixels(picture.posteriors, picture.width, POSTERIORS_HEIGHT)
    at = round(11.5 * 0.02 * PIXELS_PER_SECOND)
    red, _, blue, alpha = posteriors[POSTERIORS_HEIGHT // 2, at]
    assert blue > red + 50
    assert alpha > 50
    red, _, blue, alpha = posteriors[-8, at]
    assert alpha > 50
    assert posteriors[20:, round(1.5 * PIXELS_PER_SECOND) :, 3].mean() < 10


@pytest.mark.parametrize("sample_rate", [8000, 16000])
def test_a_tone_is_a_line_at_its_time_and_frequency(sample_rate):
    """A quarter of the way up from 0.5 s to 1 s of 2 s, and black elsewhere; no edge is left without colour."""
    time = np.arange(2 * sample_rate) / sample_rate
    tone = np.sin(2 * np.pi * sample_rate / 8 * time) * ((time >= 0.5) & (time < 1.0))
    picture = draw(Illustration("u1", tone.astype(np.float32), sample_rate))
    image = pixels(picture.spectrogram, picture.width, SPECTROGRAM_HEIGHT)
    assert image[..., 3].min() > 200
    brightness = image[..., :3].sum(axis=2)
    assert brightness[:, 135].argmax() == pytest.approx(0.75 * SPECTROGRAM_HEIGHT, abs=2)
    assert brightness[96, 95:175].min() > 400
    assert brightness[:, :80].max() < 60
    assert brightness[:, 190:].max() < 60


def test_digital_silence_is_black():
    silent = draw(Illustration("u1", np.zeros(SAMPLE_RATE, dtype=np.float32), SAMPLE_RATE))
    assert silent.posteriors is None
    assert pixels(silent.spectrogram, silent.width, SPECTROGRAM_HEIGHT)[..., :3].max() < 30


@pytest.mark.parametrize("num_samples", [0, 1, 100])
def test_almost_no_audio(tmp_path, num_samples):
    """Less than a window gives no picture, and no samples give no clip."""
    short = Illustration("u2", np.zeros(num_samples, dtype=np.float32), SAMPLE_RATE)
    assert draw(short) is None
    write(tmp_path / "report.html", illustrations=(short,))
    page = read(tmp_path / "report.html")
    assert page.tags.count("audio") == (num_samples > 0)


def test_of_a_long_recording_the_beginning_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr("asr.report.page.MAX_CLIP_SECONDS", 1.0)
    long = illustration("u3", seconds=2.5)
    beginning = long.beginning(0.3)
    assert beginning.duration == pytest.approx(0.3)
    assert len(beginning.posteriors) == 15
    assert beginning.hypothesis_runs.tokens.tolist() == [2]
    assert long.beginning(2.5) is long
    write(tmp_path / "report.html", illustrations=(long,))
    assert "the first 1 s are here" in read(tmp_path / "report.html").text


@pytest.fixture(scope="module")
def recognizer():
    torch.manual_seed(3)
    recognizer = build_recognizer(
        FeaturesConfig(num_mels=23),
        ModelConfig(hidden_size=12, num_layers=1),
        DecodingConfig(),
        sample_rate=SAMPLE_RATE,
        case="lower",
        tokenizer=CharTokenizer.train(["abcd"]),
    )
    recognizer.features.eval()
    recognizer.model.eval()
    with torch.no_grad():  # untrained models say almost nothing: push it to say much
        recognizer.model.output.weight.mul_(30)
    return recognizer


def sung(tmp_path, id: str, text: str) -> Utterance:
    waveform = sing("abcd", np.random.default_rng(1))
    write_audio(tmp_path / f"{id}.wav", waveform, SAMPLE_RATE)
    return Utterance(id, str(tmp_path / f"{id}.wav"), len(waveform) / SAMPLE_RATE, text)


def test_a_model_illustrates(tmp_path, recognizer):
    """In the order asked for; a reference is aligned where the model can write it and it fits."""
    texts = {"fits": "AB cd", "unknown": "ab xyz", "too-long": "abcd" * 50, "empty": ""}
    utterances = [sung(tmp_path, id, text) for id, text in texts.items()]
    ids = ["empty", "too-long", "fits", "unknown"]
    items = illustrate(recognizer, utterances, ids)
    assert [item.id for item in items] == ids
    found = {item.id: item for item in items}
    assert found["unknown"].reference_runs is None
    assert found["too-long"].reference_runs is None
    assert len(found["empty"].reference_runs.tokens) == 0
    fits = found["fits"]
    assert recognizer.tokenizer.decode(fits.reference_runs.tokens.tolist()) == "ab cd"
    assert fits.posteriors.sum(axis=1) == pytest.approx(np.ones(len(fits.posteriors)), abs=1e-5)
    text = recognizer.transcribe(utterances[0].audio_filepath).text
    assert recognizer.tokenizer.decode(fits.hypothesis_runs.tokens.tolist()) == text != ""
    assert draw(fits).posteriors is not None


def test_an_unknown_id_is_named(recognizer, tmp_path):
    with pytest.raises(ScoringError, match="nobody"):
        illustrate(recognizer, [sung(tmp_path, "a", "a")], ["nobody"])


def test_audio_alone(tmp_path):
    """Only the stretch of the utterance, and no more than 16 kHz."""
    time = np.arange(96_000) / 48_000
    write_audio(tmp_path / "a.wav", (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32), 48_000)
    utterance = Utterance("a", str(tmp_path / "a.wav"), 0.5, "a", offset=1.0)
    (item,) = illustrate_audio([utterance])
    assert (item.sample_rate, item.duration, item.posteriors) == (16_000, pytest.approx(0.5), None)
    with pytest.raises(AudioError, match=r"missing\.wav"):
        illustrate_audio([Utterance("b", str(tmp_path / "missing.wav"), 1.0, "b")])


def test_the_worst_are_those_with_most_errors():
    assert worst_ids(assessment().scored.score) == ["u10", "u3", "u2"]


def test_no_runs_are_no_spans():
    assert draw(Illustration("a", np.ones(4000, np.float32), SAMPLE_RATE, hypothesis_runs=runs())).hypothesis == ()
