"""The examples in the docstrings of training run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest
import torch
from torch import nn

import snnkit
from snnkit import train

MODULES = [f"{train.__name__}.{found.name}" for found in pkgutil.iter_modules(train.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"snnkit": snnkit, "torch": torch, "nn": nn})
    assert result.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    count = sum(bool(test.examples) for name in MODULES for test in finder.find(importlib.import_module(name)))
    assert count > 20


def test_names_are_imported_when_used():
    assert set(train.__all__) == {*train._HOMES, "losses"}
    for name in train.__all__:
        assert getattr(train, name) is not None
    with pytest.raises(AttributeError, match=r"module 'snnkit.train' has no attribute 'fti'"):
        _ = train.fti


def test_reading_a_recipe_needs_no_torch(run_python):
    ended = run_python("-c", "import sys, snnkit.train; snnkit.train.read_recipe; print('torch' in sys.modules)")
    assert ended.stdout == "False\n", ended.stderr
