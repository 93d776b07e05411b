"""Settings of the whole suite."""

import torch
from hypothesis import settings

# Machines are shared: no test may fail because it was slow.
settings.register_profile("asr", deadline=None)
settings.load_profile("asr")

# Tests run side by side, and their matrices are tiny.
torch.set_num_threads(1)
