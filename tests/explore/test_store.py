"""What was found stays found: after an end in the middle, beside other settings; a foreign file is not touched."""

from dataclasses import replace

import pytest

from hwgen.common.errors import HwgenError
from hwgen.explore.evaluate import Design
from hwgen.explore.space import Point
from hwgen.explore.store import FILE, Store, digests, fingerprint

POINTS = [Point(2, 2, 2, 64, 64, 1, None, None, batch, None, "m") for batch in range(1, 4)]
DESIGNS = [Design(point, cycles=100.0 * point.batch, resources={"dsp": 1.0}) for point in POINTS]


def filled(folder, mark="a"):
    store = Store(folder, mark)
    for design in DESIGNS[:2]:
        store.add(design)
    store.close()
    return folder / FILE


def test_known_again(tmp_path):
    filled(tmp_path / "new" / "folder")
    again = Store(tmp_path / "new" / "folder", "a")
    assert list(again.known.values()) == DESIGNS[:2]
    again.add(DESIGNS[2])
    again.close()
    assert len(Store(tmp_path / "new" / "folder", "a").known) == 3


def test_other_settings_are_left_alone(tmp_path):
    path = filled(tmp_path)
    other = Store(tmp_path, "b")
    assert other.known == {}
    other.add(DESIGNS[2])
    other.close()
    assert len(Store(tmp_path, "a").known) == 2 and len(path.read_text().splitlines()) == 4


def test_a_line_that_was_cut_off_is_dropped(tmp_path):
    path = filled(tmp_path)
    path.write_text(path.read_text()[:-20])
    store = Store(tmp_path, "a")
    assert list(store.known.values()) == DESIGNS[:1]
    store.add(DESIGNS[2])
    store.close()
    assert list(Store(tmp_path, "a").known.values()) == [DESIGNS[0], DESIGNS[2]]


def test_foreign_and_spoilt_files(tmp_path):
    path = filled(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "{}", lines[1], ""]))
    with pytest.raises(HwgenError, match=r"line 2\n  expected: a design\n  found:    \{\}"):
        Store(tmp_path, "a")
    for text in ('{"format": "hwgen-explore", "version": 0}\n', "notes\n"):
        path.write_text(text)
        with pytest.raises(HwgenError, match=r"expected: designs of this hwgen"):
            Store(tmp_path, "a")
        assert path.read_text() == text


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    path = filled(tmp_path)
    store = Store(tmp_path, "a")

    def full(line):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_write", full)
    with pytest.raises(HwgenError, match=r"No space left on device\n  mend:     start again when there is room"):
        store.add(DESIGNS[2])
    assert len(path.read_text().splitlines()) == 3
    (tmp_path / "file").write_text("")
    with pytest.raises(HwgenError, match="expected: a file that can be written"):
        Store(tmp_path / "file", "a")


def test_fingerprint(setting, project):
    """Of everything that decides the figures."""
    models = digests(project)
    assert set(models) == {"random", "plain"}
    own = fingerprint(setting, models)
    assert own == fingerprint(setting, dict(models))
    settings = [replace(setting, **change) for change in ({"latency": 61}, {"board": "zcu102"}, {"mhz": 1.0})]
    others = [*(fingerprint(one, models) for one in settings), fingerprint(setting, models | {"plain": "x"})]
    weights = project.models[0].path.parent / project.models[0].model.weights
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert len({own, *others}) == 5 and digests(project)["random"] != models["random"]
