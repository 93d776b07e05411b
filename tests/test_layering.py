"""Imports run downward only, and in no circle (docs/design.md)."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [
    {"types", "errors"},
    {"files", "resources", "progress", "processes", "launcher", "kernels"},
    {"audio", "features", "augment", "text", "ctc", "ngram"},
    {"data", "models", "decoding", "scoring", "emissions"},
    {"training", "recognizer", "evaluation", "inspection", "alignment"}
    | {"writers", "model_directory", "report", "results"},
    {"config", "options", "recipe", "benchmarks", "model_card", "builders", "decoder_builder", "training_builders"}
    | {"training_data", "fitting", "initial_model", "experiment", "batch_replay", "lr_search"}
    | {"language_config", "language_builders", "language_experiment"},
    {"", "__main__", "cli"},  # "" is asr/__init__.py, the public face
]
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in (ROOT / "asr").rglob("*.py") if "recipes/" not in str(path)}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imported(path: Path) -> set[str]:
    """The modules of asr that a file imports anywhere, also inside functions and for type checking."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {member if member in MODULES else node.module for member in members}
    return {name for name in names if name in MODULES}


IMPORTS = {module: imported(path) for module, path in MODULES.items()}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_run_downward(module):
    assert room(module) in RANK, f"{module} is in no layer: give its room a place in LAYERS"
    upward = {name for name in IMPORTS[module] if RANK[room(name)] > RANK[room(module)]}
    assert not upward


def test_no_circles():
    # the face names the version, which the command line prints; nothing else may import it
    graph = {module: names - {module} for module, names in IMPORTS.items()}
    assert list(TopologicalSorter(graph).static_order())


def test_help_loads_nothing_heavy():
    heavy = {"torch", "numpy", "hydra", "matplotlib", "soundfile", "lightning_fabric"}
    code = f"import sys, asr.cli.main; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
