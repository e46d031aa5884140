"""Where packed weights lie in a library: one array behind the other, and those that several sizes read, once.

weights = PackedWeights()
offset = weights.place(array)  # behind what is there
weights.next_size()
weights.place(array)  # of another size of the network: the same offset, as the bytes are the same
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from ..schedules import round_up
from .program import ALIGN


@dataclass
class PackedWeights:
    """`arrays` are bytes, each padded to `ALIGN`.

    `used` are the bytes that the calls of the present size read, and `shared` those of them that an earlier size reads,
    too.  Equal arrays of one size have places of their own: it reads its arrays in the order in which they lie.
    """

    arrays: list[np.ndarray] = field(default_factory=list)
    used: int = 0
    shared: int = 0
    _end: int = 0
    _earlier: dict[bytes, int] = field(default_factory=dict)  # SHA-256 of an array: its offset
    _own: dict[bytes, int] = field(default_factory=dict)  # the same, of the present size

    def place(self, array: np.ndarray) -> int:
        """The offset of a contiguous array in bytes."""
        content = array.tobytes()
        digest, size = hashlib.sha256(content).digest(), round_up(len(content), ALIGN)
        self.used += size
        if (offset := self._earlier.get(digest)) is not None:
            self.shared += size
            return offset
        flat = np.frombuffer(content, np.uint8)
        self.arrays.append(np.pad(flat, (0, size - flat.size)))
        offset, self._end = self._end, self._end + size
        self._own.setdefault(digest, offset)
        return offset

    def next_size(self) -> None:
        """Begins another size of the network, to which all that is placed from here on belongs."""
        self._earlier |= self._own
        self._own, self.used, self.shared = {}, 0, 0
