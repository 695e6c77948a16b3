"""Python's side of `cargo xtask bench --trainer`: NN4.small2 as one writes it with torch, trained on random pictures.

nn4_small2.py BATCH STEPS WARM_UP THREADS   prints how long a step takes, as JSON

A step is forward, loss, backward, clipping and Adam, on a batch that lies in memory: unlike kith-export, this side makes
no pictures meanwhile, so it has the easier work. Layers are those of export/src/nets/nn4_small2.rs.
"""

import json
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional


class ConvNormRelu(nn.Sequential):
    def __init__(self, inputs, outputs, kernel, stride=1):
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Inception(nn.Module):
    """Branches of a 1x1 and a larger convolution, one of a pool, perhaps one of a 1x1 convolution alone."""

    def __init__(self, inputs, side, convolutions, stride, pool, behind_pool, pointwise):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(ConvNormRelu(inputs, between, 1), ConvNormRelu(between, outputs, kernel, stride))
            for between, kernel, outputs in convolutions
        )
        if pool == "max":
            pooled, pool = (side - 3) // 2 + 1, nn.MaxPool2d(3, stride=2)
        else:
            pooled, pool = side // 3, nn.LPPool2d(2, 3, stride=3)
        missing = side // stride - pooled
        before, after = missing // 2, missing - missing // 2
        mixed = [ConvNormRelu(inputs, behind_pool, 1)] if behind_pool else []
        self.branches.append(nn.Sequential(pool, *mixed, nn.ZeroPad2d((before, after, before, after))))
        if pointwise:
            self.branches.append(ConvNormRelu(inputs, pointwise, 1))

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


class Nn4Small2(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            ConvNormRelu(3, 64, 7, 2),
            nn.MaxPool2d(3, 2, 1),
            nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0),
            ConvNormRelu(64, 64, 1),
            ConvNormRelu(64, 192, 3),
            nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0),
            nn.MaxPool2d(3, 2, 1),
            Inception(192, 12, [(96, 3, 128), (16, 5, 32)], 1, "max", 32, 64),
            Inception(256, 12, [(96, 3, 128), (32, 5, 64)], 1, "l2", 64, 64),
            Inception(320, 12, [(128, 3, 256), (32, 5, 64)], 2, "max", None, None),
            Inception(640, 6, [(96, 3, 192), (32, 5, 64)], 1, "l2", 128, 256),
            Inception(640, 6, [(160, 3, 256), (64, 5, 128)], 2, "max", None, None),
            Inception(1024, 3, [(96, 3, 384)], 1, "l2", 96, 256),
            Inception(736, 3, [(96, 3, 384)], 1, "max", 96, 256),
            nn.AvgPool2d(3),
            nn.Flatten(),
        )
        self.embedding = nn.Linear(736, 128)

    def forward(self, x):
        return functional.normalize(self.embedding(self.features(x)))


def distillation_loss(embeddings, targets):
    apart = (embeddings - targets).square().sum() * (0.5 / len(embeddings))
    relations = (embeddings @ embeddings.T - targets @ targets.T).square().mean()
    return apart + 2.0 * relations


def main(batch, steps, warm_up, threads):
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    net = Nn4Small2().train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    images = torch.rand(batch, 3, 96, 96)
    targets = functional.normalize(torch.randn(batch, 128))
    times_s, cpu_before = [], 0.0
    for step in range(warm_up + steps):
        if step == warm_up:
            cpu_before = time.process_time()
        began = time.perf_counter()
        optimizer.zero_grad()
        loss = distillation_loss(net(images), targets)
        loss_now = loss.item()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        if step >= warm_up:
            times_s.append(time.perf_counter() - began)
    cpu_s = time.process_time() - cpu_before
    if loss_now != loss_now:
        sys.exit("the loss is no number any more, so the times say nothing")
    step_s = statistics.median(times_s)
    print(
        json.dumps(
            {
                "torch": torch.__version__,
                "python": sys.version.split()[0],
                "parameters": sum(parameter.numel() for parameter in net.parameters()),
                "step_ms": step_s * 1000,
                "faces_per_s": batch / step_s,
                "faces_per_cpu_s": batch * steps / cpu_s,
            }
        )
    )


main(*map(int, sys.argv[1:5]))
