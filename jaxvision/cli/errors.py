"""What a command tells its user in one line instead of a traceback."""


class CommandError(Exception):
    """Something that could not be done: exit code 1."""


class UsageError(CommandError):
    """Something that was asked for wrongly: exit code 2."""
