"""The page in a real browser: it opens from disk in time, shows what it should at both sizes on both grounds, and
answers the pointer. HWGEN_SCREENSHOTS names a directory that keeps the pictures, to be looked at."""

import io
import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from hwgen.quantize.synthetic import synthetic
from hwgen.report.page import page, write_page
from hwgen.report.plot_timeline import stall_segments
from hwgen.report.result import Cost, Run
from tests.paths import EXAMPLES
from tests.report.browser import DESK, TELEPHONE, browser, most_seconds, opened
from tests.report.helpers import build_of, cost_of, result_of

#: The issue's: of M3ViT's page of twelve layers.
MOST_BYTES = 5_000_000
VIEWS = [(size, scheme) for size in (DESK, TELEPHONE) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def chromium():
    with browser() as made:
        yield made


@pytest.fixture(scope="module")
def full_size(tmp_path_factory):
    """Build and run."""
    description = synthetic(EXAMPLES / "edge_moe" / "model.yaml", 1)
    build = build_of(description, tmp_path_factory.mktemp("build"), 8, 16, 8)
    return build, result_of(build)


@pytest.fixture(scope="module")
def timeline(full_size):
    return Run.model_validate(full_size[1]).tasks["segmentation"].timeline


@pytest.fixture(scope="module")
def m3vit(tmp_path_factory, chromium, full_size):
    """Of Edge-MoE's network at full size: two tasks, 799 instructions each, with a run and the quantizer's report."""
    path = tmp_path_factory.mktemp("m3vit")
    build, document = full_size
    run, cost = Run.model_validate(document), Cost.model_validate(cost_of(build))
    write_page(path / "report.html", page(build, run, cost, mhz=300))
    return path / "report.html"


def test_size_and_time(chromium, m3vit):
    """Drawn: all plots of the first task, by the page's own clock from the start of the navigation. The best of five,
    as others use this machine too."""
    assert m3vit.stat().st_size <= MOST_BYTES
    seconds = []
    for _ in range(5):
        with opened(chromium, m3vit) as shown:
            seconds.append(int(shown.evaluate("document.documentElement.dataset.drawn")) / 1000)
        if seconds[-1] <= most_seconds():
            break
    print(f"{m3vit.stat().st_size / 1e6:.2f} MB, drawn in {min(seconds):.2f} s")
    assert min(seconds) <= most_seconds()


@pytest.mark.parametrize("size, scheme", VIEWS, ids=[f"{size[0]}-{scheme}" for size, scheme in VIEWS])
def test_looks(chromium, m3vit, size, scheme):
    """Nothing beside the window, no box over another, no text cut off, no plot without ink, ground as asked for."""
    with opened(chromium, m3vit, size, scheme) as shown:
        keep(shown, f"m3vit-{size[0]}-{scheme}")
        assert shown.evaluate("document.documentElement.scrollWidth") <= size[0]
        for selector in ("article:not([hidden]) > *", "article:not([hidden]) .card", "article:not([hidden]) .plot",
                         "article:not([hidden]) section > *"):  # fmt: skip
            boxes = shown.evaluate(BOXES, selector)
            assert len(boxes) > 1
            for one, other in pairwise(sorted(boxes, key=lambda box: (box["top"], box["left"]))):
                assert one["bottom"] <= other["top"] + 1 or one["right"] <= other["left"] + 1, (selector, one, other)
            assert all(box["left"] >= 0 and box["right"] <= size[0] for box in boxes)
            assert not [box["text"] for box in boxes if box["cut"]]
        dark = scheme == "dark"
        for plot in shown.locator("article:not([hidden]) .plot").all():
            ink = picture(plot)
            ground = ink[2, 2]  # of the corner
            assert (ground.mean() < 100) == dark, plot.get_attribute("aria-label")
            differing = (np.abs(ink - ground).max(-1) > 24).mean()
            assert differing > 0.015, (plot.get_attribute("aria-label"), differing)


def test_hover_tells_instruction_tensor_and_stall(chromium, m3vit, timeline):
    """In the middle of instructions and of waits, as the timeline has them."""
    table = timeline.instructions
    cause, begin, end = max(stall_segments(timeline), key=lambda one: one[2] - one[1])
    share = max(timeline.shares()[:-1], key=lambda one: sum(one.stalls.values()))
    with opened(chromium, m3vit) as shown:
        for number in (share.instruction, *timeline.engine()[50:300:60]):
            first, last = table.begin[number], table.end[number]
            text = hover(shown, 0, (first + min(last, first + 60)) // 2)
            assert table.name[number] in text and f"{number} {table.op[number]}" in text, text
            assert f"{first:,} to {last:,}" in text and "waited" in text
            if number == share.instruction:
                assert all(f"{count:,} for {cause}" in text for cause, count in share.stalls.items()), text
        text = hover(shown, 1, (begin + end) // 2)
        assert cause in text and f"{end - begin:,} from {begin:,}" in text, text


def test_drag_zooms_all_time_axes_and_reset_goes_back(chromium, m3vit):
    with opened(chromium, m3vit) as shown:
        whole = ranges(shown)
        assert set(whole) == {"Timeline", "Memory traffic", "Buffers"} and len(set(map(tuple, whole.values()))) == 1
        plot = shown.locator(".plot[aria-label=Timeline]").first
        box = plot.bounding_box()
        y = box["y"] + 90
        shown.mouse.move(box["x"] + 0.4 * box["width"], y)
        shown.mouse.down()
        shown.mouse.move(box["x"] + 0.6 * box["width"], y + 40, steps=4)
        shown.mouse.up()
        shown.wait_for_timeout(200)
        zoomed = ranges(shown)
        assert len(set(map(tuple, zoomed.values()))) == 1
        (low, high), (first, last) = zoomed["Timeline"], whole["Timeline"]
        assert first < low < high < last and (high - low) / (last - first) == pytest.approx(0.22, abs=0.04)
        keep(shown, "m3vit-zoomed")


def test_the_other_task_and_the_other_ground(chromium, m3vit):
    with opened(chromium, m3vit) as shown:
        assert shown.locator("article:not([hidden])").get_attribute("data-task") == "segmentation"
        before = picture(shown.locator("article:not([hidden]) .plot").first).mean()
        shown.get_by_role("button", name="depth").click()
        redrawn(shown)
        assert shown.locator("article:not([hidden])").get_attribute("data-task") == "depth"
        assert shown.locator("article:not([hidden]) .plot canvas").count() >= 9
        shown.locator("#theme").click()
        redrawn(shown)
        assert picture(shown.locator("article:not([hidden]) .plot").first).mean() < before - 60


def test_labels_of_lanes_are_all_there(m3vit):
    """Bokeh would leave out labels that it takes to be one over another; a browser shows no text of a canvas."""
    text = m3vit.read_text()
    first = json.loads(text.split('class="plots"')[1].split(">", 1)[1].split("</script>")[0])
    axes = [one for one in objects(first) if one.get("name") == "LinearAxis" and
            "major_label_overrides" in one.get("attributes", {})]  # fmt: skip
    lanes = [axis for axis in axes if "array" in json.dumps(axis["attributes"]["major_label_overrides"])]
    assert lanes and all(
        axis["attributes"]["major_label_policy"]["name"] == "AllLabels"
        for axis in lanes if "major_label_policy" in axis["attributes"]
    )  # fmt: skip


BOXES = """selector => [...document.querySelectorAll(selector)].map(one => {
    const box = one.getBoundingClientRect()
    return {left: box.left, right: box.right, top: box.top + scrollY, bottom: box.bottom + scrollY,
            cut: one.scrollWidth > one.clientWidth + 1, text: one.className + " " + one.textContent.slice(0, 60)}
})"""


def objects(value):
    """All dictionaries within."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from objects(one)


def keep(shown, name: str) -> None:
    if place := os.environ.get("HWGEN_SCREENSHOTS"):
        Path(place).mkdir(parents=True, exist_ok=True)
        shown.wait_for_timeout(200)
        shown.screenshot(path=Path(place) / f"{name}.png", full_page=True)


def picture(element) -> np.ndarray:
    """Colours of its pixels."""
    image = pytest.importorskip("PIL.Image")
    return np.asarray(image.open(io.BytesIO(element.screenshot())).convert("RGB"), float)


def hover(shown, lane: int, cycle: int, lanes: int = 9) -> str:
    """What is shown at a cycle in a lane of the timeline, with a thousand cycles on either side in view."""
    frame = shown.evaluate("""cycle => {
        const plot = Bokeh.documents.at(-1).get_model_by_name("Timeline")
        const start = Math.max(cycle - 1000, 0)
        plot.x_range.setv({start: start, end: start + 2000})
        const frame = Bokeh.index.get_one(plot).frame.bbox
        return [frame.left + (cycle - start) / 2000 * frame.width, frame.top, frame.height]
    }""", cycle)  # fmt: skip
    plot = shown.locator(".plot[aria-label=Timeline]").first
    plot.scroll_into_view_if_needed()
    shown.mouse.move(1, 1)
    shown.wait_for_timeout(150)
    box = plot.bounding_box()
    x, y = box["x"] + frame[0], box["y"] + frame[1] + (lane + 0.5) / lanes * frame[2]
    for attempt in range(30):  # the plot may still be drawn
        shown.mouse.move(x, y + attempt % 2)
        shown.wait_for_timeout(150)
        text = shown.evaluate("""() => [...document.querySelectorAll(".bk-Tooltip")]
            .flatMap(note => [...note.shadowRoot.children]).filter(part => part.tagName !== "STYLE")
            .map(part => part.textContent).join(" ")""")
        if text.strip():
            return text
    return ""


def ranges(shown) -> dict[str, list[float]]:
    """Begin and end of each plot over time."""
    return shown.evaluate("""() => {
        const last = Bokeh.documents.at(-1)
        return Object.fromEntries(["Timeline", "Memory traffic", "Buffers"].map(name => {
            const range = last.get_model_by_name(name).x_range
            return [name, [range.start, range.end]]
        }))
    }""")


def redrawn(shown) -> None:
    shown.wait_for_function("document.documentElement.dataset.drawn")
    shown.wait_for_timeout(200)
