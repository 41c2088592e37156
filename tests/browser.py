"""A headless Chromium, driven through its debugging pipe: one start for many pictures."""

from __future__ import annotations

import base64
import io
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imread
from numpy.typing import NDArray

# The wrapper of Debian starts this program.
PROGRAMS = ("/usr/lib/chromium/chromium", "chromium", "chromium-browser")
OPTIONS = (
    "--headless --no-sandbox --no-zygote --use-gl=angle --use-angle=swiftshader "
    "--enable-unsafe-swiftshader --hide-scrollbars --no-first-run --remote-debugging-pipe"
)
LIMIT = 120  # seconds for one answer


def program() -> str | None:
    """Return the browser, None if there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Browser:
    """One window of a size; ``with Browser(...) as browser``."""

    def __init__(self, folder: Path, width: int, height: int) -> None:
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        # The browser reads from descriptor 3 and writes to 4.
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", str(program()),
             *OPTIONS.split(), f"--user-data-dir={folder}", f"--window-size={width},{height}"],
            pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self._number, self._left, self._session = 0, b"", ""
        target = self.ask("Target.createTarget", url="about:blank")
        made = self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = made["sessionId"]
        self.ask("Page.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol and return its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + LIMIT
        while True:
            *whole, self._left = self._left.split(b"\0")
            for text in whole:
                answer = json.loads(text)
                if answer.get("id") == self._number:
                    assert "error" not in answer, answer
                    return dict(answer["result"])
            ready, _, _ = select.select([self._read], [], [], until - time.monotonic())
            more = os.read(self._read, 1 << 20) if ready else b""
            assert more, f"the browser didn't answer {method}"
            self._left += more

    def run(self, script: str) -> Any:
        """Return the value of a script in the page."""
        found = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, page: Path, view: str) -> None:
        """Open a page, and wait until its script is done."""
        # Another query, so that it isn't only another place in the same page.
        self.ask("Page.navigate", url=f"{page.as_uri()}?{self._number}#{view}")
        until = time.monotonic() + LIMIT
        while self.run("document.body && document.body.dataset.ready") != "1":
            assert time.monotonic() < until, f"{page}: its script didn't end"

    def picture(self) -> NDArray[np.float32]:
        """Return what the window shows, (height, width, 3)."""
        shot = base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])
        return np.asarray(imread(io.BytesIO(shot))[:, :, :3])

    def mouse(self, *steps: tuple[str, float, float]) -> None:
        """Press, move and release the left button: ("mousePressed", x, y), ..."""
        for kind, x, y in steps:
            self.ask(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1,
                clickCount=1,
            )  # fmt: skip
