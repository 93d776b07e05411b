"""Stages of a run: done when their inputs are unchanged and their outputs whole, so that a second run does nothing."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.data.manifest import read_manifest
from asr.errors import ManifestError
from asr.files import sha256, write_json


class Stage:
    """A stage's stamp: the inputs it ran with, and the checksums of what it made."""

    def __init__(self, stamp: Path) -> None:
        self.stamp = stamp

    def is_done(self, inputs: Mapping[str, Any]) -> bool:
        """Whether the stage ran to its end with these inputs and everything it made is still there, unchanged."""
        try:
            stamp = json.loads(self.stamp.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        unchanged = bool(stamp["inputs"] == json.loads(json.dumps(inputs)))
        return unchanged and all(_is_file_with(path, digest) for path, digest in stamp["outputs"].items())

    def finish(self, inputs: Mapping[str, Any], outputs: Iterable[Path]) -> None:
        """Write the stamp."""
        write_json(self.stamp, {"inputs": inputs, "outputs": {str(path): sha256(path) for path in outputs}})


def _is_file_with(path: str, digest: str) -> bool:
    return Path(path).is_file() and sha256(path) == digest


def hash_files(paths: Iterable[Path]) -> str:
    """One checksum over the contents of several files."""
    return hashlib.sha256("".join(map(sha256, paths)).encode()).hexdigest()


def whole_manifests(manifests: Sequence[Path]) -> bool:
    """Whether every manifest reads and every recording it names is there."""
    try:
        return all(Path(u.audio_filepath).is_file() for manifest in manifests for u in read_manifest(manifest))
    except ManifestError:
        return False
