"""Run a module as ``python -m`` would and leave its peak memory behind.    python peak_memory.py FILE MODULE ARGUMENT...

The kernel's own account of it (``ru_maxrss`` of a child) starts with the size of the process that forked it, so a
big bench would measure itself. ``VmHWM`` belongs to the address space and starts anew with exec.
"""

import runpy
import sys
from pathlib import Path


def peak_kib() -> int:
    """The most memory this process ever had resident (VmHWM in /proc/self/status, KiB)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise RuntimeError("this kernel does not say VmHWM")


if __name__ == "__main__":
    report, module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        Path(report).write_text(str(peak_kib()))
