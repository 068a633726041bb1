"""`flock(2)` on a file that is open: taken by one who writes it, looked at by the others.

Who looks holds a shared lock for an instant, so who takes it tries again for a moment. Everything blocks.
"""

import fcntl
import time

_AGAIN_S = 0.005


def take(fd: int, *, within_s: float) -> bool:
    """Lock the file for ourselves; False if another has it for longer than `within_s`. Raises OSError."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_AGAIN_S)


def is_taken(fd: int) -> bool:
    """Whether another has the file for itself. Until `fd` is closed nobody can take it. False where the file
    system knows no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
