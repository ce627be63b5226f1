"""The vocabulary: what a container is asked to be, its states, how it ended, amounts and identifiers.

    spec.py        Spec, Mount, Port: frozen values with units
    limits.py      Limits: how much a container may use
    fields.py      one row per limit: flag, key, parser, format, help ...; field.py is the shape of a row
    units.py       512m, 1.5, 30s: parsed and formatted
    lifecycle.py   the states of a container and what may be done in each
    outcome.py     how a container ended, and why
    bundle.py      an OCI bundle's config.json as a Spec
    digest.py      sha256:...
    tracing.py     step(): one call feeds the log, --trace and the tests
    words.py       text of somebody else, made printable

Nothing here acts: every other package may import these.
"""
