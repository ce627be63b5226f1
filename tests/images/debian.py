"""A minimal Debian: packages that mmdebstrap unpacks and does not install, its cheapest variant.

No maintainer script runs. What they would have done, and programs need, is done by hooks: the links of a merged /usr, the lists of
users and groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from images import kept, layout, packages
from images.layout import PATH, Image

if TYPE_CHECKING:
    from pathlib import Path

_PACKAGES = "base-files base-passwd mawk dash coreutils grep sed findutils hostname".split()
_MERGED = 'for name in bin sbin lib lib64; do mkdir -p "$1/usr/$name" && ln -s "usr/$name" "$1/$name"; done'
_USERS = 'for name in passwd group; do cp "$1/usr/share/base-passwd/$name.master" "$1/etc/$name"; done'
_WITHOUT_MANUALS = 'rm -rf "$1/usr/share/doc" "$1/usr/share/man" "$1/usr/share/info" "$1/usr/share/locale" "$1/usr/share/lintian"'
_WITHOUT_THIS_MACHINE = 'rm -f "$1/etc/hostname" "$1/etc/resolv.conf" "$1/etc/apt/sources.list"'
_CREATED_SECONDS = "1704067200"  # layout.CREATED: no file is younger


def image() -> Image:
    """Make it, or find it."""
    layout.need("mmdebstrap", "umoci", "apt-get")
    recipe = kept.recipe(__file__, layout.__file__, also=packages.suite())
    return Image(layout=kept.directory("debian", recipe, _make) / "layout")


def _make(place: Path) -> None:
    made = layout.start(place)
    with layout.scratch(place) as work:
        packages.fresh(lambda: _unpack(packages.cut(_PACKAGES, work / "lists"), work))
        layout.add_layer(made, work / "layer.tar", instruction=f"mmdebstrap {' '.join(_PACKAGES)}")
    layout.configure(made, "--config.cmd", "sh", "--config.env", PATH)


def _unpack(lists: packages.Lists, work: Path) -> None:
    ours = f'cp "{lists.directory}"/* "$1/var/lib/apt/lists/"'
    hooks = (f"--setup-hook={ours} && {_MERGED}", f"--extract-hook={_USERS} && {_WITHOUT_MANUALS} && {_WITHOUT_THIS_MACHINE}")
    options = ("--quiet", "--mode=root", "--variant=extract", "--format=tar", "--skip=update", f"--include={','.join(lists.names)}")
    settings = ("env", f"SOURCE_DATE_EPOCH={_CREATED_SECONDS}", f"TMPDIR={work}")
    layout.call(*settings, "mmdebstrap", *options, *hooks, "", str(work / "layer.tar"), *lists.sources)
