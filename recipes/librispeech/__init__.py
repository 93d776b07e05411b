"""The recipe `librispeech`: read books."""
