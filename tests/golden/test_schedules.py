import re

import numpy as np
import pytest

from tests.golden.cases import Case
from vqdiffusion_jax.config import ScheduleConfig
from vqdiffusion_jax.diffusion.schedule import make_schedule
from vqdiffusion_jax.sampling.reveal import reference_counts

LOGS = {"at": "log_keep", "bt": "log_uniform", "ct": "log_mask"}


def assert_buffers(schedule, buffers: dict[str, np.ndarray]):
    """Compare the reference's registered buffers with our float32 kernels."""
    steps, marginals = schedule.steps(), schedule.marginals()
    ours = {f"log_{theirs}": getattr(steps, name) for theirs, name in LOGS.items()}
    ours |= {f"log_cumprod_{theirs}": getattr(marginals, name) for theirs, name in LOGS.items()}
    ours |= {"log_1_min_ct": steps.log_not_mask, "log_1_min_cumprod_ct": marginals.log_not_mask}
    assert buffers.keys() == ours.keys()
    for name, theirs in buffers.items():
        np.testing.assert_allclose(ours[name], theirs, rtol=1e-6, atol=1e-9, err_msg=name)


@pytest.mark.cases("schedules", needs=("N",))
def test_schedules(case: Case):
    groups = {}
    for name in case.arrays:
        if match := re.fullmatch(r"N(\d+)_T(\d+)/(\w+)", name):
            groups.setdefault((int(match[1]), int(match[2])), {})[match[3]] = case[name]
    assert groups
    for (num_codes, num_timesteps), recorded in groups.items():
        schedule = make_schedule(ScheduleConfig(num_codes=num_codes, num_timesteps=num_timesteps))
        ours = {
            "at": schedule.keep,
            "bt": schedule.uniform,
            "ct": schedule.mask,
            "att": schedule.cum_keep,
            "btt": schedule.cum_uniform,
            "ctt": schedule.cum_mask,
        }
        for name, array in ours.items():
            assert array.dtype == np.float64
            # The recorded c is 1 - (1 - c) and b is 1 - a - c, each good to the rounding of 1; ours do not cancel.
            np.testing.assert_allclose(
                array, recorded.pop(name), rtol=1e-7 if name == "bt" else 1e-10, atol=1e-17, err_msg=name
            )
        assert_buffers(schedule, recorded)


@pytest.mark.cases("text", "class", "none", needs=("sched/",))
def test_schedule_of_checkpoint(case: Case, model):
    assert_buffers(make_schedule(model.config.schedule), case.group("sched/"))


@pytest.mark.cases("schedules", needs=("n_sample/",))
def test_reveal_tables(case: Case):
    tables = case.group("n_sample/")
    assert tables
    for name, recorded in tables.items():
        num_timesteps, per_call = map(int, re.fullmatch(r"T(\d+)_ps(\d+)", name).groups())
        np.testing.assert_array_equal(reference_counts(num_timesteps, per_call), recorded, err_msg=name)
