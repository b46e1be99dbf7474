"""Optimizers beside PyTorch's own: `(parameter groups)` -> an optimizer."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from longtail.ranges import check_finite

Closure = Callable[[], Any]  # computes the gradients, returns the loss


class SAM(torch.optim.SGD):
    """Sharpness-aware minimisation: SGD with the gradient of the worst point nearby (Foret et al. 2021, algorithm 1).

        g = grad L(w),   w <- SGD step from w with grad L(w + rho g / ||g||)

    with one norm over all parameters. A step takes two passes on the same batch with the same random draws, and its
    loss is the first one's. Batch-norm statistics are updated in both, as in the code of Rangwani et al. 2022, who
    use it for long tails; and so is whatever else a model or method learns from a batch. Gradients are clipped in
    both.

    Args:
        params: parameters, or groups of them.
        rho: length of the way uphill, >= 0; 0 for SGD itself, in one pass.
        lr, momentum, weight_decay, nesterov, fused: of `torch.optim.SGD`.

    Attributes:
        takes_two_passes: whether a step computes its gradients twice.

    Raises:
        ValueError: rho, or a setting of SGD, is outside its range.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        fused: bool | None = None,
        rho: float = 0.05,
    ) -> None:
        check_finite("rho", rho)
        super().__init__(params, lr, momentum, 0.0, weight_decay, nesterov, fused=fused)
        self.rho, self.takes_two_passes = rho, rho > 0

    def step(self, closure: Closure | None = None) -> Any:
        """Take a step and return the loss before it.

        Raises:
            ValueError: there is no closure that computes the gradients, which are needed twice.
        """
        if not self.takes_two_passes:
            return super().step(closure)
        if closure is None:
            raise ValueError("optimizer.rho: must be 0 where a step cannot compute its gradients twice")
        return super().step(lambda: self._look_uphill(closure))

    def _look_uphill(self, closure: Closure) -> Any:
        """Leave the gradients of the point uphill, but the parameters where they are; return the loss there."""
        parameters = [p for group in self.param_groups for p in group["params"]]
        gpus = {p.device.index for p in parameters if p.device.type == "cuda"}
        with torch.random.fork_rng(sorted(gpus), device_type="cuda"):
            loss = closure()
        moved = [p for p in parameters if p.grad is not None]
        if moved:
            before = self._move(moved)
            closure()
            with torch.no_grad():
                for parameter, start in zip(moved, before, strict=True):
                    parameter.copy_(start)
        return loss

    @torch.no_grad()
    def _move(self, parameters: list[Tensor]) -> list[Tensor]:
        """Move parameters uphill, by rho in all; return where they were."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        before = [p.clone() for p in parameters]
        length = self.rho / (torch.nn.utils.get_total_norm(gradients) + 1e-12)  # no gradient, no move
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.add_(gradient * length)
        return before
