"""The vocabulary: what a container is asked to be, its states, how it ended.

    spec.py        Spec, Mount, Port: frozen values with units
    limits.py      Limits: how much a container may use
    names.py       the form of names, and lengths of paths
    fields.py      one row per limit: flag, key, parser, format, help ...
    field.py       the shape of such a row
    units.py       512m, 1.5, 30s: parsed and formatted
    lifecycle.py   the states of a container and the actions allowed in each
    outcome.py     how a container ended, and why
    bundle.py      an OCI bundle's config.json as a Spec
    digest.py      sha256:...
    tracing.py     step(): one call feeds the log, --trace and the tests
    usage.py       what a container has used so far
    words.py       foreign text, made printable

Nothing here acts: every other package may import these.
"""
