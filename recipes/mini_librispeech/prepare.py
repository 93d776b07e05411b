"""Prepare mini_librispeech, which is LibriSpeech with other parts."""

from __future__ import annotations

from asr.recipe import load_recipe

prepare = load_recipe("librispeech").prepare
