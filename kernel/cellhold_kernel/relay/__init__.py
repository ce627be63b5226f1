"""The host kernel: which message goes where, what waits, and how containers end."""
