"""`python -m tinyadder` is the `tinyadder` command."""

from tinyadder.cli import main

main()
