"""mini_librispeech: five hours of LibriSpeech."""
