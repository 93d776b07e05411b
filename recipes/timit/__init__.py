"""The recipe `timit`: phones of read English, as Graves, Mohamed & Hinton 2013 recognised them, and a modern way."""
