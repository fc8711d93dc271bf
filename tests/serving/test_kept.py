from vqdiffusion_jax.serving.kept import Kept


def test_files_are_kept_for_a_time():
    now = [0.0]
    kept = Kept(most=10, most_bytes=100, seconds=5, clock=lambda: now[0])
    name = kept.put(b"one")
    assert kept.get(name) == b"one" and kept.get("another.png") is None and len(name) > 20
    now[0] = 6.0
    assert kept.get(name) is None and not kept._files and kept._bytes == 0


def test_the_oldest_go_where_there_are_too_many_or_too_large():
    kept = Kept(most=2, most_bytes=10, seconds=100)
    first, second, third = kept.put(b"1"), kept.put(b"2"), kept.put(b"3")
    assert [kept.get(name) for name in (first, second, third)] == [None, b"2", b"3"]
    large = kept.put(b"x" * 9)
    assert [kept.get(name) for name in (second, third, large)] == [None, b"3", b"x" * 9]
