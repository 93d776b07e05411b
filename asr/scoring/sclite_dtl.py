"""sclite's `.dtl` report: shares of wrong sentences and words, and which words are confused, inserted, deleted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from asr.scoring.errors import CORRECT, DELETION, INSERTION, SUBSTITUTION, Score
from asr.scoring.sclite_parts import aligned_columns, folds_case, percentage, rounded
from asr.scoring.scored_set import ScoredSet

_SUBSTITUTION_NOTE = """* NOTE: The 'Substitution' words are those reference words
        for which the recognizer supplied an incorrect word.
"""
_RECOGNIZED_NOTE = """* NOTE: The 'Falsely Recognized' words are those hypothesis words
        which the recognizer incorrectly substituted for a reference word.
"""


def dtl_text(scored: ScoredSet) -> str:
    """The detailed overall report; words are counted in lower case where `folds_case` says so."""
    score = scored.score
    spell = str.lower if folds_case(score) else str
    # (operation, reference, hypothesis) of every wrong word, counted
    wrong = Counter(
        (operation, spell(reference or ""), spell(hypothesis or ""))
        for utterance in score.utterances
        if utterance.words.errors
        for operation, reference, hypothesis in aligned_columns(utterance)
        if operation != CORRECT
    )
    tables = [
        _table("CONFUSION PAIRS", _tally(wrong, SUBSTITUTION, "{0} ==> {1}".format)),
        _table("INSERTIONS", _tally(wrong, INSERTION, "{1}".format)),
        _table("DELETIONS", _tally(wrong, DELETION, "{0}".format)),
        _table("SUBSTITUTIONS", _tally(wrong, SUBSTITUTION, "{0}".format)) + "\n" + _SUBSTITUTION_NOTE,
        _table("FALSELY RECOGNIZED", _tally(wrong, SUBSTITUTION, "{1}".format)) + "\n" + _RECOGNIZED_NOTE,
    ]
    head = f"DETAILED OVERALL REPORT FOR THE SYSTEM: {scored.system}\n\n"
    return head + _sentences(score) + "\n\n" + _words(score) + "\n" + "\n\n".join(tables) + "\n"


def _sentences(score: Score) -> str:
    num_sentences = len(score.utterances)

    def line(name: str, count: int) -> str:
        return f"{name:<39} {rounded(percentage(count, num_sentences)):5.1f}%   ({count:4d})\n"

    return (
        "SENTENCE RECOGNITION PERFORMANCE\n\n"
        + f"{' sentences':<49} {num_sentences:4d}\n"
        + line(" with errors", score.sentence_errors)
        + "\n"
        + line("   with substitutions", sum(utterance.words.substitutions > 0 for utterance in score.utterances))
        + line("   with deletions", sum(utterance.words.deletions > 0 for utterance in score.utterances))
        + line("   with insertions", sum(utterance.words.insertions > 0 for utterance in score.utterances))
    )


def _words(score: Score) -> str:
    words = score.words
    num_words = words.reference_length

    def line(name: str, count: int) -> str:
        return f"Percent {name:<18}=  {share(percentage(count, num_words))}%   ({count:4d})\n"

    def share(percent: float) -> str:
        return f"{rounded(percent):5.1f}" if num_words else "UNDEF"

    return (
        "WORD RECOGNITION PERFORMANCE\n\n"
        + line("Total Error", words.errors)
        + "\n"
        + line("Correct", words.hits)
        + "\n"
        + line("Substitution", words.substitutions)
        + line("Deletions", words.deletions)
        + line("Insertions", words.insertions)
        + f"Percent Word Accuracy     =  {share(100.0 - percentage(words.errors, num_words))}%\n"
        + "\n\n"
        + f"Ref. words                =           ({num_words:4d})\n"
        + f"Hyp. words                =           ({words.hits + words.substitutions + words.insertions:4d})\n"
        + f"Aligned words             =           ({num_words + words.insertions:4d})\n"
    )


def _tally(
    wrong: Counter[tuple[str, str, str]], operation: str, name: Callable[[str, str], str]
) -> Iterable[tuple[str, int]]:
    """Names of errors of one kind with their counts, the most frequent first, then in order of code points."""
    counts: Counter[str] = Counter()
    for (found, reference, hypothesis), count in wrong.items():
        if found == operation:
            counts[name(reference, hypothesis)] += count
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _table(title: str, tally: Iterable[tuple[str, int]]) -> str:
    rows = list(tally)
    return (
        f"{title:<30}   Total                 ({len(rows)})\n"
        + f"{'':<30}   With >=  1 occurrences ({len(rows)})\n\n"
        + "".join(f"{number:4d}: {count:4d}  ->  {name}\n" for number, (name, count) in enumerate(rows, start=1))
        + f"     -------\n     {sum(count for _, count in rows):5d}\n\n"
    )
