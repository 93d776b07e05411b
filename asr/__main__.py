"""`python -m asr`: the console command, for launchers that start modules, such as torchrun."""

from asr.cli.main import main

if __name__ == "__main__":
    main()
