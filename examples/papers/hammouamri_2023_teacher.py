"""Planted delays: a layer learns to answer as another one does, and its delays are compared with that one's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import snnkit
from snnkit.data import teacher
from snnkit.train import TrainSettings
from snnkit.train.optimiser import optimiser, set_learning_rates


@dataclass(frozen=True)
class Lesson:
    """How a student learns.

    Args:
        inputs, outputs, max_delay: of teacher and student.
        steps: of the optimiser, each on new samples.
        batch, duration: samples of a step, and their length in steps of time.
        lr, delay_lr: highest rates of weights and delays; both fall to zero as a cosine.
    """

    inputs: int = 20
    outputs: int = 10
    max_delay: int = 24
    steps: int = 1500
    batch: int = 32
    duration: int = 60
    lr: float = 3e-2
    delay_lr: float = 0.5


@dataclass(frozen=True, eq=False)
class Learnt:
    """What became of the student.

    Args:
        recovered: share of the teacher's synapses whose delay was found within one step, before and after.
        error: mean square of what the rounded student answers wrong, over that of the answers.
        planted, before, after: delays of the teacher's synapses, in steps.
    """

    recovered: tuple[float, float]
    error: float
    planted: Tensor
    before: Tensor
    after: Tensor


def learn(lesson: Lesson, *, seed: int) -> Learnt:
    """Plant delays, learn them, and compare.

    Args:
        lesson: sizes and settings.
        seed: of the teacher, of the samples and of the student.
    """
    generator = torch.Generator().manual_seed(seed)
    planted = teacher.draw(lesson.inputs, lesson.outputs, generator=generator, max_delay=lesson.max_delay)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = snnkit.DelayLinear(lesson.inputs, lesson.outputs, max_delay=lesson.max_delay)
    before = student.delay.detach().clone()
    settings = TrainSettings(lr=lesson.lr, delay_lr=lesson.delay_lr, schedule="cosine")
    steps = optimiser(student, settings)
    for step in range(lesson.steps):
        set_learning_rates(steps, settings, step / lesson.steps)
        student.anneal(step / lesson.steps)
        x, y = planted.sample(lesson.batch, lesson.duration, generator=generator)
        steps.zero_grad()
        torch.nn.functional.mse_loss(student(x), y).backward()
        steps.step()
        student.constrain()
    student.eval()
    x, y = planted.sample(lesson.batch, lesson.duration, generator=generator)
    with torch.no_grad():
        error = float((student(x) - y).square().mean() / y.square().mean())
    there = planted.weight != 0
    return Learnt(
        recovered=(planted.recovered(before), planted.recovered(student.delay)),
        error=error,
        planted=planted.delay[there],
        before=before[..., 0][there],
        after=student.delay.detach()[..., 0][there],
    )
