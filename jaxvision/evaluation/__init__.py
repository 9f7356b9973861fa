"""From labels and probabilities to numbers, plots and a report.

* `jaxvision.evaluation.metrics`: what is measured, for classification, multi-label classification and regression;
* `jaxvision.evaluation.threshold`: where to cut a binary classifier's probabilities;
* `jaxvision.evaluation.history`: the curves of a training run;
* `jaxvision.evaluation.plots`: figures of all that;
* `jaxvision.evaluation.comparison`: several results in one table;
* `jaxvision.evaluation.report`: one page, with the files behind it.

Nothing is imported here, since scikit-learn and matplotlib come with the `train` extra only.
"""
