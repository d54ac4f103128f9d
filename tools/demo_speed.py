"""How fast the built page is in a real browser: network and decoding, and with drawing.

PYTHONPATH=. python tools/demo_speed.py --page build/demo [--threads 1] [--runs 100]

A headless Chromium runs the page's own modules on one picture of noise: CPU time of its main thread
for a frame, which does all the work when there is one thread, and wall time. CPU time is what an
otherwise idle core needs; wall time counts the wait for a busy one. Prints the median and the
quickest quarter of ten parts. `with drawing`: the picture fitted into the canvas, the pixels read
back, picture and six people drawn, as app.mjs does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

from bodyjax.errors import UserError
from tools import demo
from tools.demo_browser import Chromium, Page

PARTS = 10
PREPARE = """(async () => {
  const { bytes, json, runtime } = await import("./assets.mjs");
  const { detector } = await import("./networks.mjs");
  const { drawFitted } = await import("./canvas.mjs");
  const { drawPeople } = await import("./drawing.mjs");
  const { pose } = await json("model.json");
  const ort = await runtime();
  ort.env.wasm.numThreads = THREADS;
  const find = await detector(ort, await bytes(pose.file), pose);
  const canvas = (side) => {
    const made = document.createElement("canvas");
    made.width = made.height = side;
    return made.getContext("2d", { willReadFrequently: side === pose.canvas });
  };
  const [small, view, frame, source] = [pose.canvas, 640, 640, 640].map(canvas);
  for (let i = 0; i < 400; i++) {
    source.fillStyle = `hsl(${(i * 47) % 360} 60% ${20 + (i % 60)}%)`;
    source.fillRect((i * 83) % 640, (i * 131) % 640, 60, 90);
  }
  drawFitted(small, source.canvas, 640, 640, pose.canvas, pose.fill);
  const pixels = small.getImageData(0, 0, pose.canvas, pose.canvas).data;
  globalThis.alone = () => find(pixels);
  globalThis.drawn = async () => {
    drawFitted(small, source.canvas, 640, 640, pose.canvas, pose.fill);
    frame.drawImage(source.canvas, 0, 0);
    const people = await find(small.getImageData(0, 0, pose.canvas, pose.canvas).data);
    view.drawImage(frame.canvas, 0, 0);
    drawPeople(view, people, null, pose, 640);
    view.getImageData(0, 0, 1, 1); // waits until it is drawn
  };
  globalThis.times = async (count, run) => {
    const start = performance.now();
    for (let i = 0; i < count; i++) await run();
    return performance.now() - start;
  };
  await times(20, alone);
  await times(5, drawn);
})()"""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", type=Path, default=Path("build/demo"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=100)
    options = parser.parse_args(arguments)
    handler = demo.PlainHandler if options.threads == 1 else demo.Handler
    try:
        if not (options.page / "model.json").exists():
            raise UserError("has no model.json", file=options.page, hint="tools/demo.py builds it")
        with (
            demo.server(options.page, handler=handler) as server,
            tempfile.TemporaryDirectory() as profile,
        ):
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_address[1]}/"
            with Chromium(Path(profile)) as browser:
                page = browser.page(url)
                page.send("Performance.enable", timeDomain="threadTicks")
                page.value(PREPARE.replace("THREADS", str(options.threads)))
                for name, what in (("alone", "network and decoding"), ("drawn", "with drawing")):
                    print(f"{what}: {told(page, name, max(options.runs // PARTS, 1))}")
            server.shutdown()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def told(page: Page, name: str, runs: int) -> str:
    """The times of a frame in words, of PARTS times `runs` frames."""
    cpu, wall = [], []
    for _ in range(PARTS):
        before = busy(page)
        wall.append(page.value(f"times({runs}, {name})") / runs)
        cpu.append(1000 * (busy(page) - before) / runs)
    low, middle = np.quantile(cpu, (0.25, 0.5))
    return (
        f"{middle:.1f} ms of CPU a frame ({1000 / middle:.0f} a second), quickest quarter "
        f"{low:.1f} ({1000 / low:.0f}); wall {np.median(wall):.1f} ms"
    )


def busy(page: Page) -> float:
    """Seconds of CPU time that the page's main thread has used for its tasks."""
    found = page.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in found if one["name"] == "TaskDuration"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
