"""Reports in the layout of NIST's sclite (SCTK 2.4), equal to its files where alignments and order are.

Alignments are sclite's when the set was scored with the costs `SCLITE` (asr/scoring/errors.py); under other costs the
layout stays and counts differ. Where these reports go their own way, because sclite's is a limit or a slip:

- Speakers and utterances come in the order of the references; sclite's is that of the hypotheses.
- Names of speakers and files, and ids, keep their letter case, by which they can be found; sclite without `-s` lowers
  it. Utterances without a speaker are a group of their own, "unknown".
- Columns line up on a terminal in any script, and all letters have their upper case. sclite counts bytes and knows the
  case of ASCII only. A gap is as wide as the word across from it, also beyond 40 characters.
- Statistics leave out every speaker without reference words; sclite takes out wrong ones when there are several.
- Optional words are scored as with `sclite -D`, always.
- SCTK 2.4.10 writes "substitions" in one line of `.dtl`; its successors and these reports do not.
"""

from __future__ import annotations

import re
from pathlib import Path

from asr.files import write_text
from asr.progress import track
from asr.scoring.sclite_dtl import dtl_text
from asr.scoring.sclite_pra import pra_text
from asr.scoring.sclite_sys import raw_text, sys_text
from asr.scoring.scored_set import ScoredSet

# What a file's name cannot hold on one system or another; the title inside the reports stays as it is.
_NOT_IN_A_NAME = re.compile(r'[\x00-\x1f<>:"/\\|?*]')

WRITERS = {".sys": sys_text, ".raw": raw_text, ".pra": pra_text, ".dtl": dtl_text}


def write_sclite_reports(directory: Path, scored: ScoredSet, *, show_progress: bool = False) -> list[Path]:
    """Write `<system>.sys`, `.raw`, `.pra` and `.dtl`, each whole or not at all; returns their paths.

    A slash in the name of the system, and what else cannot be in the name of a file, becomes `_` there.
    show_progress: a bar on standard error.

    Raises:
        OutputError: a file cannot be written.
    """
    stem = _NOT_IN_A_NAME.sub("_", scored.system)
    paths = []
    for suffix, to_text in track(WRITERS.items(), "writing sclite's reports", total=len(WRITERS), shown=show_progress):
        path = directory / f"{stem}{suffix}"
        write_text(path, to_text(scored))
        paths.append(path)
    return paths
