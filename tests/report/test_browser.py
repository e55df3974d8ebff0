"""The report in a real browser: no overflow on a phone, no console message, no request, readable light and dark.

Needs Chromium (`apt-get install chromium`); without it these tests are skipped.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from accord.record import Comparison, Estimate
from accord.record.compared import Example, Finding, ModelsComparison, PairComparison
from accord.report import write_report
from accord.report.compared import write_comparison

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt-get install chromium)")

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


class Browser:
    """A page of headless Chromium, driven over the DevTools protocol on a pipe."""

    def __init__(self, profile: Path) -> None:
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        redirect = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            ["bash", "-c", redirect, str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer, self._next, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> Any:
        """Send a command, wait for its answer; events that arrive meanwhile are kept."""
        self._next += 1
        message = {"id": self._next, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._next:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, page: Path, *, width: int = 1280, dark: bool = False) -> None:
        """Load a file at a viewport width and colour scheme."""
        phone = width < 600
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.send("Page.navigate", url=page.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive())

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self.send("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        height = self.evaluate("document.documentElement.scrollHeight")
        width = self.evaluate("window.innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        data = self.send("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        """End the browser and its children."""
        os.close(self._out)
        os.close(self._in)
        try:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(timeout=10)
        except ProcessLookupError:
            self._process.wait()

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._in, 1 << 16)
            assert part, "the browser ended"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        decoded: dict[str, Any] = json.loads(message)
        return decoded


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, write: Callable[..., Path]) -> dict[str, Path]:
    """A report of one run and a comparison of two."""
    directory = tmp_path_factory.mktemp("pages")
    runs = [write(directory / name, gain=gain) for name, gain in (("good", 1.0), ("bad", -0.6))]
    return {
        "run": write_report(runs[:1]).html,
        "comparison": write_report(runs).html,
        "models": write_comparison(_compared(), directory / "models.html").html,
    }


def _compared() -> ModelsComparison:
    """Three models on one axis, with long names and long answers."""
    long = "a-model-with-a-name-that-does-not-break-" * 3
    before, after, change = (Estimate(end, end - 0.05, end + 0.05, 200) for end in (0.5, 0.6, 0.1))
    axis = Comparison("helpful", before, after, change)
    finding = Finding("town", axis, 0.001, True, 0.001, "better", 0.03, (30, 10, 160), 0, None, {long: axis.before})
    example = Example("town", "helpful", long, 1.0, "word " * 300, (long * 20,), ("<b>short</b>",), {long: 1.0})
    pairs = (
        PairComparison("base", long, (finding,), "trade-off", (example,)),
        PairComparison("base", "other", (finding,), "better", (example,)),
    )
    return ModelsComparison(("base", long, "other"), ("", "", ""), ("town",), pairs, settings={"town": {long: long}})


@pytest.mark.parametrize("name", ["run", "comparison", "models"])
@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, False), (1280, True)])
def test_page_fits_its_screen_and_asks_for_nothing(
    browser: Browser, pages: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    browser.open(pages[name], width=width, dark=dark)
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    shades = [int(part) for part in background.removeprefix("rgb(").removesuffix(")").split(",")]
    assert (max(shades) < 64) if dark else (min(shades) > 192)
    complaints = [
        event
        for event in browser.events
        if event["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
    ]
    assert complaints == []
    urls = {
        event["params"]["request"]["url"] for event in browser.events if event["method"] == "Network.requestWillBeSent"
    }
    assert urls == {pages[name].resolve().as_uri()}, "the page asked for something beside itself"
