"""`asr score`: error rates of hypotheses that are there already, from whatever made them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from asr.cli.scoring_options import Alignment, By, Fold, Normalize, Unit

if TYPE_CHECKING:
    from asr.report.illustrations import Illustration
    from asr.scoring.assessment import Assessment
    from asr.scoring.reading import Pair

SILENT_SHOWN = 3
Format = Literal["auto", "trn", "stm", "ctm", "kaldi", "jsonl", "lines"]
Reference = Annotated[Path, typer.Argument(metavar="REF", help="What was said.", show_default=False)]
HypothesisFile = Annotated[Path, typer.Argument(metavar="HYP", help="What was recognised.", show_default=False)]


def score(
    reference: Reference,
    hypothesis: HypothesisFile,
    output_dir: Annotated[
        Path | None,
        typer.Option("-o", "--output-dir", help="Where score.json, report.html and the rest go.", show_default=False),
    ] = None,
    ref_format: Annotated[Format, typer.Option(help="auto goes by suffix, then by content.")] = "auto",
    hyp_format: Annotated[Format, typer.Option(help="As --ref-format.")] = "auto",
    normalize: Normalize = "",
    fold: Fold = "",
    unit: Unit = "word",
    by: By = "",
    alignment: Alignment = "levenshtein",
    worst: Annotated[int, typer.Option(help="How many of the worst utterances to show.", min=0)] = 5,
) -> None:
    """Score hypotheses against references: TRN, STM with CTM, Kaldi's text, JSON lines, or plain lines.

    Prints error rates with their 95 % interval and the worst utterances, and notes words that differ in Unicode form
    only: texts are compared as they are written. With -o it writes score.json, report.html for
    a browser, sclite's .sys .raw .pra .dtl (by sclite's own costs), Kaldi's %WER line and ESPnet's table.

    [bold]Examples[/]

        asr score ref.trn hyp.trn -o scored

        asr score ref.stm hyp.ctm --alignment sclite -o scored

        asr score test.jsonl hypotheses.jsonl --normalize basic,english --by gender,age -o scored

        asr score phones-ref.txt phones-hyp.txt --ref-format kaldi --hyp-format kaldi --fold timit39
    """
    from rich.console import Console

    from asr.cli.evaluate import show_worst
    from asr.cli.scoring_options import comparison
    from asr.errors import ConfigError
    from asr.files import refuse_same_file
    from asr.scoring.assessment import assess
    from asr.scoring.display import score_json, summary_table
    from asr.scoring.reading import read_pair
    from asr.scoring.unicode_forms import form_differences

    settings = comparison(normalize, fold, unit, by, alignment)
    if output_dir is not None and output_dir.exists() and not output_dir.is_dir():
        raise ConfigError(f"-o: expected a folder, made where there is none, got the file {output_dir}")
    if output_dir is not None:
        from asr.results import replaced_files

        for replaced in replaced_files(output_dir):
            refuse_same_file(replaced, [reference, hypothesis])
    pair = read_pair(reference, hypothesis, ref_format, hyp_format)
    if pair.silent:
        shown = ", ".join(pair.silent[:SILENT_SHOWN]) + (" …" if len(pair.silent) > SILENT_SHOWN else "")
        typer.echo(f"no words at all for {len(pair.silent)} references, all theirs are deletions: {shown}", err=True)
    forms = form_differences(pair.references, pair.hypotheses)
    if forms.num_words:
        typer.echo(f"note: {forms}", err=True)
    assessment = assess(
        reference.stem,
        hypothesis.name,
        pair.references,
        pair.hypotheses,
        pair.details,
        settings,
        markup=pair.markup,
        show_progress=sys.stderr.isatty(),
    )
    summary = score_json(assessment, audio_seconds(pair))
    console = Console()
    show_worst(console, reference.stem, assessment, worst)
    console.print(summary_table({reference.stem: summary}))
    if output_dir is not None:
        from asr.results import write_results

        written = write_results(
            output_dir,
            assessment,
            summary,
            illustrations=illustrations(pair, assessment),
            audio=pair.audio,
            show_progress=sys.stderr.isatty(),
        )
        console.print(f"written: {output_dir}/{', '.join(written)}", highlight=False, markup=False, soft_wrap=True)


def audio_seconds(pair: "Pair") -> float | None:
    """The length of all audio, where that of each utterance is known."""
    durations = [details.duration for details in pair.details.values()]
    known = [duration for duration in durations if duration is not None]
    return sum(known) if len(known) == len(durations) else None


def illustrations(pair: "Pair", assessment: "Assessment") -> "list[Illustration]":
    """Sound and spectrograms of the worst utterances, where the references are a manifest whose audio is there."""
    if not pair.audio:
        return []
    from asr.report.illustrations import illustrate_audio, worst_ids

    chosen = [pair.audio[id] for id in worst_ids(assessment.scored.score) if id in pair.audio]
    return illustrate_audio([utterance for utterance in chosen if Path(utterance.audio_filepath).is_file()])
