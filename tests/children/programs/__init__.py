"""Real programs that tests run as child processes, most of them badly behaved. Each is one plain script."""
