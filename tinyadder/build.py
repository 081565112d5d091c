"""`python -m tinyadder.build NAME` is `tinyadder build NAME`."""

from tinyadder.cli import main
from tinyadder.commands.build import command

if __name__ == "__main__":
    main(command=command, name="python -m tinyadder.build")
