"""Which precision a run computes in, where its settings leave that to the machine."""

from collections.abc import Mapping

import torch


def choose(accelerator: str) -> str:
    """`bf16-mixed` where the device computes bfloat16 natively, else `32-true`, as Lightning names them.

    Mixed means autocast: weights, optimizer and loss stay in float32, convolutions and matrix products take bfloat16.
    A processor that only emulates bfloat16 is slower with it, so it stays with float32.

    Args:
        accelerator: Lightning's: auto, cpu, gpu, cuda or mps.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator == "cpu" or (accelerator == "auto" and not torch.backends.mps.is_available()):
        native = _processor_has_bf16()
    else:
        native = False
    return "bf16-mixed" if native else "32-true"


def _processor_has_bf16() -> bool:
    # Older versions of PyTorch cannot tell: float32 is right everywhere.
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
