"""TED-LIUM 3: talks."""
