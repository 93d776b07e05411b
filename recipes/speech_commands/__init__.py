"""The recipe `speech_commands`: thirty-five words, one at a time."""
