"""`python -m digits.worker`: makes one block of synthetic digits; reads it from stdin, tells what it made on stdout."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from .synthetic import Block, SyntheticOptions, make_block


def main() -> None:
    record = json.load(sys.stdin)
    record["options"] = SyntheticOptions(**record["options"])
    json.dump([asdict(utterance) for utterance in make_block(Block(**record))], sys.stdout)


if __name__ == "__main__":
    main()
