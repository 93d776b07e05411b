"""A batch that a run saved because it was not finite, computed once more (`asr train --replay`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from safetensors.torch import load_file

from asr.builders import build_recognizer, check_case
from asr.config import (
    AugmentConfig,
    Config,
    DataConfig,
    DecodingConfig,
    FeaturesConfig,
    MachineConfig,
    ModelConfig,
    OptimConfig,
    TextConfig,
    TrainingConfig,
    from_json,
)
from asr.data.audio_cache import AudioStore
from asr.data.dataset import SpeechDataset
from asr.errors import ConfigError
from asr.features import CORPUS_NORMALIZATIONS
from asr.text.tokenizer import load_tokenizer
from asr.training.acoustic_task import AcousticTask
from asr.training.fabric import build_fabric
from asr.training.gradients import Gradients
from asr.training.replay import find_nonfinite, load_batch
from asr.training.run_directory import CONFIG
from asr.training_builders import build_spec_augment, task_options
from asr.types import Batch


def replay(path: Path, console: Console) -> None:
    """Compute the gradient of a batch that a run saved, and say what of it is not finite, and where that begins.

    The file lies where the run put it: its config, tokens and statistics are the run's. Raises `CheckpointError` or
    `ConfigError` when they do not belong together.
    """
    saved = load_batch(path, Batch.__name__)
    run_dir = path.resolve().parent.parent
    config = read_run_config(run_dir)
    fabric = build_fabric(config.machine.accelerator, config.machine.precision)
    recognizer = build_recognizer(
        config.features,
        config.model,
        DecodingConfig(),
        sample_rate=config.data.sample_rate,
        case=check_case(config.text.case),
        tokenizer=load_tokenizer(run_dir / "tokenizer.json"),
    )
    if config.features.normalize in CORPUS_NORMALIZATIONS:
        recognizer.features.load_state_dict(load_file(run_dir / "features.safetensors"))
    recognizer.model.load_state_dict(saved.weights)
    nothing = SpeechDataset(AudioStore([], config.data.sample_rate), [])
    augment = build_spec_augment(config.augment)
    task = AcousticTask(recognizer, augment, nothing, nothing, fabric.device, task_options(config, fabric.device))
    gradients = Gradients(fabric, task, fabric.setup(recognizer.model), config.seed, config.optim.weight_noise)
    batch = Batch(**saved.tensors, ids=tuple(saved.values["ids"]), seeds=tuple(saved.values["seeds"]))
    found = find_nonfinite(gradients, batch, saved.num_labels, saved.step)
    console.print(f"step {saved.step}, {len(batch.ids)} utterances, on {fabric.device}", highlight=False)
    for line in [*task.nonfinite_utterances(gradients.model, batch), *map(str, found)]:
        console.print(f"  {escape(line)}", highlight=False)
    console.print(f"it begins with the {escape(str(found[0]))}" if found else "all is finite", highlight=False)


def read_run_config(run_dir: Path) -> Config:
    """What a run's config says of a step, read strictly; its data are left out.

    Raises `ConfigError` when there is none, or that of another kind of run.
    """
    path = run_dir / CONFIG
    if not path.is_file():
        raise ConfigError(f"expected a run's {CONFIG} in {run_dir}, found none; leave files where the run put them")
    values = json.loads(path.read_text(encoding="utf-8"))
    parts = {"text": TextConfig, "features": FeaturesConfig, "augment": AugmentConfig, "model": ModelConfig}
    parts |= {"optim": OptimConfig, "training": TrainingConfig, "machine": MachineConfig}
    if missing := sorted({"seed", "data", *parts} - set(values)):
        raise ConfigError(f"{path}: expected the config of an acoustic model's run, which has {missing[0]!r}")
    data = DataConfig(train=[], dev=[], sample_rate=values["data"]["sample_rate"])
    read: dict[str, Any] = {name: from_json(part, values[name], f"{path}: {name}") for name, part in parts.items()}
    return Config(run_dir=str(run_dir), seed=values["seed"], data=data, **read)
