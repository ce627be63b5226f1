"""The gate: whatever is asked for a notebook is one value and passes one function.

    request.py     what can be asked for: a frozen value a kind
    authorize.py   authorize(request, trust, policy): the table of kinds, and the one function
    granted.py     what it returns; all that acts takes one of these
    containers.py  a container: words to a spec; ceilings.py, networks.py and mounts.py hold it to the policy
    metadata.py    what a notebook may say about itself, where nobody sees it
    runs.py        %%run; run_flags.py lists what a cell has of docker's flags
    builds.py      %%dockerfile; build_flags.py
    actions.py     pull, commit, look, and what buttons do

What is named in none of these tables does not exist for a notebook. Nothing here asks the host: what
there is already stands in the request.
"""
