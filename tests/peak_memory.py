"""The most memory a process ever had, for programs that tests start."""

import resource
import sys
from pathlib import Path


def peak_kib() -> int:
    """Return it in KiB. On Linux ``ru_maxrss`` begins with what the parent had at the fork: 400 MB, late in a run."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # bytes there
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
