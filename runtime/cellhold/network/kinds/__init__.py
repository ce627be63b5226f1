"""The kinds of network that a container can have, each in a module of its own.

network.open() chooses one.

base.py      what a kind can be asked: NetworkKind
none.py      no network: the null object
shared.py    the host's network, or another container's
leased.py    what the two that follow have in common: a lease, and a gate at which PID 1
             waits
bridge.py    a bridge of the host's, as root
usermode.py  a process of the user's, without root
"""
