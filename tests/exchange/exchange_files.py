"""What the tests of all formats write."""

from pathlib import Path

TARGETS = {
    "kaldi": "kaldi",
    "espnet": "espnet",
    "lhotse": "cuts.jsonl.gz",
    "nemo": "nemo.jsonl",
    "csv": "table.csv",
    "tsv": "table.tsv",
}
RATE = 8000


def write_files(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content, encoding="utf-8")
    return folder
