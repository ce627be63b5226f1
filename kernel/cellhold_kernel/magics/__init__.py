"""The magics: lines of a cell that the host kernel performs; one file per magic."""
