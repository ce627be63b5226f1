"""python -m cellhold.cli: the command without an installed script."""

import sys

from cellhold.cli import main

sys.exit(main())
