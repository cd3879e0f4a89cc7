import pytest

from hwgen.common.errors import HwgenError
from hwgen.machine.emission import Emission


def test_top():
    assert Emission().top == "hwgen_accelerator"
    assert Emission("my_").top == "my_hwgen_accelerator"


@pytest.mark.parametrize("prefix", ["9", "_x", "a-b", "a.b", "a b", "ä", "a\n"])
def test_prefix_must_be_an_identifier(prefix):
    with pytest.raises(HwgenError) as error:
        Emission(prefix)
    assert (error.value.key, error.value.found) == ("prefix", repr(prefix))
