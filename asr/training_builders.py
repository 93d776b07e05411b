"""From config to what a training has besides its model: augmentation, optimiser, device, and the engines' options.

Unknown names raise. Everything below takes plain arguments.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch

from asr.augment import (
    AdditiveNoise,
    RecordedRooms,
    Reverberation,
    Rooms,
    SpecAugment,
    SurroundingsPlanner,
    SynthesisedRooms,
)
from asr.config import AugmentConfig, Config, DataConfig, OptimConfig
from asr.ctc import LabelSmoothing, uniform_prior, unigram_prior
from asr.data.audio_cache import AudioStore
from asr.data.manifest import read_manifest
from asr.data.sampler import Curriculum
from asr.errors import ConfigError
from asr.language_config import LanguageConfig
from asr.launcher import detect_launch
from asr.training.acoustic_task import AcousticOptions
from asr.training.clipping import Clipping
from asr.training.course import Course
from asr.training.fabric import loading_threads
from asr.training.loop import LoopOptions
from asr.training.optim import Schedule, make_optimizer

BYTES_PER_GIB = 2**30


def build_spec_augment(config: AugmentConfig) -> SpecAugment | None:
    """SpecAugment, or None when there is nothing to mask."""
    if config.num_freq_masks == 0 and config.num_time_masks == 0:
        return None
    return SpecAugment(
        config.num_freq_masks,
        config.max_freq_width,
        config.num_time_masks,
        config.max_time_width,
        config.max_time_share,
    )


def build_noise(config: AugmentConfig, sample_rate: int, cache_gib: float) -> AdditiveNoise | None:
    """Additive noise from the recordings of its manifests, or None when its probability is zero."""
    if config.noise_probability == 0.0:
        return None
    store = _read_recordings(config.noise, sample_rate, cache_gib)
    if len(store) == 0:
        raise ConfigError("augment.noise: expected manifests of noise recordings, as noise_probability is above zero")
    return AdditiveNoise(store, config.noise_probability, config.min_snr_db, config.max_snr_db)


def build_reverberation(config: AugmentConfig, sample_rate: int, cache_gib: float) -> Reverberation | None:
    """Reverberation in recorded rooms, or in synthesised ones; None when its probability is zero."""
    if config.reverberation_probability == 0.0:
        return None
    try:
        return Reverberation(_build_rooms(config, sample_rate, cache_gib), config.reverberation_probability)
    except ValueError as error:
        raise ConfigError(f"augment: reverberation: {error}") from error


def _build_rooms(config: AugmentConfig, sample_rate: int, cache_gib: float) -> Rooms:
    if config.rooms:
        return RecordedRooms(_read_recordings(config.rooms, sample_rate, cache_gib))
    return SynthesisedRooms(
        sample_rate, config.min_rt60_seconds, config.max_rt60_seconds, config.min_direct_db, config.max_direct_db
    )


def _read_recordings(manifests: Iterable[str], sample_rate: int, cache_gib: float) -> AudioStore:
    store = AudioStore([recording for manifest in manifests for recording in read_manifest(manifest)], sample_rate)
    store.fill(int(cache_gib * BYTES_PER_GIB), num_threads=1)
    return store


def build_surroundings(config: AugmentConfig, max_seconds: float) -> SurroundingsPlanner | None:
    """Pauses, joined utterances and other sounds, or None when there are none of these."""
    if config.pause_probability == config.join_probability == config.nonspeech_probability == 0.0:
        return None
    return SurroundingsPlanner(
        pause_probability=config.pause_probability,
        max_pause_seconds=config.max_pause_seconds,
        join_probability=config.join_probability,
        nonspeech_probability=config.nonspeech_probability,
        max_seconds=max_seconds,
    )


def build_label_smoothing(
    config: AugmentConfig, token_counts: Mapping[int, int], num_frames: int, vocab_size: int
) -> LabelSmoothing | None:
    """Label smoothing, or None when its weight is zero.

    token_counts: how often each token occurs in the training set; num_frames: that the model puts out for all of it.
    """
    if config.label_smoothing == 0.0:
        return None
    match config.smoothing_prior:
        case "uniform":
            prior = uniform_prior(vocab_size)
        case "unigram":
            prior = unigram_prior(token_counts, num_frames, vocab_size)
        case unknown:
            raise ConfigError(f"augment.smoothing_prior: expected uniform or unigram, got {unknown!r}")
    try:
        return LabelSmoothing(config.label_smoothing, prior)
    except ValueError as error:
        raise ConfigError(f"augment.label_smoothing: {error}") from error


def build_curriculum(config: DataConfig) -> Curriculum:
    """Which utterances come in the first epochs, and in which order."""
    try:
        return Curriculum(config.sorted_epochs, config.growing_epochs, config.first_share)
    except ValueError as error:
        raise ConfigError(f"data: sorted_epochs, growing_epochs, first_share: {error}") from error


def build_optimizer(config: OptimConfig, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimiser over a model's parameters."""
    try:
        return make_optimizer(
            model.parameters(),
            config.name,
            lr=config.lr,
            weight_decay=config.weight_decay,
            beta2=config.beta2,
            momentum=config.momentum,
        )
    except ValueError as error:
        raise ConfigError(f"optim: {error}") from error


def build_schedule(config: OptimConfig) -> Schedule:
    """The learning-rate schedule."""
    try:
        return Schedule(
            config.schedule,
            config.lr,
            warmup_share=config.warmup_share,
            warmup_steps=config.warmup_steps,
            final_lr_share=config.final_lr_share,
            plateau_factor=config.plateau_factor,
            plateau_patience=config.plateau_patience,
            newbob_threshold=config.newbob_threshold,
            peak_share=config.peak_share,
            start_lr_share=config.start_lr_share,
            restart_share=config.restart_share,
        )
    except ValueError as error:
        raise ConfigError(f"optim.schedule: {error}") from error


def build_clipping(config: OptimConfig) -> Clipping:
    """How gradients are limited."""
    try:
        return Clipping(config.clipping, config.clip_norm)
    except ValueError as error:
        raise ConfigError(f"optim.clipping, optim.clip_norm: {error}") from error


def norm_limit(config: OptimConfig) -> float:
    """What the norm of all gradients is scaled down to; infinite for clippings that scale no gradient as a whole."""
    return config.clip_norm if config.clipping == "norm" else math.inf


def task_options(config: Config, device: torch.device) -> AcousticOptions:
    """The task's share of the config, for a run on `device`."""
    return AcousticOptions(
        seed=config.seed,
        batch_seconds=config.data.batch_seconds,
        speeds=config.augment.speeds,
        num_samples=config.training.num_samples,
        num_workers=loading_threads(config.machine.num_workers, device, detect_launch()),
        microbatch_seconds=config.machine.microbatch_seconds,
        criterion=config.training.criterion,
        curriculum=build_curriculum(config.data),
        surroundings=build_surroundings(config.augment, config.data.max_duration_seconds),
    )


def loop_options(config: Config | LanguageConfig, course: Course) -> LoopOptions:
    """The loop's share of a config, of acoustic models and language models alike; course: what the run is to take."""
    training = config.training
    return LoopOptions(
        seed=config.seed,
        course=course,
        clipping=build_clipping(config.optim),
        patience=training.patience,
        average_best=training.average_best,
        checkpoint_minutes=training.checkpoint_minutes,
        checkpoint_steps=training.checkpoint_steps,
        log_every_steps=training.log_every_steps,
        nonfinite_patience=training.nonfinite_patience,
        weight_noise=config.optim.weight_noise,
        ema_decay=config.optim.ema_decay,
    )
