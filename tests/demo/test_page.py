"""The page in a real browser: over 127.0.0.1 and from disk, pictures, videos, cameras, and what
goes wrong. Its network is small and random: what it finds is compared with Python, not with people.
"""

import json
import threading
from contextlib import contextmanager

import av
import jax
import numpy as np
import pytest
from PIL import Image

from bodyjax import systems
from bodyjax.detect import by_centers
from bodyjax.detect.canvas import last_stage
from bodyjax.engine import checkpoint
from tests.demo import page_folder
from tools import demo
from tools.demo_browser import CAMERA, Chromium

pytestmark = pytest.mark.slow

READY = "!document.getElementById('file').disabled"
TABLES = """[...document.querySelectorAll('#tables table')].map((table) =>
    [...table.tBodies[0].rows].map((row) =>
        [...row.querySelectorAll('td')].map((cell) => Number(cell.textContent))))"""


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    page_folder.browser()
    return page_folder.random_phone(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def folder(detector, tmp_path_factory):
    return page_folder.built(tmp_path_factory.mktemp("page"), detector)


@contextmanager
def served(folder, handler=demo.Handler):
    """The address of a served folder."""
    with demo.server(folder, handler=handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def page(folder, tmp_path):
    """The ready page with a fake camera that is allowed."""
    with served(folder) as url, Chromium(tmp_path, *CAMERA) as browser:
        opened = browser.page(url)
        opened.wait(READY)
        yield opened


def says(page, words):
    """Waits for a status line that holds these words."""
    page.wait(f"document.getElementById('status').textContent.includes({json.dumps(words)})")


def noise(file, size=(160, 160)):
    """A picture of rectangles and noise, as large as the canvas, and its pixels."""
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 60, (*size, 3), np.uint8)
    for _ in range(min(size) // 12):
        top, left = rng.integers(0, size[0]), rng.integers(0, size[1])
        pixels[top : top + 50, left : left + 40] += rng.integers(0, 190, 3, np.uint8)
    Image.fromarray(pixels).save(file)
    return pixels


def film(file, codec, frames=45, size=(96, 160)):
    """A video of noise at 15 frames a second."""
    rng = np.random.default_rng(0)
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=15)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for _ in range(frames):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (*size, 3), np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def pythons(weights, pixels):
    """The people that Python finds: joints with their scores, (P, J, 3)."""
    loaded = checkpoint.load(weights)
    system = systems.build(loaded.config)

    def find(variables, image):
        maps = last_stage(system.maps(variables, image[None]), system.bones)
        maps = jax.tree.map(lambda leaf: leaf[0], maps)
        settings = by_centers.Settings(reach=0.25)
        heads = maps.heatmaps, maps.center, maps.regress, maps.offset
        return by_centers.people(
            *heads, system.bones, stride=system.model.stride, settings=settings
        )

    bodies = jax.device_get(jax.jit(find)(loaded.variables, pixels.astype(np.float32)))
    return np.concatenate([bodies.xy, bodies.score[..., None]], axis=-1)[bodies.there]


@pytest.mark.parametrize("isolated", [True, False])
def test_a_picture_over_the_network_of_this_machine(isolated, folder, detector, tmp_path):
    """With and without the headers for threads: joints within half a pixel of Python's, nothing
    asked of anybody else, nothing on the console."""
    pixels = noise(tmp_path / "noise.png")
    handler = demo.Handler if isolated else demo.PlainHandler
    with served(folder, handler) as url, Chromium(tmp_path) as browser:
        page = browser.page(url)
        page.wait(READY)
        assert page.value("crossOriginIsolated") is isolated
        page.choose(tmp_path / "noise.png")
        says(page, "noise.png: ")
        says(page, "160 × 160 pixels")
        assert page.value("document.getElementById('count').textContent") == "0"
        people = np.array(page.value(TABLES))
        assert all(asked.startswith((url, "data:")) for asked in page.requests())
        assert len(page.requests()) > 15
        assert page.complaints() == []
    expected = pythons(detector, pixels)
    assert len(people) == len(expected) >= 1
    np.testing.assert_allclose(people[..., :2], expected[..., :2], atol=0.5)
    np.testing.assert_allclose(people[..., 2], expected[..., 2], atol=0.01)


def test_the_one_file_opens_from_disk(folder, detector, tmp_path):
    pixels = noise(tmp_path / "noise.png")
    with Chromium(tmp_path, *CAMERA) as browser:
        page = browser.page((folder / demo.SINGLE).as_uri())
        page.wait(READY)
        page.choose(tmp_path / "noise.png")
        says(page, "160 × 160 pixels")
        people = np.array(page.value(TABLES))
        page.click("camera")
        page.wait("document.body.dataset.frames > 5")
        asked = [url for url in page.requests() if not url.startswith(("data:", "blob:"))]
        assert asked == [(folder / demo.SINGLE).as_uri()]
        assert page.complaints() == []
    expected = pythons(detector, pixels)
    np.testing.assert_allclose(people[..., :2], expected[..., :2], atol=0.5)


def test_a_camera_held_upright_and_stopped(folder, tmp_path):
    """A phone in portrait: the view is higher than wide; Stop lets go of the camera."""
    rng = np.random.default_rng(0)
    with (tmp_path / "upright.y4m").open("wb") as file:
        file.write(b"YUV4MPEG2 W120 H160 F15:1 Ip A1:1 C420jpeg\n")
        for _ in range(15):
            file.write(b"FRAME\n" + rng.integers(0, 255, 120 * 160 * 3 // 2, np.uint8).tobytes())
    source = f"--use-file-for-fake-video-capture={tmp_path / 'upright.y4m'}"
    with served(folder) as url, Chromium(tmp_path, *CAMERA, source) as browser:
        page = browser.page(url)
        page.wait(READY)
        page.click("camera")
        page.wait("document.body.dataset.frames > 20")
        assert page.text("rate") != "–"
        width, height = page.value("[view.width, view.height]")
        assert (width, height) == (480, 640)
        page.click("stop")
        says(page, "Stopped")
        assert page.value("document.getElementById('video').srcObject") is None
        assert page.complaints() == []


def test_a_video_plays_to_its_end(page, tmp_path):
    film(tmp_path / "clip.webm", "libvpx")
    page.choose(tmp_path / "clip.webm")
    says(page, "clip.webm: the end, 0 repetitions")
    assert page.value("document.body.dataset.frames > 3")
    assert page.complaints() == []


def test_what_goes_wrong_is_one_line_and_the_page_goes_on(page, tmp_path):
    """A one-pixel picture is accepted; an unreadable file gives one line; the next one works."""
    noise(tmp_path / "dot.png", (1, 1))
    (tmp_path / "torn.png").write_bytes((tmp_path / "dot.png").read_bytes()[:40])
    (tmp_path / "note.txt").write_text("no picture")
    film(tmp_path / "old.avi", "mpeg4")
    for name, words in (
        ("torn.png", "torn.png: this browser can't read the picture; try a JPEG or PNG"),
        ("note.txt", "note.txt: this browser can't decode it; try a video as MP4 (H.264)"),
        ("old.avi", "old.avi: this browser can't decode it"),
        ("dot.png", "in 1 × 1 pixels"),
    ):
        page.choose(tmp_path / name)
        says(page, words)
        assert page.value("document.querySelector('#status.wrong') !== null") == (name[0] != "d")
    page.click("camera")
    page.wait("document.body.dataset.frames > 3")
    assert [words for words in page.complaints() if "decode" not in words] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((), "No camera was found"), (CAMERA[:1], "The camera was refused")],
)
def test_no_camera_and_a_refused_one(folder, arguments, words, tmp_path):
    with served(folder) as url, Chromium(tmp_path, *arguments) as browser:
        if arguments:
            browser.send(
                "Browser.setPermission", permission={"name": "camera"}, setting="denied",
                origin=url.rstrip("/"),
            )  # fmt: skip
        page = browser.page(url)
        page.wait(READY)
        page.click("camera")
        says(page, words)
        assert page.value(READY)
        noise(tmp_path / "noise.png")
        page.choose(tmp_path / "noise.png")
        says(page, "160 × 160 pixels")


def test_keys_reach_every_control_and_all_of_them_have_names(page):
    """Tab goes from the file to the camera, past the disabled stop, to the table; controls and
    pictures have names for screen readers."""
    page.value("document.body.focus()")
    reached = []
    for _ in range(4):
        for kind in ("keyDown", "keyUp"):
            page.send("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab",
                      windowsVirtualKeyCode=9)  # fmt: skip
        reached.append(page.value("document.activeElement.id || document.activeElement.localName"))
    assert reached[:3] == ["file", "camera", "summary"]
    named = page.value(
        "[...document.querySelectorAll('input, button, canvas')].map((part) => part.labels?.[0]"
        "?.textContent || part.getAttribute('aria-label') || part.textContent.trim())"
    )
    assert len(named) == 5
    assert all(named), named


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_nothing_is_cut_off_on_any_screen(page, width, scheme, tmp_path):
    """No sideways scrolling, and text that stands out from its ground by 4.5 to 1 (WCAG AA)."""
    page.look(width, 800, scheme)
    noise(tmp_path / "noise.png", (900, 1600))
    page.choose(tmp_path / "noise.png")
    says(page, "1600 × 900 pixels")
    assert page.value("document.documentElement.scrollWidth") <= width
    dark = page.value("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    assert dark == (scheme == "dark")
    for selector in ("body", ".private", "figcaption", "#camera", "#stop", "dt", ".figures"):
        ink, ground = page.value(
            f"""(() => {{
              const colours = (part) => getComputedStyle(part);
              let part = document.querySelector({json.dumps(selector)});
              const ink = colours(part).color;
              const clear = () => colours(part).backgroundColor === "rgba(0, 0, 0, 0)";
              while (clear()) part = part.parentElement;
              return [ink, colours(part).backgroundColor].map((text) =>
                text.match(/\\d+/g).map(Number));
            }})()"""
        )
        lights = sorted(luminance(colour) for colour in (ink, ground))
        assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 4.5, selector


def luminance(colour):
    """Of sRGB 0 to 255, relative (WCAG 2)."""
    parts = np.array(colour[:3]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
