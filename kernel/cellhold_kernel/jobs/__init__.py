"""Jobs that a cell waits for, each in a process of its own: pull, build, run, commit, add a kernel layer."""
