"""The integers and streams of a C-simulation: against Xilinx's headers, and what they refuse."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from hwgen.common.templates import templates

SOURCES = templates() / "hls/src"
HERE = Path(__file__).parent
HEADERS = '#include "integers.h"\n#include "stream.h"\n#include <cstdlib>\nusing namespace hwgen;\n'


def compile_cpp(source: Path, *flags: str) -> Path:
    program = source.with_suffix("")
    subprocess.run(["g++", "-std=c++17", f"-I{SOURCES}", *flags, source, "-o", program], check=True)
    return program


def run(program: Path, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, args)], capture_output=True, text=True, check=False)


def test_every_operator_is_xilinxs(tmp_path: Path) -> None:
    """The same program with both headers; ours under sanitizers, as optimized code differs by undefined behaviour."""
    hls4ml = find_spec("hls4ml")
    if hls4ml is None:
        pytest.skip("needs Xilinx's headers: pip install hwgen[dev]")
    headers = Path((hls4ml.submodule_search_locations or [""])[0]) / "templates/vivado/ap_types"
    flags = {
        "ours": ("-Wall", "-Wextra", "-Werror", "-fsanitize=undefined,address", "-fno-sanitize-recover=all"),
        "xilinx": ("-DXILINX", "-w", f"-I{headers}"),
    }
    sources = {name: tmp_path / f"{name}.cpp" for name in flags}
    for source in sources.values():
        source.write_text((HERE / "integers.cpp").read_text())
    with ThreadPoolExecutor() as pool:
        programs = list(pool.map(lambda name: compile_cpp(sources[name], *flags[name]), flags))
    ours, xilinx = map(run, programs)
    assert ours.returncode == xilinx.returncode == 0, ours.stderr
    lines = ours.stdout.splitlines()
    assert len(lines) > 1500
    assert [(a, b) for a, b in zip(lines, xilinx.stdout.splitlines(), strict=True) if a != b] == []


#: What aborts, and a part of the message.
ABORTS = {
    "ap_int<8>(1) / ap_int<8>(zero)": "divisible",
    "ap_uint<16>(200) / ap_int<8>(zero - 3)": "divisible",
    "ap_uint<8>(200) % ap_int<8>(zero - 3)": "divisible",
    "ap_int<32>(zero - 1) < ap_uint<32>(1)": "comparable",
    "ap_uint<40>(1) == zero - 1": "comparable",
    "ap_uint<8>(1)[zero + 8]": "bit < N",
    "ap_uint<8>(1).range(zero, 1)": "low <= high",
    'stream<int>("words").read()': "words: read when empty",
    'stream<int>("words").write(1)': "words: destroyed with data left in it (1)",
}


@pytest.fixture(scope="module")
def aborting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("aborts") / "aborts.cpp"
    cases = "".join(f"case {number}: {text}; break;\n" for number, text in enumerate(ABORTS))
    source.write_text(
        f"{HEADERS}int main(int n, char** args) {{ int zero = n - 2; switch (atoi(args[1])) {{\n{cases}}} }}\n"
    )
    return compile_cpp(source, "-w", "-O2")


@pytest.mark.parametrize("text", ABORTS)
def test_what_has_no_meaning_in_hardware_aborts(aborting: Path, text: str) -> None:
    done = run(aborting, list(ABORTS).index(text))
    assert done.returncode == -6
    assert ABORTS[text] in done.stderr


@pytest.mark.parametrize(
    "text, message",
    [
        ("ap_int<33>(1) * ap_int<32>(1)", "narrow the operands first"),
        ("ap_uint<64>(1) + 1", "narrow the operands first"),
        ("ap_uint<64>(1) & 255", "narrow the operands first"),
        ("ap_int<0>(1)", "narrow the operands first"),
        ("100 / ap_uint<8>(3)", "use of deleted function"),
        ("100 % ap_uint<8>(3)", "use of deleted function"),
    ],
)
def test_what_does_not_compile(tmp_path: Path, text: str, message: str) -> None:
    source = tmp_path / "refused.cpp"
    source.write_text(f"{HEADERS}auto x = {text};\n")
    done = subprocess.run(
        ["g++", "-std=c++17", f"-I{SOURCES}", "-fsyntax-only", source], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert message in done.stderr


def test_comparisons_are_right_without_assertions(tmp_path: Path) -> None:
    source = tmp_path / "right.cpp"
    source.write_text(f"""{HEADERS}
static_assert(ap_int<64>(-1) != ap_uint<64>(~0ull) && ap_int<64>(-1) < ap_uint<64>(0) && ap_uint<64>(~0ull) > -1);
static_assert(ap_int<32>(-1) != ap_uint<32>(~0u) && ap_int<8>(-1) < ap_uint<32>(0) && ap_uint<32>(~0u) > -1);
static_assert(ap_uint<16>(200) / ap_int<8>(-3) == -66 && ap_uint<8>(200) % ap_int<8>(-3) == 2);
int main() {{}}
""")
    compile_cpp(source, "-DNDEBUG", "-Wall", "-Wextra", "-Werror")


def test_what_kernels_rely_on(tmp_path: Path) -> None:
    """Compact, constant where the operands are, trivial, and a stream that keeps its order while it grows."""
    source = tmp_path / "relied.cpp"
    source.write_text(f"""{HEADERS}
static_assert(sizeof(ap_int<8>[3]) == 3 && sizeof(ap_uint<9>) == 2 && sizeof(ap_int<24>) == 4);
static_assert(std::is_trivially_copyable_v<ap_int<8>> && std::is_trivially_default_constructible_v<ap_int<8>>);
static_assert(ap_int<8>(200) == -56 && ap_int<8>(-3) * ap_uint<4>(15) + 1 == -44);
static_assert((ap_uint<8>(200) << 1) == 144 && (ap_int<8>(-3) >> 99) == -1 && ap_uint<8>(0xA5).range(5, 2) == 9);
enum Kind {{ FIRST, LAST = 3 }};
int main() {{
    int table[8] = {{0, 1, 4, 9}};
    ap_uint<3> index = LAST;
    if (table[index] != 9 || index != LAST) return 1;
    stream<ap_int<9>> words("words");
    int wrong = 0, read = 0;
    for (int round = 1; round < 60; round++) {{
        for (int i = 0; i < round; i++) words.write(read + int(words.size()));
        for (int i = 0; i < round - round % 2; i++) wrong += words.read() != ap_int<9>(read++);
    }}
    if (words.size() != 30) return 2;
    for (; !words.empty(); read++) wrong += words.read() != ap_int<9>(read);
    try {{
        stream<int> left("left");
        left.write(1);
        throw 3;
    }} catch (int) {{
    }}
    return wrong ? 3 : 0;
}}
""")
    assert run(compile_cpp(source, "-O2", "-Wall", "-Wextra", "-Werror")).returncode == 0
