"""N-gram language models: estimated from text, read from ARPA files, looked up by the decoder. Needs no C++."""
