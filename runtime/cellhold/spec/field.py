"""The shape of a row of fields.py: one limit, and the texts made of it."""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cellhold.spec.limits import Limits


class Change(Enum):
    """When a container's limit can be changed."""

    ANYTIME = 0
    STOPPED = 1  # it is set when the container starts
    NEVER = 2  # it is set when the container is made


class Flag(NamedTuple):
    """A flag of the command line, as docker spells it.

    help: of this flag, if it differs from the row's.
    """

    name: str
    short: str = ""
    help: str = ""

    @property
    def dest(self) -> str:
        """The attribute that argparse stores it under."""
        return self.name.lstrip("-").replace("-", "_")


class Gauge(NamedTuple):
    """How the panel displays use beside the limit.

    place: among the other gauges. limit, used: their names in the panel's messages.
    format: formats an amount used. per_unit: units of the limit in one unit of what is
    used (8 bits per byte). chart: the unit of the chart, and how much that is.
    """

    place: int
    limit: str
    used: str
    title: str
    format: Callable[[Any], str]
    per_unit: int = 1
    chart: tuple[str, int] = ("", 1)

    def bound(self, limit: Any) -> Any:
        """Return the limit in the unit of what is used; None if there is no limit."""
        return limit // self.per_unit if limit and self.per_unit > 1 else limit


def _last(values: Sequence[Any]) -> Any:
    return values[-1]


class Field(NamedTuple):  # not a dataclass: every command waits for this table, and a dataclass takes ten times as long to make
    """One limit.

    name: of the field of Limits. help: what it limits; examples: of values, as people
    write them.
    flags, metavar: of the command line. words: what a flag takes beside values, and
    what that means; words_help: the same for people. default: what holds where nobody
    says anything, docker's; default_help: the same for people. merge: makes one value
    of several flags; the flag that has one may be repeated.
    key: a notebook's word for it. withheld: why a cell cannot have it, of a row without
    a key.
    above_default: why a cell cannot have more than the default, unless the machine's
    policy allows it.
    parse: text, key -> value, raising InvalidSpec; format: the value for people.
    phrase: of its name and value in a sentence. label: its name in `%limits`, "" = the
    key.
    is_listed: whether `%limits` and `%container` have it also where there is no limit.
    heading: of its value in the panel's first line. gauge: of its use, in the panel.
    change: when it can be changed. is_amount: whether there can be more or less of it.
    is_summed: whether it adds up over a notebook's containers. needs_network: of the
    container's own.
    controller: the cgroup controller that enforces it. oci: where linux.resources of an
    OCI config.json has it.
    """

    name: str
    help: str
    parse: Callable[[str, str], Any]
    format: Callable[[Any], str] = str
    examples: tuple[str, ...] = ()
    flags: tuple[Flag, ...] = ()
    metavar: str = "N"
    words: Mapping[str, Any] = MappingProxyType({})
    words_help: str = ""
    default: Any = None
    default_help: str = ""
    merge: Callable[[Sequence[Any]], Any] = _last
    key: str = ""
    withheld: str = ""
    above_default: str = ""
    phrase: str = ""
    label: str = ""
    is_listed: bool = False
    heading: str = ""
    gauge: Gauge | None = None
    change: Change = Change.ANYTIME
    is_amount: bool = True
    is_summed: bool = False
    needs_network: bool = False
    controller: str = ""
    oci: tuple[str, str] | None = None

    @property
    def word(self) -> str:
        """Its name in texts: the notebook's key, or else the flag."""
        return self.key or self.flags[0].name.lstrip("-")

    @property
    def is_repeated(self) -> bool:
        """Whether its flags may be given more than once."""
        return self.merge is not _last

    def value(self, limits: Limits) -> Any:
        """Return the field's value; None = no limit."""
        return getattr(limits, self.name)

    def is_requested(self, limits: Limits) -> bool:
        """Return whether the limits differ here from what holds by default."""
        return self.value(limits) not in (None, self.default)

    def text(self, limits: Limits) -> str | None:
        """Format the limit for people; None if there is no limit."""
        value = self.value(limits)
        return self.format(value) if value else None

    def assignment(self, value: Any) -> str:
        """Format the value with its name, as in "memory=64 MiB"."""
        return (self.phrase or f"{self.word}={{}}").format(self.format(value))

    def is_fixed(self, *, is_alive: bool) -> bool:
        """Return whether the limit cannot be changed any more.

        is_alive: whether the container runs.
        """
        return self.change is Change.NEVER or (is_alive and self.change is Change.STOPPED)

    def flag_help(self, flag: Flag) -> str:
        """Return the text of --help for a flag of this row."""
        text = ", ".join(part for part in (flag.help or self.help, self.words_help) if part)
        if self.examples and not flag.help:
            text += f": {', '.join(self.examples)}"
        return f"{text} (default: {self.default_help})" if self.default_help else text

    @property
    def key_help(self) -> str:
        """Its text in a list of the notebook's keys."""
        return f"{self.help}: {', '.join(self.examples)}"

    def parse_flag(self, flag: Flag, text: str) -> Any:
        """Parse the text of a flag of this row.

        Raises InvalidSpec.
        """
        return self.words[text] if text in self.words else self.parse(text, flag.name.lstrip("-"))
