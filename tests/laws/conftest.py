"""What must hold for anything: 1,000 random cases, the same every time, and 10,000 new ones in `make slow`."""

import pytest
from hypothesis import HealthCheck, given, settings

TIMES_AS_MANY = 10


class World:
    """What a law may use: an untrained model of any items, a place to write, and what errors must be like."""

    def __init__(self, make, path):
        self.make, self.path = make, path

    @staticmethod
    def assert_speaks(error):
        message = str(error)
        assert len(message.split()) >= 5, message
        assert "Traceback" not in message


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["known_cases", "new_cases"])
def holds(request, untrained, tmp_path, record_property):
    """A function that tries a law on its share of the cases."""
    how = {"print_blob": True} if request.param else {"derandomize": True}

    def holds(law, strategy, count):
        count = count * TIMES_AS_MANY if request.param else count

        @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck), **how)
        @given(case=strategy)
        def hold(case):
            law(World(untrained, tmp_path / "written"), case)

        hold()
        if request.param:
            record_property("measured", f"{count} random cases: {law.__name__}")

    return holds
