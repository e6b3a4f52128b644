"""Baselines that train every model, as one writes them with PyTorch: one model after another."""

import copy
import math

import torch
from torch.nn import functional as F

from benchmarks.baselines import SPECS, Sizes, importance
from benchmarks.population import table
from benchmarks.torch_mlp import DEVICE, MLP, finish


def js_divergence(logits: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean JS divergence in nats of two softmax distributions [rows, classes]."""
    log_p, log_q = F.log_softmax(logits, -1), F.log_softmax(teacher, -1)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2.0)
    return 0.5 * (log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)).sum(-1).mean()


def train(
    model: MLP, keep: list[torch.Tensor], x: torch.Tensor, target: torch.Tensor, loss, config
) -> None:
    """`retrain` in place: the kept weights (`keep`, a mask per block) and all other parameters."""
    weights = [block.weight for block in model.blocks]
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    with torch.no_grad():
        torch._foreach_mul_(weights, keep)
    for step in range(config.steps):
        decay = 0.5 * (1.0 + math.cos(math.pi * step / config.steps))
        optimiser.param_groups[0]["lr"] = config.learning_rate * decay
        rows = torch.randint(len(x), (config.batch_size,), device=DEVICE)
        optimiser.zero_grad()
        loss(model(x[rows]), target[rows]).backward()
        optimiser.step()
        with torch.no_grad():
            torch._foreach_mul_(weights, keep)


def fresh_student(sizes: Sizes, original: MLP, x: torch.Tensor, y: torch.Tensor) -> None:
    """FS & Retrain: a fresh student on the most important features, distilled from the original."""
    keep = [torch.ones_like(block.weight) for block in original.blocks]
    ranked = torch.from_numpy(importance()).argsort(descending=True)
    for (source, _), mask in zip(original.spec.blocks, keep, strict=True):
        if source == 0:
            mask[:, ranked[sizes.features_kept :]] = 0.0
    student = copy.deepcopy(original)
    for module in (*student.blocks, *student.norms):
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    with torch.no_grad():
        teacher = original(x)
    train(student, keep, x, teacher, js_divergence, sizes.student)


def ticket(sizes: Sizes, original: MLP, x: torch.Tensor, y: torch.Tensor) -> None:
    """Lottery Ticket: rounds of training, pruning by magnitude and rewinding; then it is trained.

    By the original's outputs, which it has already in the first round.
    """
    keep = [torch.ones_like(block.weight) for block in original.blocks]
    counts = [mask.numel() for mask in keep]
    with torch.no_grad():
        teacher = original(x)
    for number in range(1, sizes.rounds + 1):
        model = copy.deepcopy(original)
        if number > 1:
            train(model, keep, x, teacher, js_divergence, sizes.ticket)
        magnitude = torch.cat([block.weight.detach().abs().flatten() for block in model.blocks])
        magnitude *= torch.cat([mask.flatten() for mask in keep])
        kept = torch.zeros_like(magnitude)
        share = max(sizes.kept**number, sizes.weights_kept)
        kept[magnitude.argsort(descending=True)[: round(share * sum(counts))]] = 1.0
        keep = [part.view_as(m) for part, m in zip(kept.split(counts), keep, strict=True)]
    train(copy.deepcopy(original), keep, x, teacher, js_divergence, sizes.ticket)


EDITS = {"FS & Retrain": fresh_student, "Lottery Ticket": ticket}


def one_by_one(sizes: Sizes, edit: str):
    """One of EDITS on one random model of every spec, one after the other."""
    data = table(sizes.rows)
    x, y = torch.from_numpy(data.x).to(DEVICE), torch.from_numpy(data.y).long().to(DEVICE)
    models = [MLP(spec, number).to(DEVICE) for number, spec in enumerate(SPECS)]

    def run():
        for model in models:
            EDITS[edit](sizes, model, x, y)
        finish()
        return len(models)

    return run
