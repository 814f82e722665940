"""``python -m wsgiproxy``: the command of the same name."""

from __future__ import annotations

import sys

from wsgiproxy.cli import main

if __name__ == "__main__":
    sys.exit(main())
