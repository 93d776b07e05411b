"""LJ Speech: one reader."""
