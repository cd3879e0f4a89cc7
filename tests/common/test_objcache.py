"""Verilator's runtime is compiled once per set of flags, all else each time."""

import pytest

from hwgen.common import objcache, toolchain


@pytest.fixture
def build(tmp_path):
    """Compiles a file of `include` with extra flags; returns exit code, object and how often the compiler has run."""
    compiler, log, include = tmp_path / "cc", tmp_path / "log", tmp_path / "include"
    compiler.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exec cat {tmp_path}/version\necho >> {log}\n'
        'for source; do [ "$before" = -o ] && output=$source; before=$source; done\n'
        'grep -q wrong "$source" && exit 1\ncat "$source" > "$output"\n'
    )
    compiler.chmod(0o755)
    (tmp_path / "version").write_text("1")
    include.mkdir()
    for name in ("verilated_config.h", "verilated.h", "verilated.cpp", "Vtop.cpp"):
        (include / name).write_text(name)

    def run(source, *flags):
        output = tmp_path / "out.o"
        output.unlink(missing_ok=True)
        command = [str(compiler), *flags, "-c", "-o", str(output), str(include / source)]
        code = objcache.main(tmp_path / "cache", command)
        return code, output.read_text() if output.exists() else None, len(log.read_text())

    run.home = tmp_path
    return run


def test_runtime_once(build):
    assert build("verilated.cpp", "-O1", "-I/here") == (0, "verilated.cpp", 1)
    assert build("verilated.cpp", "-O1", "-I/there") == (0, "verilated.cpp", 1)
    assert build("verilated.cpp", "-O2") == (0, "verilated.cpp", 2)
    (build.home / "include" / "verilated.h").write_text("new")
    assert build("verilated.cpp", "-O2")[2] == 3
    (build.home / "version").write_text("2")
    assert build("verilated.cpp", "-O2")[2] == 4
    assert build("verilated.cpp", "-O2")[2] == 4


def test_the_rest_each_time(build):
    for runs in (1, 2):
        assert build("Vtop.cpp") == (0, "Vtop.cpp", runs)
    assert build("verilated.cpp", "-march=native")[2] == 3
    assert build("verilated.cpp", "-march=native")[2] == 4


def test_failure_is_not_kept(build):
    source = build.home / "include" / "verilated.cpp"
    source.write_text("wrong")
    assert build("verilated.cpp") == (1, None, 1)
    assert build("verilated.cpp") == (1, None, 2)


def test_launcher_of_the_user_stays(monkeypatch, tmp_path):
    monkeypatch.setenv("HWGEN_CACHE", str(tmp_path))
    environment = toolchain.verilator_environment({"PATH": "/usr/bin:/bin"})
    assert environment["OBJCACHE"].endswith(f"objcache.py {tmp_path}/runtime")
    monkeypatch.setenv("HWGEN_CACHE", str(tmp_path / "other"))
    assert toolchain.verilator_environment(environment)["OBJCACHE"].endswith(f"objcache.py {tmp_path}/other/runtime")
    assert toolchain.verilator_environment({"PATH": "/usr/bin:/bin", "OBJCACHE": "ccache"})["OBJCACHE"] == "ccache"
    for name in ("a b", "a(b", "a&b"):
        monkeypatch.setenv("HWGEN_CACHE", str(tmp_path / name))
        assert "OBJCACHE" not in toolchain.verilator_environment({"PATH": "/usr/bin:/bin"})
