"""The gate: every request of a notebook is one value, and passes one function.

    request.py     what can be requested: one frozen class per kind
    authorize.py   authorize(request, trust, policy): the one function, and its table
    granted.py     what it returns; everything that acts takes one of these
    containers.py  a container: from settings to a spec; ceilings.py, networks.py and
                   mounts.py keep it within the policy
    metadata.py    what a notebook's own metadata may ask for, where nobody sees it
    runs.py        %%run; run_flags.py lists which of docker's flags a cell has
    builds.py      %%dockerfile; build_flags.py
    actions.py     pull, commit, look, and what buttons do

What none of these tables names does not exist for a notebook. authorize() does not look
at the host: what the notebook has already is part of the request.
"""
