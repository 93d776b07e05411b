"""Manifests, their examination, and batches of utterances."""
