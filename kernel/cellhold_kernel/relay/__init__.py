"""The host kernel: which message goes where, what waits, and what is said when a container ends."""
