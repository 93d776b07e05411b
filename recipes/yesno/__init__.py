"""The recipe `yesno`: eight Hebrew words to a recording, each "yes" or "no"."""
