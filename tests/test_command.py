"""Noted command lines that are typed again."""

import shlex

import pytest

from cycle.__main__ import parser
from cycle.command import again, folder_of


@pytest.mark.parametrize(
    ("words", "folder", "said"),
    [
        (["run"], None, "./run.sh"),
        (["run", "--corpus", "hsk", "--stop-stage", "2", "--", "seed=2"], None, "./run.sh --corpus hsk -- seed=2"),
        (["decode", "--redo", "--exp", "my b"], None, "./run.sh --exp 'my b'"),
        (["run", "--stage=5", "--exp", "b", "--redo", "--jobs", "2", "--", "a=--redo"], "/x/b", "./run.sh --jobs 2 --exp /x/b -- a=--redo"),
        (["run", "--exp=b", "--stop-stage=3"], "/x y", "./run.sh --exp '/x y'"),
    ],
)
def test_what_belongs_to_one_call_is_left_out(words, folder, said):
    assert again(words, folder) == said
    parser().parse_args(["run", *shlex.split(said.partition(" -- ")[0])[1:]])  # it can be typed


def test_the_folder_of_a_command():
    every = (["run"], ["run", "--exp", "a b"], ["run", "--exp=c", "--", "--exp"], ["run", "--", "--exp", "d"])
    assert [folder_of(words, "mini") for words in every] == ["exp/mini", "a b", "c", "exp/mini"]
