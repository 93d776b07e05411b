"""Scored sets as sclite would be given them."""

from asr.scoring.errors import SCLITE, score
from asr.scoring.scored_set import Details, ScoredSet


def scored_set(pairs, *, system="odd", costs=SCLITE, speakers=None):
    """Score (id, reference, hypothesis) triples; the speaker is what is before the id's hyphen, as for `-i spu_id`."""
    references = {id: reference for id, reference, _ in pairs}
    hypotheses = {id: hypothesis for id, _, hypothesis in pairs}
    speakers = speakers or {id: id.split("-")[0] for id in references}
    details = {id: Details(speaker=speakers[id]) for id in references}
    return ScoredSet("set", system, score(references, hypotheses, costs), details)


def nist(text):
    """What sclite wrote, shown here as by `cat -A`, with `$` at the end of a line, so that spaces there are seen."""
    return text.replace("$\n", "\n").replace("<tab>", "\t")


ODD = [
    ("zeb-001", "the cat sat on the mat", "the cat sat in mat"),
    ("bob-002", "Hello World again", "Hello World again now"),
    ("bob-001", "", ""),
    ("empty-001", "", "foo bar"),
    ("zeb-002", "a b c", "a b x"),
]
