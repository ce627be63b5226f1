"""The engine that makes containers on this machine, with the runtime."""
