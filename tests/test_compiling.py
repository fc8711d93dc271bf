"""Most tests compile quickly; those that compare with numbers of the reference compile as users do."""

from jax._src import compiler

from tests.compiling import HAS_OLDER_EMITTERS, QUICK_TO_COMPILE, as_users_compile


def options():
    made = compiler.get_compile_options(1, 1)
    flags = made.executable_build_options.debug_options
    return dict(made.env_option_overrides), flags.xla_backend_optimization_level


def test_users_programs_have_the_defaults_of_xla():
    changed = dict(flag.removeprefix("--").split("=") for flag in QUICK_TO_COMPILE.split())
    users = {name: True for name, value in changed.items() if value == "false"}
    assert bool(users) == HAS_OLDER_EMITTERS
    with as_users_compile():
        overrides, level = options()
    assert overrides == users and level == 3
    assert options()[0] == {}
