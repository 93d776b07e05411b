"""`python -m asr`: the console command, for launchers that start modules, such as torchrun."""

import sys

from asr.cli.main import main

if __name__ == "__main__":
    sys.argv[0] = "asr"  # as usage lines and the records of runs name it, not by the path of this file
    main()
