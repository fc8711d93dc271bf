"""Splits are told from names, and names that leave them unclear are refused."""

import pytest

from vqdiffusion_jax.data.account import Account
from vqdiffusion_jax.data.splits import divide, splits_in
from vqdiffusion_jax.errors import DataError

TRAIN = (
    "train Train TRAIN training training_set train2014 trainA train-00000-of-00001 train_0001 trainset restval"
    " xtrain minitrain traindir"
)
VALIDATION = "val VAL val2017 valid validation Validation validate dev eval evaluation valset minival hold-out held_out"
TEST = "xtest testdir test Test test2015 testing test_set testB test-dev tst 0001-test"
NONE = "cats data constrain contest invalid latest evaluator device trainer 00000 training2test_not"


@pytest.mark.parametrize(
    ("names", "split"),
    [(TRAIN, {"train"}), (VALIDATION, {"validation"}), (TEST, {"test"})],
)
def test_usual_names_of_splits(names, split):
    for name in names.split():
        assert splits_in(name) == split, name


def test_names_of_other_meaning():
    for name in NONE.split()[:-1]:
        assert not splits_in(name), name
    assert splits_in("train_val_split") == {"train", "validation"}


def kept(names, split, **options):
    account = Account()
    division = divide(names, split, where="here", account=account, **options)
    return list(division.kept), division.has_splits, {reason: shown for reason, _, shown in account}


def test_a_division():
    names = ["images/train", "images/val", "images/test", "assets"]
    assert kept(names, "train") == (
        ["images/train"],
        True,
        {"of the test split": ["images/test"], "of no split": ["assets"]},
    )
    assert kept(names, "validation")[0] == ["images/val"]
    assert kept(["a", "b"], "train") == (["a", "b"], False, {})
    assert kept(["train/a", "train/b"], "train") == (["train/a", "train/b"], False, {})
    # The outermost folder that tells the others apart decides.
    assert kept(["my_test_set/train", "my_test_set/val"], "train")[0] == ["my_test_set/train"]
    assert kept(["train/test_tubes", "train/cups", "val/cups"], "train")[0] == ["train/test_tubes", "train/cups"]


def test_the_test_split_serves_for_validation_if_there_is_no_other():
    account = Account()
    division = divide(["train", "test"], "validation", where="here", account=account)
    assert list(division.kept) == ["test"] and account.notes == [
        "there is no validation split; the test split is used for validation"
    ]


@pytest.mark.parametrize(
    "names", [["train", "cats"], ["test", "cats"], ["val", "dogs", ""], ["test"], ["train_val", "test"]]
)
def test_what_is_unclear_is_refused_with_the_names_and_the_remedy(names):
    with pytest.raises(DataError, match=r"here: .*(train|test|val).*options\.splits") as error:
        divide(names, "train", where="here", account=Account())
    assert "\n" not in str(error.value)
    assert kept(names, "train", splits="none") == (names, False, {})


def test_short_names_are_splits_side_by_side_alone():
    names = ["images/tr", "images/te", "images/extra"]
    assert kept(names, "train") == (["images/tr"], True, {"of no split": ["images/extra"]})
    assert kept(names, "validation")[0] == ["images/te"]
    assert kept(["tr", "en"], "train")[:2] == (["tr", "en"], False)  # languages


def test_splits_are_said():
    names = ["fold1", "fold2", "fold3"]
    splits = {"train": "fold[12]", "validation": "fold3"}
    assert kept(names, "train", splits=splits) == (["fold1", "fold2"], True, {})
    assert kept(names, "validation", splits=splits)[0] == ["fold3"]
    assert kept(["train", "cats"], "train", splits={"train": "train"}) == (["train"], False, {"of no split": ["cats"]})
    for wrong, message in (({"train": "x*"}, "matches nothing; found fold1"), ({"training": "x"}, "allowed: ''")):
        with pytest.raises(DataError, match=message):
            kept(names, "train", splits=wrong)
