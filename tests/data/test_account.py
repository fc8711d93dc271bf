"""An account counts what is left out and keeps the first names."""

import pickle

from vqdiffusion_jax.data.account import Account


def test_reasons_are_counted_and_a_few_names_kept():
    account = Account()
    assert not account and list(account) == []
    for number in range(100):
        account.left_out("without a caption", f"{number}.png")
    account.left_out("no picture", "a.txt")
    account.note("Two rows name one picture.")
    account.note("Two rows name one picture.")
    account = pickle.loads(pickle.dumps(account))
    assert list(account) == [
        ("without a caption", 100, [f"{number}.png" for number in range(5)]),
        ("no picture", 1, ["a.txt"]),
    ]
    assert account and account.notes == ["Two rows name one picture."]
