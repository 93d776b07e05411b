"""The recipe `commonvoice`: any language that people have read sentences of for Mozilla's Common Voice."""
