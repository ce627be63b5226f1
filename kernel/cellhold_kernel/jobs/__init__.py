"""Jobs that a cell waits for, a process each: pull, build, run, commit and more."""
