"""The command line: one small module a command, each importing torch only when it runs."""
