"""Training a population with PyTorch: one model after another, and together by torch.func."""

import torch
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.population import Sizes, table
from benchmarks.torch_mlp import DEVICE, MLP, finish
from metanet.mlp.spec import MLPSpec


def tensors(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """x [rows, features] and y [rows] of the training data."""
    data = table(rows)
    return torch.from_numpy(data.x).to(DEVICE), torch.from_numpy(data.y).long().to(DEVICE)


def loop(sizes: Sizes, spec: MLPSpec, tuned: bool):
    """One model after the other, the usual way; `tuned`: without DataLoader, with fused AdamW."""
    x, y = tensors(sizes.rows)
    batches = DataLoader(TensorDataset(x, y), batch_size=sizes.batch, shuffle=True, drop_last=True)
    model = MLP(spec, dropout=sizes.dropout).to(DEVICE)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=tuned or None)
    criterion = torch.nn.CrossEntropyLoss()

    def gathered():
        order = torch.randperm(sizes.rows, device=DEVICE)[: sizes.epoch * sizes.batch]
        return ((x[rows], y[rows]) for rows in order.reshape(sizes.epoch, sizes.batch))

    def run():
        for x_batch, y_batch in gathered() if tuned else batches:
            optimiser.zero_grad()
            criterion(model(x_batch), y_batch).backward()
            optimiser.step()
        finish()
        return sizes.epoch

    return run


def ensemble(sizes: Sizes, spec: MLPSpec, members: int, compiled: bool):
    """All members together by torch.func, on shared batches; relu and one learning rate for all."""
    x, y = tensors(sizes.rows)
    models = [MLP(spec, dropout=sizes.dropout, running=False).to(DEVICE) for _ in range(members)]
    params = {k: leaf.detach() for k, leaf in stack_module_state(models)[0].items()}
    optimiser = torch.optim.AdamW(params.values(), lr=1e-3, fused=True)

    def loss(params, x, y):
        return F.cross_entropy(functional_call(models[0], params, (x,)), y)

    gradients = vmap(grad(loss), in_dims=(0, None, None), randomness="different")
    if compiled:
        gradients = torch.compile(gradients)

    def run():
        order = torch.randperm(sizes.rows, device=DEVICE)[: sizes.steps * sizes.batch]
        for rows in order.reshape(sizes.steps, sizes.batch):
            for name, gradient in gradients(params, x[rows], y[rows]).items():
                params[name].grad = gradient
            optimiser.step()
        finish()
        return members * sizes.steps

    return run
