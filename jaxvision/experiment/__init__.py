"""From settings to a finished run: what `jaxvision train`, `finetune` and `evaluate` do, as functions.

`network` builds and restores networks, `splits` opens the data, `features` computes a frozen backbone's features once,
`train` runs a training, `assess` evaluates and writes the report. Each is imported by its own name.
"""
