"""The processors that this process may use: what `taskset` and cgroups (containers) leave of those that there are."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
CAPACITY = "/sys/devices/system/cpu/cpu{}/cpu_capacity"


def allowed_processors() -> int:
    """How many threads can run at the same time: at least 1."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([there, *map(int, _quotas(Path("/proc/self/cgroup"), ROOT))]))


def are_alike() -> bool:
    """Whether the processors of this process are equally fast, as far as the kernel says (big.LITTLE)."""
    if not hasattr(os, "sched_getaffinity"):
        return True
    return len({_read(Path(CAPACITY.format(number))) for number in os.sched_getaffinity(0)}) == 1


def _quotas(own: Path, root: Path) -> list[float]:
    """Processors' worth of time that each control group of this process, or one around it, may take."""
    found = []
    for line in _read(own).splitlines():
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        files: list[tuple[Path, ...]]
        if controllers == "":  # version 2
            files = [(group / "cpu.max",) for group in _around(root, path)]
        elif "cpu" in controllers.split(","):
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            files = [tuple(group / name for name in names) for group in _around(root / "cpu", path)]
        else:
            continue
        for pair in files:
            numbers = " ".join(map(_read, pair)).split()
            if len(numbers) == 2 and all(number.isdigit() for number in numbers) and int(numbers[1]):
                found.append(int(numbers[0]) / int(numbers[1]))
    return found


def _around(root: Path, path: str) -> list[Path]:
    """The group and those around it; in a container the group itself may be the root that is seen."""
    group = root / path.strip("/")
    return [group, *(parent for parent in group.parents if parent.is_relative_to(root))]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
