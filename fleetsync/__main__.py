"""`python -m fleetsync`, and the console script."""

import gc

gc.disable()  # until `main`: what is loaded is no rubbish

from fleetsync.cli.main import main  # noqa: E402 - see above

__all__ = ["main"]

if __name__ == "__main__":
    main()
