from vqdiffusion_jax.web.rates import _MOST_KEYS, Allowance


def test_uses_are_counted_for_each_within_a_time():
    now = [0.0]
    allowance = Allowance(2, 60.0, clock=lambda: now[0])
    assert [allowance.take("a") for _ in range(3)] == [0.0, 0.0, 60.0]
    assert allowance.take("b") == 0
    now[0] = 59.0
    assert allowance.take("a") == 1.0
    now[0] = 60.0
    assert allowance.wait("a") == 0 and allowance.take("a") == 0


def test_the_number_of_visitors_remembered_is_bounded():
    allowance = Allowance(1, 60.0)
    for visitor in range(_MOST_KEYS + 100):
        allowance.take(visitor)
    assert len(allowance._uses) == _MOST_KEYS and allowance.wait(_MOST_KEYS) > 0 == allowance.wait(0)
