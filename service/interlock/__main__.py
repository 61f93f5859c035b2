"""`python -m interlock` is `interlock serve`."""

import sys

from interlock.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
