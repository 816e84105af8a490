"""The one exception that means "the user can mend this": doors print its message as one line and exit with status 2."""


class UsageError(ValueError):
    """An input, path or setting that cannot be used; the message names the value and the remedy."""
