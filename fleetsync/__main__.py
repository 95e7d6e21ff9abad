"""`python -m fleetsync`."""

from fleetsync.cli.main import main

main()
