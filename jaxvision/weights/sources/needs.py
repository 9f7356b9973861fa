"""What weights need of a model's config."""

from typing import Any


def needs(config: Any, **fields: Any) -> str | None:
    """Why weights that need these settings would be wrong in a model of this config, or None.

    Settings that the config does not have are left out: such a model's weights do not fit anyway.
    """
    wrong = {name: value for name, value in fields.items() if getattr(config, name, value) != value}
    if not wrong:
        return None
    found = ", ".join(f"{name}={getattr(config, name)!r}" for name in wrong)
    wanted = ", ".join(f"{name}={value!r}" for name, value in wrong.items())
    return (
        f"these weights were trained with {wanted}, and this model has {found}: they would fit and give worse answers; "
        f"build it with create_model(..., {wanted})"
    )
