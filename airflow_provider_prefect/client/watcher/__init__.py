"""Watch the flow runs of all triggers of a process with a handful of requests: see :mod:`.watcher`."""
