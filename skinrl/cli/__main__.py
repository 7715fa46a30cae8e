"""``python -m skinrl.cli``, which ``torchrun`` and ``accelerate launch`` can start."""

from skinrl.cli import main

if __name__ == "__main__":
    main()
