"""The manifest doctor: one fault at a time with its finding, the cure, and the command around it."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from asr.cli.check import check
from asr.data.census import Distribution, take_census
from asr.data.corpus import Corpus, Files
from asr.data.doctor import Requirements, examine, repair
from asr.data.doctor_display import show_report
from asr.data.findings import SEVERITIES, Finding
from asr.data.manifest import read_manifest, write_manifest
from asr.data.usable import Limits, find_usable
from asr.text.tokenizer import CharTokenizer
from asr.types import Utterance

RATE = 16000
TOKENIZER = CharTokenizer((" ", "a", "b", "c"))


def make_audio(path: Path, seconds: float = 1.0, *, amplitude: float = 0.5, seed: int | None = None) -> str:
    """Noise, another for each path; so that the doctor does not take two files for one."""
    rng = np.random.default_rng(sum(map(ord, path.name)) if seed is None else seed)
    soundfile.write(path, amplitude * rng.uniform(-1, 1, round(seconds * RATE)), RATE, subtype="PCM_16")
    return str(path)


def frames_of_10ms(num_samples: int) -> int:
    return num_samples // (RATE // 100)


@pytest.fixture
def good(tmp_path: Path) -> Utterance:
    return Utterance("good", make_audio(tmp_path / "good.wav"), 1.0, "abc", speaker="ann")


def codes(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in findings]


def dropped(utterance: Utterance, requirements: Requirements) -> list[str]:
    """For what training leaves an utterance out."""
    found: list[Finding] = []
    corpus = Corpus([Files([utterance], RATE)], ["m.jsonl"], [""], "keep")
    find_usable(corpus, requirements, Limits(), found.append)
    return [finding.code for finding in found]


# ------------------------------------------------------------------------------------------- examine


def test_a_healthy_utterance_has_no_findings(good: Utterance) -> None:
    report = examine([good], requirements=Requirements(TOKENIZER, frames_of_10ms))
    assert report.findings == ()
    assert report.num_listened == 1


def test_missing_and_unreadable_audio(tmp_path: Path, good: Utterance) -> None:
    (tmp_path / "text.wav").write_text("this is no audio")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "cut.wav").write_bytes(Path(good.audio_filepath).read_bytes()[:RATE])
    sick = [
        replace(good, id="missing", audio_filepath=str(tmp_path / "missing.wav")),
        replace(good, id="directory", audio_filepath=str(tmp_path)),
        replace(good, id="text", audio_filepath=str(tmp_path / "text.wav")),
        replace(good, id="empty", audio_filepath=str(tmp_path / "empty.wav")),
        replace(good, id="cut", audio_filepath=str(tmp_path / "cut.wav")),
    ]
    report = examine([good, *sick])
    assert codes(report.findings) == ["missing-audio"] * 2 + ["unreadable-audio"] * 3
    assert [finding.utterance_id for finding in report.findings] == ["missing", "directory", "text", "empty", "cut"]
    assert "cut short" in report.findings[4].message  # half of its words may be missing: no duration can mend that
    assert "text.wav" in report.findings[2].message
    assert report.num_listened == 1
    assert repair([good, *sick], report.findings).utterances == (good,)


def test_without_listening_only_missing_audio_is_found(tmp_path: Path, good: Utterance) -> None:
    (tmp_path / "text.wav").write_text("this is no audio")
    sick = [replace(good, id=name, audio_filepath=str(tmp_path / f"{name}.wav")) for name in ("text", "missing")]
    report = examine(sick, listen=False)
    assert codes(report.findings) == ["missing-audio"]
    assert report.num_listened == 0


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        (1.0, []),
        (1.1, []),  # manifests round to 0.1 s, up or down
        (0.9, []),
        (1.11, ["wrong-duration"]),
        (0.89, ["wrong-duration"]),  # the file is read to its end although the manifest stops before
        (60.0, ["wrong-duration"]),
    ],
)
def test_duration_is_held_to_the_audio_and_corrected(good: Utterance, stated: float, found: list[str]) -> None:
    stated_wrongly = replace(good, duration=stated)
    report = examine([stated_wrongly])
    assert codes(report.findings) == found
    if found:
        assert f"the manifest says {stated:g} s, the audio has 1.000 s" in report.findings[0].message
        assert repair([stated_wrongly], report.findings).utterances == (good,)


def test_stretches_of_one_file_may_end_where_they_like_but_not_behind_it(good: Utterance) -> None:
    utterances = [
        replace(good, id="first", duration=0.25),
        replace(good, id="second", offset=0.25, duration=0.5),
        replace(good, id="beyond", offset=0.75, duration=0.5),
        replace(good, id="outside", offset=2.0, duration=0.5),
    ]
    report = examine(utterances)
    assert [(f.utterance_id, f.code) for f in report.findings] == [
        ("beyond", "wrong-duration"),
        ("outside", "unreadable-audio"),
    ]
    repaired = repair(utterances, report.findings).utterances
    assert [u.duration for u in repaired] == [0.25, 0.5, 0.25]


def test_silence_is_wrong_only_under_a_text(tmp_path: Path) -> None:
    # Two silent files are no duplicates of each other: they would be found by the thousand.
    paths = [make_audio(tmp_path / f"{i}.wav", amplitude=0.0009) for i in range(2)]  # -61 dB
    said, unsaid = Utterance("said", paths[0], 1.0, "abc"), Utterance("unsaid", paths[1], 1.0, "")
    report = examine([said, unsaid])
    assert codes(report.findings) == ["silent", "empty-text"]
    assert repair([said, unsaid], report.findings).utterances == (unsaid,)


def test_clipped_audio_is_a_warning(tmp_path: Path) -> None:
    samples = np.clip(3 * np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE), -1, 1)
    soundfile.write(tmp_path / "clipped.wav", samples, RATE, subtype="PCM_16")
    utterance = Utterance("a", str(tmp_path / "clipped.wav"), 1.0, "abc")
    report = examine([utterance])
    assert codes(report.findings) == ["poor-audio"]
    assert "clipped" in report.findings[0].message
    assert report.findings[0].severity == "warning"
    assert repair([utterance], report.findings).utterances == (utterance,)


def test_texts_are_normalised_and_the_first_difference_named(good: Utterance) -> None:
    written = replace(good, text="a\u00a0b’ c")
    report = examine([written])
    assert codes(report.findings) == ["not-normalized"]
    assert report.findings[0].message == "expected \"a b' c\", got '\\xa0' (U+00A0 NO-BREAK SPACE) at character 2"
    assert repair([written], report.findings).utterances == (replace(good, text="a b' c"),)


def test_case_is_changed_only_when_asked(good: Utterance) -> None:
    written = replace(good, text="ABC")
    assert codes(examine([written]).findings) == ["capitals"]  # for the record
    report = examine([written], case="lower")
    assert repair([written], report.findings).utterances == (good,)


def test_figures_signs_punctuation_and_mixed_capitals_are_found_unasked(tmp_path: Path) -> None:
    texts = ["it's o'clock", "It is 5.", "well-known", "50 €", "a [noise] &"]
    utterances = [Utterance(str(n), make_audio(tmp_path / f"{n}.wav", 5.0), 5.0, text) for n, text in enumerate(texts)]
    report = examine(utterances)
    assert [(finding.utterance_id, finding.code) for finding in report.findings] == [
        ("1", "digits"),
        ("1", "punctuation"),
        ("1", "capitals"),
        ("2", "punctuation"),
        ("3", "digits"),
        ("3", "signs"),
        ("4", "signs"),
    ]
    assert [finding.message for finding in report.findings[:2]] == ["'5' in 'It is 5.'", "'.' in 'It is 5.'"]
    assert repair(utterances, report.findings).utterances == tuple(utterances)
    shouted = [replace(utterance, text=utterance.text.upper()) for utterance in utterances]
    (capitals,) = (finding for finding in examine(shouted).findings if finding.code == "capitals")
    assert (capitals.index, capitals.utterance_id) == (None, ""), "one case throughout is said once"
    assert "capitals" not in codes(examine(utterances, case="lower").findings), "said as not-normalized"
    assert "digits" not in codes(examine(utterances, requirements=Requirements(TOKENIZER, frames_of_10ms)).findings)


def test_what_two_manifests_share(good: Utterance) -> None:
    utterances = [
        replace(good, offset=n / 10, duration=0.1, id=str(n), text=text, speaker=speaker)
        for n, (text, speaker) in enumerate([("Ab", "ann"), ("ba", None), ("ab", "bob"), ("cc", "ann"), ("cc", "cy")])
    ]
    report = examine(utterances, places=["a:1", "a:2", "b:1", "b:2", "c:1"])
    shared = [(f.code, f.place, f.message) for f in report.findings if f.code.startswith("shared")]
    assert shared == [
        ("shared-speaker", "a", "1 speaker is also in b: 'ann'"),
        ("shared-text", "a", "1 text is also in b: 'ab'"),
        ("shared-text", "b", "1 text is also in c: 'cc'"),
    ]


def test_repeated_ids_are_numbered_past_those_taken(tmp_path: Path) -> None:
    names = ["x", "x-2", "x", "x"]
    utterances = [Utterance(n, make_audio(tmp_path / f"{i}.wav"), 1.0, "abc") for i, n in enumerate(names)]
    report = examine(utterances, places=["a.jsonl:1", "a.jsonl:2", "b.jsonl:1", "b.jsonl:2"])
    assert codes(report.findings) == ["shared-text", "duplicate-id", "duplicate-id"]
    assert report.findings[1].message == "x (a.jsonl:1) has this id too"
    assert report.findings[1].place == "b.jsonl:1"
    assert [u.id for u in repair(utterances, report.findings).utterances] == ["x", "x-2", "x-3", "x-4"]


def test_equal_audio_is_found_in_other_files_and_other_texts(tmp_path: Path, good: Utterance) -> None:
    copy = str(tmp_path / "copy.flac")
    soundfile.write(copy, soundfile.read(good.audio_filepath, dtype="int16")[0], RATE)
    utterances = [
        good,
        replace(good, id="copy", audio_filepath=copy, text="ABC "),  # the same words, written otherwise
        replace(good, id="liar", audio_filepath=copy, text="cba", duration=1.0),
    ]
    findings = examine(utterances).findings
    assert [(f.utterance_id, f.code) for f in findings] == [
        ("copy", "not-normalized"),
        ("copy", "capitals"),
        ("copy", "duplicate-audio"),
        ("liar", "conflicting-text"),
    ]
    assert findings[3].message == "the same audio as good: here 'cba', there 'abc'"
    assert repair(utterances, findings).utterances == (good,)


def test_unlistened_duplicates_are_those_of_the_same_place(good: Utterance) -> None:
    utterances = [good, replace(good, id="again"), replace(good, id="later", offset=0.5)]
    findings = examine(utterances, listen=False).findings
    assert [(f.utterance_id, f.code) for f in findings] == [("again", "duplicate-audio")]


def test_characters_the_tokenizer_lacks_are_named_and_counted(good: Utterance) -> None:
    utterances = [replace(good, text="abd!"), replace(good, id="b", text="cd")]
    report = examine(utterances, listen=False, requirements=Requirements(TOKENIZER, frames_of_10ms))
    assert report.unknown_symbols == {"d": 1, "!": 1}  # the second is a duplicate, so it is out of the question
    assert codes(report.findings) == ["out-of-alphabet", "conflicting-text"]
    assert "'d'" in report.findings[0].message


def test_normalising_can_save_what_the_tokenizer_refuses(good: Utterance) -> None:
    written = replace(good, text="ABC")
    report = examine([written], case="lower", requirements=Requirements(TOKENIZER, frames_of_10ms))
    assert codes(report.findings) == ["not-normalized"]


@pytest.mark.parametrize(
    ("num_frames", "text", "fits"),
    [
        (3, "abc", True),  # a path needs a frame a token
        (2, "abc", False),
        (4, "aab", True),  # and a blank between equal neighbours: a _ a b
        (3, "aab", False),
        (5, "aaa", True),  # a _ a _ a
        (4, "aaa", False),
        (3, "aba", True),  # equal but not neighbours
        (0, "", True),
    ],
)
def test_ctc_needs_a_frame_a_token_and_one_between_repeats(
    good: Utterance, num_frames: int, text: str, fits: bool
) -> None:
    utterance = replace(good, text=text, duration=num_frames / 100)
    requirements = Requirements(TOKENIZER, frames_of_10ms, RATE)
    found = codes(examine([utterance], listen=False, requirements=requirements).findings)
    assert ("unalignable" in found) == (not fits)
    assert dropped(utterance, requirements) == ([] if fits else ["unalignable"])


def test_alignment_is_judged_by_the_audio_not_by_a_wrong_manifest(good: Utterance) -> None:
    long_text = replace(good, text="ab" * 60)  # 120 tokens: 1 s gives 100 frames
    requirements = Requirements(TOKENIZER, frames_of_10ms)
    report = examine([replace(long_text, duration=2.0)], requirements=requirements)
    assert codes(report.findings) == ["wrong-duration", "unalignable"]
    assert "1 s make 100 frames, but 120 tokens with 0 repeats need 120" in report.findings[1].message
    short = examine([replace(good, text="ab" * 40, duration=0.5)], requirements=requirements)
    assert codes(short.findings) == ["wrong-duration"]  # the manifest's half second would not have been enough


def test_speed_perturbation_leaves_fewer_frames(good: Utterance) -> None:
    utterance = replace(good, text="ab" * 48)  # 96 tokens
    assert dropped(utterance, Requirements(TOKENIZER, frames_of_10ms)) == []
    faster = Requirements(TOKENIZER, frames_of_10ms, fastest_speed=1.1)  # 90 frames
    assert dropped(utterance, faster) == ["unalignable"]


def test_unusual_rates_stand_out_from_the_others(tmp_path: Path) -> None:
    # 20 utterances of 10 to 12 characters a second: the median is 11 and the deviation of logarithms about 0.09.
    path = make_audio(tmp_path / "a.wav", 30)
    usual = [Utterance(f"u{i}", path, 1.0, "a" * (10 + i % 3), offset=float(i)) for i in range(20)]
    odd = [Utterance("slow", path, 1.0, "a", offset=20.0), Utterance("fast", path, 1.0, "a" * 99, offset=21.0)]
    report = examine(usual + odd, listen=False)
    assert [(f.utterance_id, f.code, f.severity) for f in report.findings] == [
        ("slow", "unusual-rate", "note"),
        ("fast", "unusual-rate", "note"),
    ]
    assert report.findings[1].message.startswith("99.0 characters a second, usual are 11.0")
    assert examine((usual + odd)[5:], listen=False).findings == (), "17 are too few to say what is usual"


def test_the_number_of_workers_changes_nothing(tmp_path: Path, good: Utterance) -> None:
    sick = [replace(good, id=str(i), audio_filepath=str(tmp_path / f"{i}.wav")) for i in range(4)]
    utterances = [good, *sick, replace(good, id="again")]
    assert examine(utterances, num_workers=1) == examine(utterances, num_workers=3)


# -------------------------------------------------------------------------------------------- repair


@pytest.fixture(scope="module")
def audio_files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("audio")
    return [make_audio(folder / f"{i}.wav", 0.1, amplitude=0.0 if i == 3 else 0.5) for i in range(4)] + [
        str(folder / "missing.wav")
    ]


@settings(max_examples=40, deadline=None)
@given(data=st.data(), listen=st.booleans())
def test_what_was_repaired_is_healthy(audio_files: list[str], data: Any, listen: bool) -> None:
    utterances = data.draw(
        st.lists(
            st.builds(
                Utterance,
                id=st.sampled_from(["a", "a-2", "b"]),
                audio_filepath=st.sampled_from(audio_files),
                duration=st.sampled_from([0.02, 0.1, 5.0]),
                text=st.text("abX \u00a0’", max_size=12),
                offset=st.sampled_from([0.0, 0.05]),
            ),
            max_size=6,
        )
    )
    requirements = Requirements(TOKENIZER, frames_of_10ms)
    report = examine(utterances, requirements=requirements, case="lower", listen=listen)
    repaired = repair(utterances, report.findings)
    assert len(repaired.utterances) + sum(repaired.dropped.values()) == len(utterances)
    # A stretch from the start of a file that others shared looks like the whole file once they are dropped.
    again = examine(repaired.utterances, requirements=requirements, case="lower", listen=False)
    assert set(codes(again.findings)) <= {"empty-text"}


# -------------------------------------------------------------------------------------------- census


def test_census_by_hand() -> None:
    census = take_census(
        [
            Utterance("1", "/1", 2.0, "aab", speaker="ann"),
            Utterance("2", "/2", 4.0, "b a", speaker="bob"),
            Utterance("3", "/3", 1.0, "", speaker="ann"),
            Utterance("4", "/4", 0.0, "b"),
        ]
    )
    assert (census.num_utterances, census.seconds) == (4, 7.0)
    assert {name: (s.num_utterances, s.seconds) for name, s in census.speakers.items()} == {
        "bob": (1, 4.0),
        "ann": (2, 3.0),
    }
    assert list(census.alphabet.items()) == [("a", 3), ("b", 3), (" ", 1)]
    assert census.rates is not None
    assert (census.rates.minimum, census.rates.maximum) == (0.75, 1.5)


@pytest.mark.parametrize(
    ("values", "edges", "counts"),
    [
        ([0.0], (0.0, 1.0), (1,)),
        ([1.0, 1.9, 2.0, 11.9], tuple(map(float, range(1, 13))), (2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1)),
        ([0.3], (0.3, 0.35), (1,)),  # 0.3 / 12 rounds up to bins of 0.05
        ([3600.0, 10.0], (0.0, 500.0, 1000.0, 1500.0, 2000.0, 2500.0, 3000.0, 3500.0, 4000.0), (1, *[0] * 6, 1)),
    ],
)
def test_histograms_by_hand(values: list[float], edges: tuple[float, ...], counts: tuple[int, ...]) -> None:
    distribution = Distribution.of(values)
    assert distribution is not None
    assert distribution.edges == edges
    assert distribution.counts == counts


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
@example([5e-324])
def test_histograms_lose_no_value(values: list[float]) -> None:
    distribution = Distribution.of(values)
    assert distribution is not None
    assert sum(distribution.counts) == len(values)
    assert len(distribution.counts) <= 14


def test_a_long_tail_goes_into_the_last_bin() -> None:
    distribution = Distribution.of([1.0] * 150 + [2.0] * 48 + [60.0, 90.0])
    assert distribution is not None
    # One in a hundred may be left out: that is 90, but 60 is not and 90 is no more than one and a half times as far.
    assert not distribution.is_open_ended
    distribution = Distribution.of([1.0] * 150 + [2.0] * 49 + [90.0])
    assert distribution is not None
    assert distribution.edges == (1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 90.0)
    assert distribution.counts == (150, 0, 0, 0, 0, 49, 1)
    assert distribution.is_open_ended


def test_no_values_have_no_histogram() -> None:
    assert Distribution.of([]) is None


# ------------------------------------------------------------------------------------------- display


def rendered(utterances: list[Utterance], width: int, **options: Any) -> str:
    console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    console.print(show_report(examine(utterances, **options), 1))
    return console.export_text()


def test_the_report_shows_everything_and_takes_no_name_for_markup(tmp_path: Path) -> None:
    utterances = [
        Utterance("[red]x[/red]", str(tmp_path / "[b].wav"), 1.0, "a[/b] \u0301", speaker="[bold]"),
        Utterance("y", make_audio(tmp_path / "y.wav"), 1.0, "a", speaker="bob"),
    ]
    text = rendered(utterances, width=1000, places=["m.jsonl:1", "m.jsonl:2"])
    assert "0.00 hours · 2 utterances · 2 speakers · 1 manifest" in text
    assert f"m.jsonl:1  [red]x[/red]  no such file: {tmp_path}/[b].wav" in text
    assert "[bold]" in text
    assert "7 characters  a 2" in text
    assert "U+0301" in text, "a combining accent would sit on its neighbour"
    assert text.rstrip().endswith("1 error, 1 warning.")


def test_an_empty_manifest_can_be_shown() -> None:
    assert "0 utterances" in rendered([], width=80)


def test_every_finding_has_a_severity_and_is_explained() -> None:
    import asr.data.findings

    assert asr.data.findings.__doc__ is not None
    assert all(code in asr.data.findings.__doc__ for code in SEVERITIES)


# ------------------------------------------------------------------------------------------- command


def run(*arguments: object) -> Any:
    app = typer.Typer()
    app.command()(check)
    return CliRunner().invoke(app, [*map(str, arguments), *([] if "--no-audio" in arguments else ["--workers", "1"])])


@pytest.fixture
def manifest(tmp_path: Path, good: Utterance) -> Path:
    write_manifest(tmp_path / "good.jsonl", [good])
    return tmp_path / "good.jsonl"


def test_command_exits_with_0_when_clean(manifest: Path) -> None:
    result = run(manifest)
    assert result.exit_code == 0, result.output
    assert "No problems found." in result.output


def test_command_exits_with_1_lists_bad_lines_and_fixes(tmp_path: Path, manifest: Path, good: Utterance) -> None:
    second = tmp_path / "second.jsonl"
    write_manifest(second, [good, replace(good, id="wrong", duration=9.0, text="b")])
    with second.open("a") as file:
        file.write("{oops\n")
    result = run(manifest, second, "--fix", tmp_path / "clean.jsonl", "--json", tmp_path / "report.json")
    assert result.exit_code == 1
    assert f"{second}:3: expected a JSON object, got {{oops" in result.output.replace("\n", "")
    assert "2 of 3" not in result.output
    assert read_manifest(tmp_path / "clean.jsonl") == [good]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["counts"] == {
        "malformed-line": 1, "duplicate-id": 1, "duplicate-audio": 1, "wrong-duration": 1, "conflicting-text": 1,
        "shared-speaker": 1, "shared-text": 1
    }  # fmt: skip
    assert "dropped 1 for duplicate-audio" in result.output
    assert run(tmp_path / "clean.jsonl").exit_code == 0


@pytest.mark.parametrize(
    ("change", "command"),
    [
        ({"text": "It is 5."}, "asr data normalize m.jsonl -o m-normal.jsonl --lang en"),
        ({"text": "it is 5", "lang": "de"}, "asr data normalize m.jsonl -o m-normal.jsonl   (what"),
        ({"text": "it’s"}, "asr check m.jsonl --fix clean.jsonl"),
        ({"duration": 2.0}, "asr check m.jsonl --fix clean.jsonl   (takes the audio's)"),
        ({"audio_filepath": "gone.wav"}, "asr check m.jsonl --fix clean.jsonl   (leaves them out)"),
    ],
)
def test_command_says_what_mends_it(
    manifest: Path, good: Utterance, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], command: str
) -> None:
    monkeypatch.chdir(manifest.parent)
    monkeypatch.setenv("COLUMNS", "200")
    write_manifest("m.jsonl", [replace(good, **change)])
    result = run("m.jsonl", "--json", "report.json")
    assert f"  mend: {command}" in "\n".join(line.rstrip() for line in result.output.splitlines()) + "\n"
    report = json.loads(Path("report.json").read_text())
    assert set(report["remedies"]) == set(report["counts"])
    # What is proposed is carried out, and then is well.
    if "--fix" in command and "duration" in change:
        assert run("m.jsonl", "--fix", "clean.jsonl").exit_code == 1
        assert run("clean.jsonl").exit_code == 0


def test_every_finding_of_the_command_has_a_remedy() -> None:
    from asr.cli.check_remedies import REMEDIES

    assert set(REMEDIES) == set(SEVERITIES) - {"too-short", "too-long"}, "these are training's alone"


def test_command_writes_nothing_but_json_to_standard_output(manifest: Path) -> None:
    result = run(manifest, "--json", "-", "--no-audio")
    report = json.loads(result.stdout)
    assert (report["utterances"], report["findings"], report["listened"]) == (1, [], 0)
    assert math.isclose(report["hours"], 1 / 3600)


def test_command_with_a_tokenizer(tmp_path: Path, manifest: Path) -> None:
    TOKENIZER.save(tmp_path / "tokenizer.json")
    # 1 s is 98 Kaldi frames of 25 ms every 10 ms; 3 tokens need 3 of the model's.
    assert run(manifest, "--no-audio", "--tokenizer", tmp_path / "tokenizer.json").exit_code == 0
    subsampled = [manifest, "--no-audio", "--tokenizer", tmp_path / "tokenizer.json", "--subsampling"]
    assert run(*subsampled, 48).exit_code == 0  # ceil(98 / 48) = 3
    result = run(*subsampled, 49)  # ceil(98 / 49) = 2
    assert result.exit_code == 1
    assert "1 s make 2 frames, but 3 tokens with 0 repeats need 3" in result.output.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--subsampling", "3"], "--subsampling does nothing without --tokenizer"),
        (["--no-audio", "--workers", "2"], "--workers does nothing without --audio"),
        (["--fix", "good.jsonl"], "--fix: good.jsonl would be written over good.jsonl, which is read"),
        (["--json", "good.jsonl"], "--json: good.jsonl would be written over good.jsonl, which is read"),
        (["--json", "new", "--fix", "new"], "would be written over new"),
        (["--tokenizer", "good.jsonl"], "good.jsonl"),  # not a tokenizer
        (["missing.jsonl"], "does not exist"),
        (["--case", "title"], "title"),
        (["--no-audio", "--json", "good.jsonl/report.json"], "cannot be written"),
    ],
)
def test_command_exits_with_2_when_called_wrongly(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(manifest.parent)
    monkeypatch.setenv("COLUMNS", "200")
    result = run("good.jsonl", *arguments)
    assert result.exit_code == 2
    assert message in result.output


# ----------------------------------------------------------------------------------------- real speech


@pytest.mark.skipif("ASR_DATA" not in os.environ, reason="needs the real speech that ASR_DATA names")
def test_real_speech_is_fit_for_training() -> None:
    utterances = read_manifest(Path(os.environ["ASR_DATA"]) / "fsdd-test.jsonl")
    texts = [utterance.text for utterance in utterances]
    report = examine(utterances, requirements=Requirements(CharTokenizer.train(texts), frames_of_10ms), num_workers=2)
    assert report.num_listened == len(utterances) == 300
    assert report.count("error") == 0
    assert sorted(share.num_utterances for share in report.census.speakers.values()) == [50] * 6
