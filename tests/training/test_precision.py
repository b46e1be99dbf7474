"""bfloat16 is chosen where it is native and nowhere else."""

from typing import Any

import pytest
import torch

from longtail.training import precision

CAPABILITIES = [
    ({"avx512_bf16": True}, "bf16-mixed"),
    ({"amx_bf16": True}, "bf16-mixed"),
    ({"avx512_f": True, "avx512_bf16": False}, "32-true"),
    ({}, "32-true"),
]


@pytest.mark.parametrize(("capabilities", "expected"), CAPABILITIES)
def test_a_processor_gets_bfloat16_if_it_computes_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert precision.choose("cpu") == expected


def test_a_torch_that_cannot_tell_means_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert precision.choose("cpu") == "32-true"


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
@pytest.mark.parametrize("accelerator", ["auto", "gpu", "cuda"])
def test_a_gpu_gets_bfloat16_if_it_is_no_emulation(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, native: bool, expected: str
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return including_emulation or native

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert precision.choose(accelerator) == expected


@pytest.mark.parametrize("accelerator", ["auto", "mps"])
def test_apples_gpu_stays_with_float32(monkeypatch: pytest.MonkeyPatch, accelerator: str) -> None:
    def yes(*_: Any) -> bool:
        return True

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", yes)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert precision.choose(accelerator) == "32-true"
