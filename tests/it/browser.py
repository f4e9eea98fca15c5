"""A real browser: Debian's chromium, driven over WebDriver. What it asks for and complains of is kept, to be looked at."""
import json
import os
import tempfile

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

PATIENCE = 60  # seconds for something to appear
FLAGS = ["--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--disable-dev-shm-usage", "--lang=en-GB",
         "--in-process-gpu", "--process-per-site", "--disable-site-isolation-trials"]  # few processes: each costs its start

# For each text on the page: its colour against what lies behind it (WCAG 2.2, 1.4.3). Backgrounds are opaque or not there.
CONTRASTS = r"""
const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
const light = (c) => { const [r, g, b] = c.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const behind = (e) => { for (let at = e; at; at = at.parentElement) { const c = rgba(getComputedStyle(at).backgroundColor); if (c[3] > 250) return c; } return [255, 255, 255, 255]; };
const out = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let t; (t = walker.nextNode());) {
  const e = t.parentElement;
  if (!t.nodeValue.trim() || !e.checkVisibility() || e.closest('.hidden, noscript, script, .skip')) continue;
  const [a, b] = [light(rgba(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
  out.push([(a + 0.05) / (b + 0.05), t.nodeValue.trim().slice(0, 40), e.className]);
}
return out;
"""


class Browser:
    def __init__(self):
        self.profile = tempfile.TemporaryDirectory(prefix="berth-browser.")  # pylint: disable=consider-using-with
        options = webdriver.ChromeOptions()
        for flag in FLAGS + (["--no-sandbox"] if os.geteuid() == 0 else []) + [f"--user-data-dir={self.profile.name}"]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
        self.scripts = []

    def end(self):
        self.driver.quit()
        self.profile.cleanup()

    # --- where it is ---

    def open(self, url, path="/", token=None):
        """A fresh tab, as far as the page can tell."""
        self.driver.get("about:blank")
        remember = f"sessionStorage.setItem('berth-token', {json.dumps(token)})" if token else ""
        signed_in = self.before_page(f"sessionStorage.clear(); {remember}")
        self.driver.get(f"{url}/#{path}")
        self.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": signed_in})
        self.until("document.querySelector('main h1')")
        return self

    def go(self, path):
        """Elsewhere within the page."""
        self.js("location.hash = arguments[0]", path)
        self.until("document.querySelector('main h1')")
        return self

    def emulate(self, width=1240, height=900, dark=False, narrow=False):
        cdp = self.driver.execute_cdp_cmd
        cdp("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": narrow})
        cdp("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
                                                        {"name": "prefers-reduced-motion", "value": "reduce"}]})
        return self

    def before_page(self, script):
        return self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})["identifier"]

    def before_pages(self, script):
        """Run this in every page before its own scripts, until undone()."""
        self.scripts.append(self.before_page(script))

    def undone(self):
        for one in self.scripts:
            self.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": one})
        self.scripts.clear()
        self.emulate()

    # --- what it shows ---

    def js(self, script, *args):
        return self.driver.execute_script(script, *args)

    def until(self, condition, *args):
        """Wait for a JavaScript expression to be true; its value."""
        try:
            return WebDriverWait(self.driver, PATIENCE, poll_frequency=0.05).until(lambda d: d.execute_script(f"return {condition}", *args))
        except Exception as e:
            raise AssertionError(f"never true: {condition} {args}\n{self.text()[:3000]}") from e

    def text(self, css="body"):
        return self.js("return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText).join('\\n')", css)

    def shows(self, text, css="main"):
        return self.until("[...document.querySelectorAll(arguments[1])].some((e) => e.innerText.includes(arguments[0]))", text, css)

    def find(self, css):
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def button(self, text):
        return self.driver.find_element(By.XPATH, f"//button[normalize-space()='{text}']")

    def panel(self, heading):
        """The text of one panel of the page."""
        return self.js("return [...document.querySelectorAll('main section')].find((s) => s.querySelector('h2').innerText === arguments[0])?.innerText", heading)

    def focused(self):
        return self.driver.switch_to.active_element

    def press(self, *keys):
        for key in keys:
            self.focused().send_keys(getattr(Keys, key) if len(key) > 1 and key.isupper() else key)

    def contrasts(self):
        return self.js(CONTRASTS)

    def names(self):
        """(role, name) of all that takes the focus, as screen readers are told."""
        self.driver.execute_cdp_cmd("Accessibility.enable", {})
        tree = self.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        return [(n.get("role", {}).get("value"), n.get("name", {}).get("value", "")) for n in tree
                if not n.get("ignored") and any(p["name"] == "focusable" and p["value"].get("value") for p in n.get("properties", []))]

    # --- what it did ---

    def complaints(self):
        """Of the console, since the last call."""
        return [e["message"] for e in self.driver.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]

    def requests(self):
        """URLs that were asked for since the last call."""
        events = (json.loads(e["message"])["message"] for e in self.driver.get_log("performance"))
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
