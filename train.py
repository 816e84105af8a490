"""Train, validate or test from the command line: `python train.py fit` with nothing further trains the default generator.

Everything is in `anti_i2v.training.cli`; this file only gives it the name people look for.
"""

import sys

from anti_i2v.errors import UsageError, needs_train

if __name__ == "__main__":
    try:
        with needs_train("train.py"):
            from anti_i2v.training.cli import main
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    main()
