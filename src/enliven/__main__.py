"""``python -m enliven``, which is how ``torchrun`` starts it."""

from enliven.cli import main

main()
