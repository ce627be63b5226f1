"""A kernel for images without Python: a process on the host that has the image's own shell run the cells.

    host kernel  --(unix sockets, as to any cell kernel)-->  this process  --(pipes)-->  the shell, PID 2 of the container

`shell_kernel.py` is what the host kernel uses of it; the rest is the process (__main__.py). Nothing of it is
seen in the container, and whatever comes out of there is bytes from a stranger.

A cell whose last command fails has failed: its error is `ExitStatus`, and what was queued behind it is not run. That is what
`%%bash` and bash_kernel do, and what a notebook that runs unattended needs: `curl -f ... | tar x` that went wrong must not look well.
Who means it otherwise says so as in any script: `grep -q x file || true`.
"""
