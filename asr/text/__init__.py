"""Text on its way into and out of a model: normalisation, tokenizers and pronunciation lexicons."""
