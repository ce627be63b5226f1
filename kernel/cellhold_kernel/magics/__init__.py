"""The lines of a cell that are for the host kernel, not for the language in the container; one file a magic."""
