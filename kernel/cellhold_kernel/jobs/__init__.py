"""Jobs that a cell waits for: pull, build, run, commit, kernel layer; a process each."""
