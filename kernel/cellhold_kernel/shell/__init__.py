"""A kernel for images without Python: the image's own shell runs the cells.

    host kernel  --(unix sockets, as to any cell kernel)-->  this process
    this process  --(pipes)-->  the shell, PID 2 of the container

The process runs on the host (__main__.py); engine/local/shell_kernel.py starts it for
the host kernel. Nothing of it is visible in the container, and whatever comes from
there is untrusted.

A cell whose last command fails has failed: its error is `ExitStatus`, and the cells
queued behind it are not run. That is what `%%bash` and bash_kernel do, and what a
notebook that runs unattended needs: a failed `curl -f ... | tar x` must not look like a
success. To ignore a status, write so as in any script: `grep -q x file || true`.
"""
