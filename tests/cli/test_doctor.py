"""`hwgen doctor`: the tools found, the command that brings what is missing."""





def test_doctor(hwgen):
    code, out, _ = hwgen("doctor")
    assert code == 0
    assert "verilator" in out


def test_doctor_missing_tools(hwgen, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, out, _ = hwgen("doctor")
    assert code == 2
    assert "apt install g++ make perl python3" in out
