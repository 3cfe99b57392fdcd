"""What `import torch` finds in subprocesses of `python -m taimatsu.as_torch`: see there."""

import sys

del sys.modules[__name__]  # it makes room for taimatsu, which takes its place
import taimatsu.as_torch  # noqa: E402, F401
