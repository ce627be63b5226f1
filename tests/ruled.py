"""The host kernel under a policy of the test's own.

Run as `python ruled.py -f CONNECTION_FILE ...`; POLICY names the policy's file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cellhold.container.container import Container
from cellhold_kernel import app
from cellhold_kernel.engine.local.engine import LocalEngine

POLICY = "CELLHOLD_TEST_POLICY"

if __name__ == "__main__":
    sys.exit(app.serve(app.arguments(sys.argv[1:]), LocalEngine(Container.create), rules=Path(os.environ[POLICY])))
