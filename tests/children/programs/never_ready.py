"""Takes its spec and then never says anything; only its lifeline or a signal ends it."""

import os

print("thinking", flush=True)
while os.read(0, 65536):
    pass
