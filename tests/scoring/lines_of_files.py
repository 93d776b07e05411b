"""Lines and entries, as the tests of all readers need them."""

import re

from asr.scoring.transcripts import Line

PLACE = re.compile(r"f\.txt:\d+: ")


def lines(text):
    return [Line(f"f.txt:{number}", line) for number, line in enumerate(text.split("\n"), 1)]


def texts(entries):
    return {entry.id: entry.text for entry in entries}
