"""Training and evaluation by two processes that do not have as many images each: the results are those of one."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import start_processes

from longtail.detection.boxes import BACKGROUND
from longtail.detection.criterion import DetectionCriterion
from longtail.detection.evaluation import AveragePrecision, DetectionOutcome
from longtail.detection.losses import Focal

from .test_evaluation import scenes

Found = tuple[list[dict[str, object]], list[Tensor]]  # outcomes, gradients
COUNTS = torch.tensor([200, 30, 10])
LOGITS = torch.randn(3, 6, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.full((3, 6), BACKGROUND)
LABELS[0, :5] = torch.tensor([0, 1, 2, 2, 1])  # the last image, of the second process, has no positive anchor


def evaluate(images: slice) -> DetectionOutcome:
    found, truth = scenes(0, len(COUNTS), images=5)
    metric = AveragePrecision(COUNTS)
    if found[images]:
        metric.update(found[images], type(truth)(*(part[images] for part in truth)))
    return metric.outcome()


def gradient(images: slice, labels: Tensor = LABELS) -> Tensor:
    """Of the loss by the factor of all logits, before it is averaged over processes."""
    factor = torch.ones((), requires_grad=True)
    criterion = DetectionCriterion(Focal(COUNTS, gamma=0), torch.tensor([0.5, 1, 3]))
    losses = (LOGITS * factor)[images]
    (found,) = torch.autograd.grad(criterion(losses, labels[images], losses.abs().sum(-1)), factor)
    return found


def work(rank: int, place: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{place}/meeting", rank=rank, world_size=2)
    mine = slice(0, 2) if rank == 0 else slice(2, None)
    outcomes = [vars(evaluate(mine)), vars(evaluate(slice(None) if rank == 0 else slice(0)))]
    gradients = [gradient(mine), gradient(mine, torch.full_like(LABELS, BACKGROUND))]
    torch.save((outcomes, gradients), place / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    place = tmp_path_factory.mktemp("two")
    start_processes(work, (place,), nprocs=2, start_method="fork")
    return [torch.load(place / f"{rank}.pt") for rank in (0, 1)]


def test_both_have_the_scores_of_all_images(by_two: list[Found]) -> None:
    expected = evaluate(slice(None))
    assert expected.scores["mAP"] > 0
    for outcome in (outcome for outcomes, _ in by_two for outcome in outcomes):  # one of them of no images of its own
        assert outcome["scores"] == pytest.approx(expected.scores, nan_ok=True)
        assert outcome["per_class"] == pytest.approx(expected.per_class)
        assert outcome["support"] == expected.support


@pytest.mark.parametrize(("which", "labels"), [(0, LABELS), (1, torch.full_like(LABELS, BACKGROUND))])
def test_the_mean_of_their_gradients_is_that_of_the_joint_batch(
    which: int, labels: Tensor, by_two: list[Found]
) -> None:
    mean = torch.stack([gradients[which] for _, gradients in by_two]).mean()
    torch.testing.assert_close(mean, gradient(slice(None), labels))
