"""Child processes: how they are started, watched, heard and stopped, and the wire that both sides share."""
