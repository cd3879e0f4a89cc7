"""The lint accepts a kernel in order and finds each mistake made in it; for the sources, see test_kernels.py."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("clang", reason="needs libclang: pip install hwgen[dev]")

from tests.hls.lint import lint

KERNEL = Path(__file__).parent / "kernel"
FOR = "    for (int i = 0; i < count; i++) {\n"
PIPELINE = "#pragma HLS pipeline II=1\n"
TRIPS = "#pragma HLS loop_tripcount min=1 max=LANES\n"
TILES = "    for (int t = 0; t < count; t += LANES) {\n#pragma HLS loop_tripcount max=8\n    lanes:\n"
EIGHT = "    for (int i = 0; i < 8; i++) {\n"
PIPELINED = f"#pragma HLS pipeline II=1\n    ap_uint<64> sum = 0;\neight:\n{EIGHT}"
LANES = "        for (int i = 0; i < twice(LANES) / 2; i++) {\n#pragma HLS pipeline II=1\n"
TERMS = "    for (int i = 0; i < N; i++) {\n#pragma HLS unroll\n"
TABLE = "ap_uint<64> table[LANES];"
CONSTANT = "constexpr int LANES = 8;"
HEADER = "#include <hls_stream.h>\n"
PORT = "#pragma HLS interface mode=m_axi port=memory offset=slave bundle=gmem0 max_read_burst_length=64"
STORE = "#pragma HLS bind_storage variable=table type=ram_2p impl=uram"
SPLIT = "#pragma HLS array_partition variable=table type=complete dim=1"
SUMS = "        for (int i = 0; i < Sizes::TERMS; i++) {\n"
UNROLLED = "variable bound, but it is unrolled: by its pragma or by a pipeline around it"
SHAPE = "not of the shape for (T i = a; i < bound; i++ or i += c)"

#: What is replaced, by what, and what is found: in the first line, or in the one that begins with `@`.
MISTAKES = [
    (TABLE, f"{TABLE} float x;", "floating point"),
    (TABLE, f"{TABLE} auto x = 1.5;", "floating point"),
    (TABLE, f"{TABLE} count = (double)count;", "floating point"),
    (CONSTANT, f"{CONSTANT}\n@static stream<float> numbers;", "floating point"),
    (CONSTANT, f"{CONSTANT}\n@double half_of(int n);", "floating point"),
    (TABLE, f"{TABLE} auto x = new int;", "new"),
    (TABLE, f"{TABLE} delete out;", "delete"),
    (HEADER, f"{HEADER}#include <vector>\n@static std::vector<int> all;\n", "std::vector"),
    (HEADER, f"{HEADER}#include <string>\n@static std::string all;\n", "std::basic_string"),
    (HEADER, f"{HEADER}#include <cstdlib>\n@inline void leak() {{ malloc(3); }}\n", "malloc"),
    (CONSTANT, f"{CONSTANT}\n@struct Base {{ virtual void run() {{}} }};", "virtual"),
    (HEADER, f'{HEADER}@#include "stream.h"\n', "stream.h is for simulation only"),
    (TABLE, f"{TABLE} throw 3;", "throw"),
    (TABLE, f"{TABLE} try {{}} catch (int) {{}}", "try"),
    (TABLE, f"{TABLE} int (*f)(int) = twice;", "function pointer"),
    (TABLE, f"{TABLE} int (&f)(int) = twice;", "function pointer"),
    (TABLE, f"{TABLE} goto tiles;", "goto"),
    (TABLE, f"{TABLE} while (count < 3) count = 3;", "while"),
    (TABLE, f"{TABLE} do count--; while (count > 3);", "do"),
    (TABLE, f"{TABLE} for (auto& word : table) word = 0;", "range-based for"),
    (CONSTANT, f"{CONSTANT}\n@inline int down(int n) {{ return n ? down(n - 1) : 0; }}", "recursion of 'down'"),
    (CONSTANT, f"{CONSTANT}\n@template <class T> T down(T n) {{ return n ? down(n - 1) : 0; }}", "recursion of 'down'"),
    (FOR, FOR.replace("i++", "++i"), SHAPE),
    (FOR, FOR.replace("<", "!="), SHAPE),
    (FOR, FOR.replace("++", " -= 1"), SHAPE),
    (f"words:\n{FOR}", f"    int i;\nwords:\n@{FOR.replace('int ', '')}", SHAPE),
    (TILES + LANES, TILES + LANES + "t += 1;\n", "its body assigns 't'"),
    (TILES + LANES, TILES + LANES + "--t;\n", "its body assigns 't'"),
    (FOR + PIPELINE + TRIPS, FOR + PIPELINE, "variable bound without loop_tripcount"),
    (TILES.split("    lanes")[0], TILES.split("#")[0], "variable bound without loop_tripcount"),
    (SUMS, SUMS.replace("Sizes::TERMS", "used"), "variable bound without loop_tripcount"),
    (SUMS, SUMS.replace("Sizes::TERMS", "Sizes().last"), "variable bound without loop_tripcount"),
    (LANES, LANES.replace("#pragma HLS pipeline II=1\n", ""), "innermost loop without pipeline II=1"),
    (LANES, LANES.replace("pipeline II=1", "pipeline off"), "innermost loop without pipeline II=1"),
    (LANES, LANES.replace("II=1", "II=2"), "pipeline without II=1"),
    (LANES, LANES.replace(" II=1", ""), "pipeline without II=1"),
    (LANES, f"{LANES}@more: for (int k = 0; k < count; k++) {{\n{TRIPS}table[k] = k; }}", UNROLLED),
    (TERMS, TERMS.replace("N; i++) {\n", f"a[0]; i++) {{\n{TRIPS}"), UNROLLED),
    (EIGHT, EIGHT.replace("8; i++) {\n", f"words[0]; i++) {{\n{TRIPS}"), UNROLLED),
    (PIPELINED, PIPELINED.replace("#pragma HLS pipeline II=1", "").replace("    for", "@    for"),
     "innermost loop without pipeline II=1"),
    (TERMS, TERMS.replace("unroll", "unroll factor=2"), "innermost loop without pipeline II=1"),
    (f"words:\n{FOR}", FOR, "loop without a label"),
    (TABLE, f"{TABLE} here: count++;", "label 'here' of no loop"),
    (STORE, STORE.replace("HLS", "hls"), "unknown pragma 'hls bind_storage'"),
    (STORE, STORE.replace("storage", "storge"), "unknown pragma 'HLS bind_storge'"),
    (STORE, STORE.replace("impl", "imp"), "bind_storage: unknown option 'imp'"),
    (STORE, f"{STORE} impl=uram", "bind_storage: option 'impl' twice"),
    (STORE, STORE.replace("uram", "ultra"), "bind_storage: impl cannot be 'ultra'"),
    (STORE, f"{STORE} latency=1.5", "bind_storage: latency cannot be '1.5'"),
    (STORE, STORE.replace(" type=ram_2p", ""), "bind_storage: needs type="),
    (STORE, STORE.replace("=table", "=tabel"), "bind_storage: there is no 'tabel' for variable"),
    (STORE, STORE.replace("=table", "=memory"), "bind_storage: there is no 'memory' for variable"),
    (f"    {TABLE}\n{STORE}", f"{STORE}\n    {TABLE}", "bind_storage: there is no 'table' for variable"),
    (SPLIT, SPLIT.replace("complete", "cyclic"), "array_partition: needs factor= unless it is complete"),
    (SPLIT, SPLIT.replace("complete", "cyclic factor=LANS"), "array_partition: there is no 'LANS' for factor"),
    (PORT, PORT.replace("port=memory", "port=memroy"), "interface: there is no 'memroy' for port"),
    (PORT, PORT.replace("mode=m_axi", "m_axi mode=m_axi"), "interface: unknown option 'm_axi'"),
    (PORT, PORT.replace("mode=m_axi", "mode=maxi"), "interface: mode cannot be 'maxi'"),
    (PIPELINE + TRIPS, f"{PIPELINE.replace('II=1', 'II=1 rewind=1')}{TRIPS}", "pipeline: rewind cannot be '1'"),
    (TABLE, f"{TABLE}\n@#pragma HLS allocation instances=mul limit=1\n",
     "allocation: needs one of function, operation"),
    (TABLE, f"{TABLE}\n@#pragma HLS unroll\n", "unroll: belongs into a loop"),
    (LANES, f"{LANES}@#pragma HLS inline\n", "inline: belongs into a function"),
    ("in.read();\n", "in.read();\n@#pragma HLS loop_flatten off\n", "loop_flatten: not at the top of its loop"),
    (CONSTANT, f"{CONSTANT}\n@#pragma HLS inline\n", "inline: outside of any function"),
    (TABLE, f"{TABLE} tabel[0] = 1;", "does not parse: use of undeclared identifier 'tabel'"),
]  # fmt: skip


def mistaken(folder: Path, old: str, new: str) -> str:
    """The kernel with a mistake; where it is."""
    place = ""
    for path in sorted(KERNEL.iterdir()):
        text = path.read_text()
        if old in text:
            new = new if "@" in new else f"@{new}"
            text = text.replace(old, new, 1)
            place = f"{path.name}:{text[: text.index('@')].count(chr(10)) + 1}"
            text = text.replace("@", "", 1)
        (folder / path.name).write_text(text)
    assert place, f"{old!r} is not in the kernel"
    return place


def test_a_kernel_in_order_is_accepted() -> None:
    assert lint(KERNEL) == []


@pytest.mark.parametrize("old, new, finding", MISTAKES, ids=[f"{n} {one[2]}" for n, one in enumerate(MISTAKES)])
def test_a_mistake_is_found(tmp_path: Path, old: str, new: str, finding: str) -> None:
    place = mistaken(tmp_path, old, new)
    assert lint(tmp_path) == [f"{place}: {finding}"]


def test_recursion_through_another_function_is_found(tmp_path: Path) -> None:
    pair = "int odd(int n);\n@inline int even(int n) { return odd(n); }\ninline int odd(int n) { return even(n - 1); }"
    place = mistaken(tmp_path, CONSTANT, f"{CONSTANT}\n{pair}")
    first, second = lint(tmp_path)
    assert first == f"{place}: recursion of 'even'"
    assert second.endswith("recursion of 'odd'")


def test_what_is_for_simulation_only_may_be_anything(tmp_path: Path) -> None:
    block = "\n#ifndef __SYNTHESIS__\nwhile (count > 3) count--;\n#pragma HLS nonsense\n#endif\n"
    mistaken(tmp_path, TABLE, f"{TABLE} // float x; while (1);{block}/*\n#pragma HLS nonsense\n*/\n")
    assert lint(tmp_path) == []
