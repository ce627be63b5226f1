"""Names that do not go out.

A program of the host would run them, or read them as its configuration.

They may be made and used inside, at any depth; so `git init` works there, with all its
hooks. A name is compared as any file system might: without case, without what Unicode
ignores, without dots and spaces at its end. Directories are held to the same table.

What a person hands to a program by name is not in it: `python script.py`, `pip install
-r requirements.txt`, a notebook that is opened (SECURITY.md says so).
"""

from __future__ import annotations

import os
import re
from fnmatch import translate
from functools import cache, lru_cache
from typing import NamedTuple
from unicodedata import category, normalize

_LONGEST = 255  # bytes of a name, on every file system of Linux


class Rule(NamedTuple):
    """A row of the table. patterns: fnmatch(3), lower case.

    reader: who runs or reads such a file.

    is_quiet: it comes by itself, and nobody misses it outside.
    """

    patterns: str
    reader: str
    is_quiet: bool = False


CONTROL = Rule("", "terminals and scripts take its control characters for commands")
ENCODED = Rule("", "terminals take bytes that are no UTF-8 for commands")
SHORT = Rule("", "some file systems take it for the short form of another name")
TABLE = (
    Rule(".ipynb_checkpoints __pycache__ *.pyc *.pyo", "Python, Jupyter", is_quiet=True),
    Rule(".*", "shells, git, editors and many more"),
    Rule("-*", "commands, in the place of a wildcard"),
    Rule("jupyter*config* ipython*config* jupytext.* nbgrader_config.* voila.json overrides.json* kernel.json", "Jupyter"),
    Rule("conf.json *.j2 *.jinja *.jinja2 *.tpl", "nbconvert and other makers of templates"),
    Rule("*.pth *._pth sitecustomize* usercustomize* pyvenv.cfg site-packages dist-packages *.dist-info *.egg-info *.egg-link", "Python"),
    Rule("*.so *.so.* *.pyd *.dll *.dylib", "Python and the dynamic linker, before a module's source"),
    Rule("matplotlibrc *.mplstyle", "matplotlib"),
    Rule("pyproject.toml setup.py setup.cfg uv.toml poetry.toml hatch.toml pixi.toml pdm.toml pipfile", "pip, uv and their like"),
    Rule("conftest.py pytest.ini pytest.toml tox.ini tox.toml noxfile.py dodo.py fabfile.py tasks.py", "pytest and other runners"),
    Rule("mypy.ini pylintrc pylint*.toml ruff.toml pyrightconfig.json", "checkers and editors"),
    Rule("makefile gnumakefile bsdmakefile *.mk cmakelists.txt cmake*presets.json meson.build justfile taskfile.y*ml", "make and its like"),
    Rule("sconstruct snakefile rakefile gemfile vagrantfile jenkinsfile procfile brewfile dvc.yaml mlproject", "builders and runners"),
    Rule("dockerfile* *.dockerfile containerfile* compose*.y*ml docker-compose*.y*ml docker-bake.*", "docker and podman"),
    Rule(
        "package.json package-lock.json node_modules deno.json* bunfig.toml bun.lock* tsconfig*.json *.config.js *.config.?js *.config.ts",
        "node.js",
    ),
    Rule("babel.config.* gulpfile.* gruntfile.* yarn.lock pnpm-*.yaml lerna.json nx.json", "node.js"),
    Rule("cargo.toml build.rs rust-toolchain* go.mod go.work *.gradle* gradle.properties gradlew* pom.xml build.xml", "cargo, go, gradle"),
    Rule("*.rproj rprofile* renviron* _targets.r renv project.toml juliaproject.toml manifest.toml", "R and Julia"),
    Rule("_quarto.y*ml _config.y*ml mkdocs.y*ml myst.y*ml conf.py", "makers of books"),
    Rule("*.code-workspace *.sublime-project *.desktop desktop.ini autorun.inf *.lnk *.url", "editors and desktops"),
    Rule("head", "git, which takes a directory with it for a repository"),
)
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_IGNORED = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]")
_SHORTENED = re.compile(r"~\d")


@lru_cache(maxsize=4096)
def find_rule(name: bytes) -> Rule | None:
    """Return why a file or directory of that name stays inside.

    None where it may go out.
    """
    try:
        text = name.decode()
    except UnicodeDecodeError:
        text = os.fsdecode(name)
        if any("\udc80" <= letter <= "\udc9f" for letter in text):  # C1 controls, in Latin-1
            return ENCODED
    if _CONTROLS.search(text) or len(name) > _LONGEST:
        return CONTROL
    folded = _fold(text)
    if not folded or folded == "..":
        return CONTROL
    plain, wild = _tables()
    if (found := plain.get(folded)) is not None:
        return found
    for pattern, rule in wild:
        if pattern.fullmatch(folded):
            return rule
    return SHORT if _SHORTENED.search(folded) else None


@cache
def _tables() -> tuple[dict[str, Rule], list[tuple[re.Pattern[str], Rule]]]:
    """Return the table as names, and as expressions.

    Made when the first name is looked up.
    """
    rows = [(pattern, rule) for rule in TABLE for pattern in rule.patterns.split()]
    plain = {pattern: rule for pattern, rule in rows if "*" not in pattern and "?" not in pattern}
    wild = [(rule, [pattern for pattern in rule.patterns.split() if pattern not in plain]) for rule in TABLE]
    return plain, [(re.compile("|".join(map(translate, patterns))), rule) for rule, patterns in wild if patterns]


def find_rule_of_path(path: bytes) -> Rule | None:
    """Return why a path stays inside: the rule of the first of its names that has one."""
    return next((rule for name in path.split(b"/") if (rule := find_rule(name)) is not None), None)


def _fold(text: str) -> str:
    """Return a name as the least exact file system compares it."""
    if not text.isascii():
        text = normalize("NFKC", normalize("NFKC", text).casefold())
        text = "".join(letter for letter in _IGNORED.sub("", text) if category(letter) != "Cf")
    return text.lower().rstrip(" .") or text
