"""``jaxvision convert``: weights in any naming, into a file with timm's."""

import ast
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from jaxvision.cli.errors import CommandError, UsageError, refused


@dataclass(frozen=True, kw_only=True)
class Command:
    """Convert weights of any source into a file that timm loads.

    Reads safetensors, PyTorch and npz files of torchvision, transformers, Google, the authors of Swin, DeiT, DINO, MAE
    and CLIP, and others; which it is, is told from the names in it. All of the file must fit the model, and all of the
    model must be in the file, or nothing is written. What was left aside (decoders, text towers) is listed.
    """

    weights: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WEIGHTS")]
    """A file or folder, a repository of the Hugging Face hub, or a URL."""
    model: str
    """Name of the architecture that the weights are for (`jaxvision models` lists them)."""
    output: Path
    """File to write, which ends in .safetensors."""
    format: str | None = None
    """The source, such as timm or torchvision, where the names do not tell it."""
    to: Literal["timm", "jaxvision"] = "timm"
    """The names to write; timm's are PyTorch's layouts, too."""
    num_classes: int | None = None
    """Number of classes of the weights, if it is not that of the published ones; 0 leaves a classifier away."""
    in_chans: int | None = None
    """Input channels. Default: 3."""
    img_size: tuple[int] | tuple[int, int] | None = None
    """Side, or height and width, of the input; position embeddings are resized to it. Default: that of the model."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the numbers written; BatchNorm's statistics are float32 in any case."""
    model_options: dict[str, str] = field(default_factory=dict)
    """Other fields of the family's config, as NAME VALUE pairs: bn_eps 1e-3."""

    def run(self) -> int:
        """Runs the command."""
        from flax import nnx

        from jaxvision.registry import create_model, model_info
        from jaxvision.weights import WeightsError, load_weights, resolve, save_weights

        options = {name: _parsed(value) for name, value in self.model_options.items()}
        try:
            model = nnx.eval_shape(
                lambda: create_model(
                    self.model,
                    num_classes=self.num_classes,
                    in_chans=self.in_chans,
                    img_size=None if self.img_size is None else (self.img_size[0], self.img_size[-1]),
                    param_dtype=self.dtype,
                    **options,
                )
            )
            report = load_weights(model, resolve(self.weights), format=self.format)
            metadata = {"architecture": model_info(self.model).architecture}
            save_weights(model, self.output, format=self.to, metadata=metadata)
        except WeightsError as error:
            raise refused(error) from None
        except OSError as error:
            raise CommandError(f"cannot convert {self.weights!r} to {str(self.output)!r}: {error}") from None
        except (ValueError, TypeError) as error:
            raise UsageError(str(error)) from None
        sys.stdout.write(f"{report}\nwrote {self.output} ({self.to} names)\n")
        return 0


def _parsed(value: str) -> Any:
    """A number, a tuple, True or the like as Python reads it; a word as it is."""
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
