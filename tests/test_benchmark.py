"""The benchmark compares like with like; its speed is not tested."""

import torch

from longtail import benchmark
from longtail.models import SmallCNN


def test_both_sides_of_a_training_do_the_same_steps() -> None:
    data = benchmark.noise(600, 8, 1)
    steps: list[str] = []

    class Counted(SmallCNN):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            steps.append(str(tuple(images.shape)))
            return super().forward(images)

    longtail, bare, images = benchmark.training(Counted, data, steps=4)
    assert longtail() > 0
    by_longtail = steps.copy()
    steps.clear()
    assert bare() > 0
    assert steps == by_longtail
    assert len(steps) == 4
    assert images == 4 * benchmark.BATCH


def test_compare_takes_medians_of_rounds_in_turn() -> None:
    order: list[str] = []
    values = {"ours": iter([9.0, 1.0, 2.0, 3.0]), "theirs": iter([9.0, 10.0, 30.0, 20.0])}

    def timing(name: str) -> benchmark.Timing:
        def run() -> float:
            order.append(name)
            return next(values[name])

        return run

    assert benchmark.compare(timing("ours"), timing("theirs"), rounds=3) == (2.0, 20.0)
    assert order == ["ours", "theirs"] * 4
