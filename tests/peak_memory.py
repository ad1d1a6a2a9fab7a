"""The most memory a process ever had, for programs that tests start."""

import resource
import sys


def peak_kib() -> int:
    """Return it in KiB. On Linux ``ru_maxrss`` begins with what the parent had at the fork: 400 MB, late in a run."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # bytes there
    with open("/proc/self/status") as status:  # noqa: PTH123
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
