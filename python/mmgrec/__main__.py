"""``python -m mmgrec``: the command line, for torchrun."""

from mmgrec.cli.main import main

main()
