"""The packages that are declared are those that are imported, and none is needed that may be missing."""

import ast
import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from helpers import sung_corpus
from test_training import SMALL, TEXTS

ROOT = Path(__file__).parent.parent
NOT_IMPORTED = {  # and why they are declared
    "torchaudio",  # the reference of tests and benchmarks
    "tensorboard",  # torch.utils.tensorboard imports it
    "hydra-submitit-launcher",  # Hydra finds it by its name in a config
}
IN_EXTRAS = {"espeakng-loader", "optuna", "lhotse"}  # imported where they are used, with an error that names the extra


def declared() -> tuple[set[str], set[str]]:
    """Names of the distributions of pyproject.toml: what everybody gets, and what the extras but `dev` bring."""
    tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines]
    return {name_of(line) for line in project["dependencies"]}, {name_of(line) for line in extras}


def name_of(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def imported() -> dict[str, str]:
    """Top-level modules of other projects -> a file that imports them."""
    found = {}
    for path in sorted(file for folder in ("asr", "recipes") for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            found |= {name.split(".")[0]: str(path.relative_to(ROOT)) for name in names}
    return {name: path for name, path in found.items() if name not in sys.stdlib_module_names and name != "asr"}


def distributions(module: str) -> set[str]:
    """The distributions that may bring a module."""
    return {name.lower().replace("_", "-") for name in packages_distributions().get(module, [module])}


def test_what_is_imported_is_declared():
    needed, optional = declared()
    missing = {name: path for name, path in imported().items() if not distributions(name) & (needed | optional)}
    assert not missing, "declare these in pyproject.toml, and pin them in constraints.txt"
    assert optional - NOT_IMPORTED == IN_EXTRAS


def test_what_is_declared_is_imported():
    needed, optional = declared()
    used = set().union(*map(distributions, imported()))
    assert (needed | optional) - used == NOT_IMPORTED


def test_what_is_declared_is_pinned():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {name_of(line) for line in lines if line and not line.startswith("#")}
    needed, optional = declared()
    assert needed | optional <= pinned


WITHOUT_TORCHAUDIO = """
import json, sys
sys.modules["torchaudio"] = None  # whoever imports it gets an ImportError
from asr.cli.main import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["asr", *arguments]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


def test_training_transcription_and_alignment_without_torchaudio(tmp_path):
    """A CPU-only torch may have no torchaudio beside it that loads."""
    manifest = sung_corpus(tmp_path, "train", TEXTS, seed=1)
    audio, model = str(tmp_path / "audio" / "train-0.wav"), str(tmp_path / "run" / "model")
    where = [f"data.train=[{manifest}]", f"data.dev=[{manifest}]", f"run_dir={tmp_path / 'run'}", "training.epochs=1"]
    commands = [
        ["train", *SMALL, *where],
        ["transcribe", audio, "--model", model, "-f", "json", "-o", str(tmp_path / "out")],
        ["align", model, str(manifest), "-o", str(tmp_path / "aligned")],
    ]
    subprocess.run([sys.executable, "-c", WITHOUT_TORCHAUDIO, json.dumps(commands)], check=True, capture_output=True)
    assert "text" in json.loads(next((tmp_path / "out").glob("*.json")).read_text(encoding="utf-8"))
    assert any((tmp_path / "aligned").rglob("*.ctm"))
