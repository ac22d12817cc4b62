"""A model that is being trained drops values at random: what is read of it would differ from run to run."""

from __future__ import annotations

from torch import nn

from interp.errors import UsageError


def refuse_dropout(hf: nn.Module) -> None:
    """Raises UsageError for a model in training mode with dropout: loading leaves it out of that mode, a user may not.

    Dropout is told by its modules, and by the configuration's probabilities, since some families call a function.
    """
    if hf.training and (told := _dropout_of(hf)):
        raise UsageError(
            f"the model is in training mode with dropout ({told}), so that every run of it gives other numbers: call "
            "model.hf.eval() first"
        )


def _dropout_of(hf: nn.Module) -> str:
    """The first dropout above 0, in words; empty without any."""
    for name, module in hf.named_modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            return f"{name}: {module.p:g}"
    values = vars(getattr(hf, "config", None) or object).items()
    shares = ((name, value) for name, value in values if "drop" in name and isinstance(value, float))
    return next((f"{name}: {value:g}" for name, value in shares if value > 0), "")
