"""The view's modules, joined into the one that front ends load."""

from __future__ import annotations

import re
from importlib import resources

from cellhold_kernel.widgets import bundle

_HERE = resources.files("cellhold_kernel.widgets") / "js"
_DECLARED = re.compile(r"^(export )?(?:async )?(?:function|class|const|let) (\w+)", re.MULTILINE)
_IMPORTED = re.compile(r'^import \{ ([^}]+) \} from "\./(\w+)\.js";$', re.MULTILINE)


def declared(name: str, *, exported: bool = False) -> list[str]:
    text = (_HERE / f"{name}.js").read_text(encoding="utf-8")
    return [match[2] for match in _DECLARED.finditer(text) if match[1] or not exported]


def test_each_module_imports_what_an_earlier_one_exports() -> None:
    assert {f"{name}.js" for name in bundle.MODULES} == {entry.name for entry in _HERE.iterdir()}
    for position, name in enumerate(bundle.MODULES):
        for names, source in _IMPORTED.findall((_HERE / f"{name}.js").read_text(encoding="utf-8")):
            assert source in bundle.MODULES[:position], f"{name} imports {source}"
            assert set(names.split(", ")) <= set(declared(source, exported=True)), f"{name} imports from {source}"


def test_no_two_modules_declare_one_name() -> None:
    names = [name for module in bundle.MODULES for name in declared(module)]
    assert len(names) == len(set(names)) > 40


def test_it_is_one_module_with_one_export() -> None:
    assert "import " not in re.sub(r"//.*", "", bundle.module())
    assert re.findall(r"^export .*", bundle.module(), re.MULTILINE) == ["export default {"]
