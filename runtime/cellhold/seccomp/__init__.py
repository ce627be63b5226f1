"""The system call filter of a container.

profile (data) -> plan (rules) -> compiler (libseccomp) -> cache (disk). Loading it into
a process is linux/process.py's seccomp().
"""

from __future__ import annotations

from cellhold.seccomp.cache import cached_program
from cellhold.seccomp.compiler import program

__all__ = ["cached_program", "program"]
