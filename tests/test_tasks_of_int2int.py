"""Tasks in Int2Int's conventions: fractions, modular products, matrices; number-level tokens."""

from fractions import Fraction
from random import Random

import numpy as np
import pytest

from tinyadder.errors import TinyadderError
from tinyadder.tasks.derivative_numbers import DerivativeNumbers
from tinyadder.tasks.fraction import LowestTerms
from tinyadder.tasks.matrix import Matrix
from tinyadder.tasks.modular_multiplication import ModularMultiplication
from tinyadder.train.models import make_model
from tinyadder.train.recipe import ModelRecipe

OPERATIONS = ("transpose", "sum", "product", "rank", "eigenvalues")
TASKS = [
    LowestTerms(largest=400, base=30),
    ModularMultiplication(largest=500, base=10, modulus=97),
    *(Matrix(operation=operation) for operation in OPERATIONS),
    Matrix(operation="rank", rows=4),
    DerivativeNumbers(order="printed"),
]


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_problems_are_read_as_shown_and_answers_fit_vocabulary_and_length(task):
    random = Random(1)
    for problem in [*task.hard(), *task.uniform(random, 50), *task.structured(random, 50)]:
        assert task.check(problem) == problem == task.parse(task.show(problem))
        tokens = [*task.prompt(problem), *task.answer(problem)]
        assert (
            set(tokens) <= set(task.vocabulary) and len(task.answer(problem)) <= task.answer_length
        )
        assert task.answer(problem)[-1] == task.end and task.show_answer(task.answer(problem))
    assert task.show_answer(("$",)) is not None
    make_model(ModelRecipe(kind="encoder-decoder", width=8), task, 1)


def test_fractions_are_in_lowest_terms_and_multiples_are_on_one_side_of_a_split():
    task = LowestTerms(largest=400)
    for a, b in task.uniform(Random(2), 200):
        assert Fraction(task.show_answer(task.answer((a, b)))) == Fraction(a, b)
    assert task.split_key((3, 6)) == task.split_key((50, 100)) != task.split_key((6, 3))


def test_products_are_taken_modulo_the_modulus():
    task = ModularMultiplication(modulus=45)
    assert task.answer((14, 21)) == ("+", "2", "4", "$")
    assert task.split_key((14, 21)) == task.split_key((66, 14 + 45))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_matrices_are_answered_as_numpy_answers_them(operation):
    task = Matrix(operation=operation, rows=2 if operation == "eigenvalues" else 3)
    for problem in [*task.balanced(Random(3), 60), *task.structured(Random(3), 60)]:
        first, last = np.array(problem[0]), np.array(problem[-1])
        right = {
            "transpose": lambda a, b: a.T,
            "sum": lambda a, b: a + b,
            "product": lambda a, b: a @ b,
            "rank": lambda a, b: np.linalg.matrix_rank(a),
            "eigenvalues": lambda a, b: np.linalg.eigvalsh(a)[::-1],
        }[operation](first, last)
        assert np.allclose(np.array(task.result(problem), dtype=float), right, atol=1e-9)
    if operation == "eigenvalues":
        assert task.error(problem, task.answer(problem)) <= 0.005 < task.error(problem, ("$",))


def test_matrices_that_are_none_are_refused():
    task = Matrix(operation="sum")
    for text, said in (
        ("1 2", "is no list of rows"),
        ("[[1, 2], [3, 4]]", "is not 2 of 2 x 2"),
        ("[[1, 2], [3, 44]] [[1, 2], [3, 4]]", "44 is outside -9 .. 9"),
        ("[[1, 2], [3", "is no list of rows"),
    ):
        with pytest.raises(TinyadderError, match=said):
            task.parse(text)
    with pytest.raises(TinyadderError, match="is not symmetric"):
        Matrix(operation="eigenvalues").parse("[[1, 2], [3, 4]]")
    with pytest.raises(TinyadderError, match="expected rows=2"):
        Matrix(operation="eigenvalues", rows=3)


def test_a_number_is_one_token():
    task = DerivativeNumbers(coefficients=12)
    assert task.prompt((0, -11, 0, 12, 0, 0)) == (":", "12", "x", "^", "3", "-", "11", "x", "=")
    assert task.answer((0, -11, 0, 12, 0, 0)) == ("36", "x", "^", "2", "-", "11", "$")
