"""A network as the settings describe it: architecture, weights, head, preprocessing, and what of it is trained."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxvision.data.augment import TrainTransform
from jaxvision.data.mix import Mix, normalize
from jaxvision.data.transforms import Preprocess
from jaxvision.models.head import MlpHead, replace_head
from jaxvision.models.image_model import ImageModel
from jaxvision.registry import create_model, model_info
from jaxvision.training.config import AugmentOptions, ConfigError, NetworkOptions
from jaxvision.training.freeze import split_params
from jaxvision.training.losses import Task
from jaxvision.training.step import Prepare
from jaxvision.weights import load_weights


@dataclass(frozen=True)
class Network:
    """A model and what its pictures must look like.

    Attributes:
        model: the module.
        preprocess: evaluation preprocessing.
        classifiers: paths of what gives the logits.
    """

    model: ImageModel
    preprocess: Preprocess
    classifiers: tuple[str, ...]


def build_network(options: NetworkOptions, task: Task, seed: int, weights: bool = True) -> Network:
    """Builds the network.

    Args:
        options: the settings.
        task: says how many outputs there are.
        seed: of the initial values.
        weights: load what the settings name; False where a checkpoint follows.

    Raises:
        ConfigError: settings that do not fit together.
        ModelNameError, WeightsError, TypeError, ValueError: as `jaxvision.create_model`.
    """
    if options.pretrained and options.initial_checkpoint:
        raise ConfigError("--pretrained and --initial-checkpoint both say where to start: give one of them")
    rates = {"drop_rate": options.drop, "drop_path_rate": options.drop_path}
    changes: dict[str, Any] = {name: rate for name, rate in rates.items() if rate}
    changes |= {name: _parsed(value) for name, value in options.model_options.items()}
    checkpoint = options.initial_checkpoint if weights else None
    layered = options.head == "mlp"
    model = create_model(
        options.model,
        pretrained=(weights and options.pretrained) if checkpoint is None or layered else checkpoint,
        num_classes=task.num_outputs,
        in_chans=options.in_chans,
        img_size=_size(options),
        dtype=options.dtype if options.dtype != "float32" else None,
        seed=seed,
        **changes,
    )
    if layered:
        head = MlpHead(
            model.head_hidden_size,
            task.num_outputs,
            hidden=options.head_hidden,
            batch_norm=options.head_batch_norm,
            drop=options.head_drop,
            dtype=jnp.dtype(options.dtype) if options.dtype != "float32" else None,
            rngs=nnx.Rngs(seed + 1),
        )
        replace_head(model, head)
        if checkpoint is not None:  # its head may have these layers
            load_weights(model, checkpoint, reset_head=True).tell()
    return Network(model, preprocess_of(options), tuple(model.classifiers))


def preprocess_of(options: NetworkOptions) -> Preprocess:
    """The evaluation preprocessing: that of the weights, but for what the settings change."""
    preprocess = model_info(options.model).preprocess(_size(options), options.in_chans or 3)
    given = {name: getattr(options, name) for name in ("mean", "std", "crop_pct", "interpolation")}
    return replace(preprocess, **{name: value for name, value in given.items() if value is not None})


def _size(options: NetworkOptions) -> tuple[int, int] | None:
    return None if options.img_size is None else (options.img_size[0], options.img_size[-1])


def trained_and_frozen(options: NetworkOptions, network: Network, params: Any) -> tuple[Any, Any]:
    """The parameters to train and those to leave alone, as the settings say.

    Raises:
        ConfigError: settings that exclude each other.
        PatternError: a pattern selects nothing.
    """
    if options.freeze_backbone:
        if options.train_only or options.freeze:
            raise ConfigError("--freeze-backbone already says what is trained: leave out --freeze and --train-only")
        return split_params(params, train_only=network.classifiers)
    if options.cache_features:
        raise ConfigError("--cache-features needs --freeze-backbone: features of a network that learns do not last")
    return split_params(params, freeze=options.freeze, train_only=options.train_only)


def train_transform(options: AugmentOptions, preprocess: Preprocess) -> TrainTransform:
    """The changes of training pictures."""
    return TrainTransform(
        size=preprocess.size,
        scale=options.scale,
        ratio=options.ratio,
        hflip=options.hflip,
        vflip=options.vflip,
        rotation=options.rotation,
        color_jitter=0.0 if options.aa else options.color_jitter,
        auto_augment=options.aa,
        interpolation=options.train_interpolation,
        reprob=options.reprob,
        remode=options.remode,
        recount=options.recount,
        no_aug=options.no_aug,
        mean=preprocess.mean,
        std=preprocess.std,
    )


def prepare_images(task: Task, preprocess: Preprocess, dtype: str, augment: AugmentOptions | None = None) -> Prepare:
    """``prepare(batch, key)`` of a step: normalises pictures and, in training, mixes them.

    Raises:
        ConfigError: mixing where the task has nothing to mix.
    """
    mix = None
    if augment is not None and (augment.mixup or augment.cutmix):
        if task.num_outputs == 1 or task.name in ("regression", "heteroscedastic"):
            raise ConfigError(f"--mixup and --cutmix mix class targets, which a {task.name} task does not have")
        mix = Mix(
            mixup_alpha=augment.mixup,
            cutmix_alpha=augment.cutmix,
            prob=augment.mixup_prob,
            switch_prob=augment.mixup_switch_prob,
            mode=augment.mixup_mode,
        )

    def prepare(batch: Any, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        images = normalize(batch["image"], preprocess.mean, preprocess.std, jnp.dtype(dtype))
        targets = task.targets(batch["label"])
        return (images, targets) if mix is None or key is None else mix(key, images, targets)

    return prepare


def prepare_features(task: Task) -> Prepare:
    """``prepare(batch, key)`` where the batch's images are a backbone's features already."""
    return lambda batch, key: (batch["image"], task.targets(batch["label"]))


class Backbone(nnx.Module):
    """A model up to what its classifier sees."""

    def __init__(self, model: ImageModel):
        self.model = model

    def __call__(self, images: jax.Array, train: bool = False, rngs: Any = None) -> jax.Array:
        """Pooled features."""
        return self.model.forward_head(self.model.forward_features(images), pre_logits=True)


def classifier_view(model: ImageModel) -> ImageModel:
    """The model from where `Backbone` ends: it takes pooled features. It shares the model's variables and paths."""
    view = nnx.clone(model, variables=False, graph=True)
    view.__class__ = _classifier_class(type(model))
    return view


@cache  # Flax registers every subclass for good
def _classifier_class(base: type[ImageModel]) -> type[ImageModel]:
    return type(base.__name__, (base,), {"__doc__": base.__doc__, "__call__": base.classify})


def _parsed(value: str) -> Any:
    """A field's value as YAML reads it; lists become tuples, as configs have them."""
    import yaml

    parsed = yaml.safe_load(value)
    return tuple(parsed) if isinstance(parsed, list) else parsed
