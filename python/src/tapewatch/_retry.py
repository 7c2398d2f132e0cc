"""How often, and for how long, something is tried again.

Invariant: waiting between tries grows up to a limit, and all of it ends after a time without success.
"""

from __future__ import annotations

import random
import threading
import time

#: Seconds before the first try after one that failed; it doubles with each.
_FIRST_WAIT = 0.1
#: Seconds between tries at most.
_LONGEST_WAIT = 5.0


class Patience:
    """For how long to try again after the last success."""

    def __init__(self, seconds: float, stop: threading.Event | None = None) -> None:
        self.seconds = seconds
        self._stop = stop or threading.Event()
        self.begin()

    def begin(self) -> None:
        """It went well: all patience is there again."""
        self._since = time.monotonic()
        self._wait = _FIRST_WAIT

    def waits(self) -> bool:
        """Waits before the next try; `False` when there shall be none."""
        left = self._since + self.seconds - time.monotonic()
        if left <= 0 or self._stop.is_set():
            return False
        # Not all who lost a server come back at the same moment.
        self._stop.wait(min(left, self._wait * random.uniform(0.5, 1.0)))
        self._wait = min(self._wait * 2, _LONGEST_WAIT)
        return not self._stop.is_set()
