"""One torch thread: what is promised to the bit is promised for one."""

import torch

torch.set_num_threads(1)
