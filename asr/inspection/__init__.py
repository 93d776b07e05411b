"""Looking inside recurrent acoustic models: how far gradients reach, what gates do, what a word depends on."""
