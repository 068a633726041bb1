"""Child processes: how they are started, watched, heard and stopped, and the wire they share with the daemon."""
