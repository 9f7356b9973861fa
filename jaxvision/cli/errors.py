"""What a command tells its user in one line instead of a traceback."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxvision.weights import WeightsError


class CommandError(Exception):
    """Something that could not be done: exit code 1."""


class UsageError(CommandError):
    """Something that was asked for wrongly: exit code 2."""


def refused(error: "WeightsError") -> CommandError:
    """What is wrong with weights, and which option helps."""
    classes = getattr(error, "num_classes", None)
    return CommandError(f"{error}\n--num-classes {classes} keeps the file's classifier" if classes else str(error))
