"""A headless Chromium, driven by its DevTools protocol through two pipes: no port, no package."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bodyjax.errors import UserError

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run",
    "--disable-component-update", "--disable-background-networking", "--disable-sync",
    "--remote-debugging-pipe", "--window-size=1280,900",
    # Nothing outside this machine can be reached, so a page that needs it fails.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)  # fmt: skip
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
PATIENCE = 240.0
"""Seconds for a step, on a machine that does much else."""


LAUNCH = (
    "import fcntl, os, sys; "
    "ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]; "
    "os.dup2(ends[0], 3); os.dup2(ends[1], 4); os.execv(sys.argv[3], sys.argv[3:])"
)
"""Puts the ends of two pipes where the browser looks for them: file descriptors 3 and 4."""


def program() -> str:
    """The path of a Chromium. UserError if there is none."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        raise UserError("Chromium is not installed", hint="on Debian: apt install chromium")
    return path


class Chromium:
    """A browser with an empty profile in `folder`; ends with the `with` block."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        to_browser, self.write = os.pipe()
        self.read, from_browser = os.pipe()

        ends = (to_browser, from_browser)
        command = [program(), *ARGUMENTS, f"--user-data-dir={folder / 'profile'}", *arguments]
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", LAUNCH, *map(str, ends), *command],
            pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": str(folder)},  # what it leaves goes with the folder
        )  # fmt: skip
        for end in (to_browser, from_browser):
            os.close(end)
        self.number, self.rest = 0, b""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for end in (self.write, self.read):
            os.close(end)

    def send(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """The result of a command; events that come meanwhile are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE
        while True:
            answer = self.receive(end - time.monotonic())
            if answer is None:
                raise UserError(f"the browser gives no answer to {method}")
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise UserError(f"the browser refuses {method}: {answer['error']['message']}")
                found: dict[str, Any] = answer["result"]
                return found

    def receive(self, seconds: float) -> dict[str, Any] | None:
        """The next message, None if there is none; keeps it if it is an event."""
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.read], [], [], max(seconds, 0))
            data = os.read(self.read, 1 << 20) if ready else b""
            if not data:
                return None
            self.rest += data
        text, _, self.rest = self.rest.partition(b"\0")
        message = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message

    def page(self, url: str) -> Page:
        """A new page at an address, loaded."""
        made = Page(self)
        made.send("Page.navigate", url=url)
        made.wait("document.readyState === 'complete'")
        return made


class Page:
    """A tab."""

    def __init__(self, browser: Chromium) -> None:
        self.browser = browser
        target = browser.send("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.send("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.browser.send(method, self.session, **parameters)

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript gives, awaited."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True,
            userGesture=True,
        )  # fmt: skip
        if "exceptionDetails" in answer:
            thrown = answer["exceptionDetails"].get("exception", {}).get("description", "?")
            lines = expression.strip().splitlines()[:1], str(thrown).strip().splitlines()[:1]
            raise UserError(": ".join(one[0] for one in lines if one))
        return answer["result"].get("value")

    def wait(self, expression: str) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.value(expression):
            if time.monotonic() > end:
                said = [self.text("status"), *self.complaints()]
                raise UserError(f"never true: {expression}; the page says {said}")
            time.sleep(0.1)

    def text(self, name: str) -> str | None:
        """The text of the element with this id."""
        return self.value(f"document.getElementById('{name}')?.textContent")

    def choose(self, file: Path) -> None:
        """Takes a file in the page's input, as a reader does."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def click(self, name: str) -> None:
        self.value(f"document.getElementById('{name}').click()")

    def events(self, method: str) -> list[dict[str, Any]]:
        return [
            event["params"]
            for event in self.browser.events
            if event["method"] == method and event.get("sessionId") == self.session
        ]

    def complaints(self) -> list[str]:
        """Everything on the console, and errors that nobody caught."""
        logged = [event["entry"]["text"] for event in self.events("Log.entryAdded")]
        said = [
            " ".join(str(part.get("value", part)) for part in event["args"])
            for event in self.events("Runtime.consoleAPICalled")
        ]
        thrown = [
            event["exceptionDetails"].get("exception", {}).get("description", "?")
            for event in self.events("Runtime.exceptionThrown")
        ]
        return logged + said + thrown

    def requests(self) -> list[str]:
        """The addresses that the page asked for."""
        return [event["request"]["url"] for event in self.events("Network.requestWillBeSent")]

    def screenshot(self, file: Path) -> None:
        answer = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        Path(file).write_bytes(base64.b64decode(answer["data"]))

    def look(self, width: int, height: int, scheme: str = "light") -> None:
        """Sets the size of the window in pixels and the colour scheme."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, mobile=False,
            deviceScaleFactor=1,
        )  # fmt: skip
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.send("Emulation.setEmulatedMedia", features=[feature])
