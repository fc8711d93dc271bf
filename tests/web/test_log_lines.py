import logging

import pytest

from vqdiffusion_jax.web.log_lines import one_line_logs


@pytest.fixture
def lines(caplog):
    with one_line_logs():
        yield lambda: [record.getMessage() for record in caplog.records]


def test_nobody_forges_a_line(lines):
    logging.getLogger("uvicorn.error").error("GET %s", "/a\r\nERROR:root:the disk is full\x1b[2J\u2028end")
    (line,) = lines()
    assert line == r"GET /a ERROR:root:the disk is full\x1b[2J end"


def test_an_error_takes_one_line(lines, caplog):
    try:
        raise KeyError("no\nsuch thing")
    except KeyError:
        logging.getLogger("engineio.server").exception("message handler error")
    assert len(lines()) == 1 and "KeyError" in lines()[0] and "\n" not in lines()[0]
    assert caplog.records[0].exc_info is None and "Traceback" not in caplog.text


def test_a_message_that_does_not_fit_is_a_line(lines):
    logging.getLogger("nicegui").warning("%d of %s", "a")
    assert lines() == ["%d of %s"]


def test_lines_of_libraries_are_bounded_in_length_and_number(lines):
    for _ in range(1000):
        logging.getLogger("nicegui").error("x" * 100_000)
    assert len(lines()) == 20 and all(len(line) < 500 for line in lines())


def test_with_debug_the_traceback_stays(caplog):
    with one_line_logs(debug=True):
        try:
            raise KeyError("a")
        except KeyError:
            logging.getLogger("nicegui").exception("an\nerror")
    assert "Traceback" in caplog.text and caplog.records[0].getMessage() == "an error"


def test_logs_are_as_before_afterwards():
    before = logging.getLogRecordFactory()
    with one_line_logs():
        assert logging.getLogRecordFactory() is not before
    assert logging.getLogRecordFactory() is before and not logging.getLogger("nicegui").filters
