"""Rounding of channel counts."""


def make_divisible(width: float, divisor: int = 8, *, keep: float = 0.9) -> int:
    """Rounds to the nearest multiple of ``divisor``, at least one of it, and never below ``keep`` times the width.

    The rule of MobileNet and all that follow it (Sandler et al. 2018, appendix).
    """
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < keep * width else rounded
