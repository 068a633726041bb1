"""The folder as truth: manifests, binaries, the catalog of models they make up, and the watcher."""
