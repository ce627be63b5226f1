"""Jupyter's own suite for kernels, through the container."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import jupyter_kernel_test
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 100  # seconds


@contextmanager
def patient(channel: Any) -> Iterator[None]:
    """Within it the channel's get_msg() waits as long as a busy machine takes, whatever it is told."""
    channel.get_msg = partial(_waiting, channel.get_msg)
    try:
        yield
    finally:
        del channel.get_msg


def _waiting(get_msg: Any, timeout: float) -> Any:
    return get_msg(timeout=max(timeout, PATIENCE))


@pytest.mark.requires("overlayfs")
@pytest.mark.v2
@pytest.mark.usefixtures("jupyter_path")
@pytest.mark.leaks_allowed  # the suite's kernel lives as long as the class; the whole session is looked at in the end
class TestCellhold(jupyter_kernel_test.KernelTests):  # type: ignore[misc]  # it ships no types
    kernel_name = "cellhold"
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    # ruff: noqa: RUF012  # the suite has them as lists
    completion_samples = [{"text": "zi", "matches": {"zip"}}]
    complete_code_samples = ["1", "print('hello, world')", "def f(x):\n  return x*2\n\n\n"]
    incomplete_code_samples = ["print('''hello", "def f(x):\n  x*2"]
    invalid_code_samples = ["import = 7q"]
    code_page_something = "zip?"
    code_generate_error = "raise"
    code_execute_result = [{"code": "1+1", "result": "2"}, {"code": "'a' * 3", "result": "'aaa'"}]
    code_display_data = [{"code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))", "mime": "text/html"}]
    code_history_pattern = "1?1*"
    supported_history_operations = ("tail", "search")  # IPython gives the current session the number 0 in a range
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"

    def get_non_kernel_info_reply(self, timeout: float | None = None) -> Any:
        """As the suite's own, with more patience than its 15 s."""
        return super().get_non_kernel_info_reply(timeout=None if timeout is None else PATIENCE)

    def execute_helper(self, *arguments: Any, **options: Any) -> Any:
        """As the suite's own, with more patience than its 0.1 s from one message to the next."""
        with patient(self.kc.iopub_channel):
            return super().execute_helper(*arguments, **options)

    @classmethod
    def tearDownClass(cls) -> None:
        super().tearDownClass()
        cls.kc.context.destroy()


@pytest.mark.requires("overlayfs")
@pytest.mark.v2
@pytest.mark.usefixtures("jupyter_path")
@pytest.mark.leaks_allowed  # the suite's kernel lives as long as the class; the whole session is looked at in the end
class TestWelcome(jupyter_kernel_test.IopubWelcomeTests):  # type: ignore[misc]  # as above
    kernel_name = "cellhold"
    support_iopub_welcome = True

    @classmethod
    def tearDownClass(cls) -> None:
        super().tearDownClass()
        cls.kc.context.destroy()
