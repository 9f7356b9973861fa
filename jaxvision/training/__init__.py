"""Training: one pure step on plain pytrees, and what goes into it.

`state` is what a run carries from step to step, `losses` what depends on the kind of labels, `optim` and `schedules`
the optimisers by timm's names, `freeze` what is not trained, `step` the step itself. Each is imported by its own name:
this package imports nothing, so that it stays cheap.
"""
