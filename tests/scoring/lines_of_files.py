"""Lines and entries, as the tests of all readers need them."""

import re

from asr.errors import ScoringError
from asr.scoring.transcripts import Line

PLACE = re.compile(r"f\.txt:\d+: ")


def lines(text):
    return [Line(f"f.txt:{number}", line) for number, line in enumerate(text.split("\n"), 1)]


def texts(entries):
    return {entry.id: entry.text for entry in entries}


def refusal(read):
    """Why a file is refused; None where it is read. Every other error comes through."""
    try:
        read()
    except ScoringError as error:
        return str(error)
    return None
