"""Every way to fail is there once, with a meaning, and with what to do."""

from hwgen.driver.faults import FIRST_HOST_CODE, faults
from hwgen.machine.regmap import Error


def test_faults():
    found = faults()
    codes = [fault.code for fault in found]
    assert codes == sorted(set(codes))
    assert [code for code in codes if code < FIRST_HOST_CODE] == [error.value for error in Error if error]
    for fault in found:
        assert fault.meaning and fault.advice, fault.name
        assert (fault.meaning + fault.advice).isascii()
    assert len({fault.python for fault in found}) == len(found)
