"""What equalization losses draw, and for whom."""

import torch

from longtail.losses import SigmoidEqualization, SoftmaxEqualization

COUNTS = [100, 50, 3, 2]
LOGITS, TARGETS = torch.zeros(4000, 4), torch.arange(4).repeat(1000)


def test_a_rare_class_is_left_out_of_other_classes_softmax_as_often_as_it_should_be() -> None:
    torch.manual_seed(0)
    losses = SoftmaxEqualization(COUNTS, threshold=0.1, gamma=0.7)(LOGITS, TARGETS)
    left = losses.exp().round().view(-1, 4)  # how many classes were in the sum
    for target, possible in enumerate([(2, 3, 4), (2, 3, 4), (3, 4), (3, 4)]):
        shares = [float((left[:, target] == number).float().mean()) for number in possible]
        expected = [0.49, 0.42, 0.09] if len(possible) == 3 else [0.7, 0.3]
        torch.testing.assert_close(torch.tensor(shares), torch.tensor(expected), atol=0.04, rtol=0)


def test_a_frequent_or_true_class_gets_its_gradient_always_and_a_rare_one_none() -> None:
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for loss in (SoftmaxEqualization(COUNTS, threshold=0.1, gamma=1), SigmoidEqualization(COUNTS, threshold=0.1)):
        (gradient,) = torch.autograd.grad(loss(logits, torch.arange(4)).sum(), logits)
        spared = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 1, 0]]).bool()
        assert torch.equal(gradient == 0, spared)


def test_the_draw_follows_the_seed_and_evaluation_draws_nothing() -> None:
    loss = SoftmaxEqualization(COUNTS, threshold=0.1)
    draws = []
    for _ in range(2):
        torch.manual_seed(3)
        draws.append([loss(LOGITS[:8], TARGETS[:8]) for _ in range(3)])
    assert all(map(torch.equal, *draws))
    assert not torch.equal(draws[0][0], draws[0][1])
    before = torch.get_rng_state()
    loss.eval()(LOGITS, TARGETS)
    assert torch.equal(torch.get_rng_state(), before)


def test_half_of_an_equal_share_is_rare_unless_said_otherwise() -> None:
    assert SoftmaxEqualization([100, 80, 30, 29]).rare.tolist() == [False, False, False, True]
    assert not SoftmaxEqualization([9, 9, 9]).balances_classes
    hundred = torch.tensor([199.0, *[100.0] * 98, 1.0])
    assert torch.equal(SigmoidEqualization(hundred).rare, SigmoidEqualization(hundred, threshold=0.005).rare)


def test_the_sigmoids_start_at_their_prior() -> None:
    bias = torch.tensor(SigmoidEqualization(COUNTS).initial_bias)
    torch.testing.assert_close(torch.sigmoid(bias), torch.tensor(0.001))
