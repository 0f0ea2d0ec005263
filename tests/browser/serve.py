"""Tries the page of `brasa serve` in headless Chromium: digits drawn with the mouse, an image dropped, forms, keys.

    python3 tests/browser/serve.py CHROMIUM BRASA DIGITS.keras SCREENSHOTS

DIGITS.keras is a model of MNIST's digits, as `brasa train` makes it. Needs `pip install playwright pillow`.
"""

import base64
import io
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import zipfile

from playwright.sync_api import sync_playwright

chromium, brasa, digits, screenshots = sys.argv[1:5]
os.makedirs(screenshots, exist_ok=True)


def arc(x, y, rx, ry, start, end, steps=24):
    """Points on an ellipse, from one angle to another, in degrees; 0 is on the right, 90 below."""
    angles = [math.radians(start + (end - start) * step / steps) for step in range(steps + 1)]
    return [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles]


# The strokes of each digit, from 0 to 1; not centred, and of several sizes.
STROKES = {
    0: [arc(0.45, 0.5, 0.2, 0.3, -90, 270)],
    1: [[(0.42, 0.3), (0.55, 0.18), (0.52, 0.82)]],
    2: [arc(0.5, 0.35, 0.18, 0.17, 190, 380) + [(0.36, 0.78), (0.72, 0.78)]],
    3: [arc(0.48, 0.33, 0.16, 0.15, 200, 450) + arc(0.48, 0.65, 0.19, 0.17, -90, 150)],
    4: [[(0.38, 0.2), (0.3, 0.52), (0.68, 0.52)], [(0.62, 0.2), (0.58, 0.85)]],
    5: [[(0.68, 0.2), (0.4, 0.2), (0.38, 0.46)] + arc(0.48, 0.62, 0.19, 0.18, -120, 140)],
    6: [[(0.6, 0.15), (0.42, 0.4)] + arc(0.5, 0.65, 0.16, 0.17, 190, 550)],
    7: [[(0.3, 0.22), (0.7, 0.22), (0.46, 0.82)]],
    8: [arc(0.5, 0.34, 0.14, 0.14, 90, 450) + arc(0.5, 0.65, 0.17, 0.17, -90, 270)],
    9: [arc(0.5, 0.36, 0.15, 0.15, 0, 360) + [(0.65, 0.36), (0.62, 0.6), (0.58, 0.85)]],
}


def png(side, light):
    """A grey image of a dark or a light bar."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (side, side), 255 if light else 0)
    ImageDraw.Draw(image).line((side / 2, side * 0.2, side / 2, side * 0.8), fill=0 if light else 255, width=side // 10)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


class Server:
    def __init__(self, *arguments):
        command = [brasa, "serve", "--listen", "127.0.0.1:0", "--no-access-log", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[-1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        code = self.process.wait(60)
        assert code == 0, code


def draw(page, digit):
    box = page.locator("#draw").bounding_box()
    page.click("#clear")
    for stroke in STROKES[digit]:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=3)
        page.mouse.up()
    # The answer to all of it, where an earlier one may have come first.
    until(page, "document.getElementById('said').textContent")
    for _ in range(20):
        name = page.locator("#bars li.first .name").inner_text()
        if name.endswith(str(digit)):
            break
        page.wait_for_timeout(100)
    return name


# The likeliest class.
FIRST = "(document.querySelector('#bars li.first .name')?.textContent ?? '')"


def until(page, condition):
    """Waits for a condition; Playwright's own way would be an `eval` in the page, which its policy forbids."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"it has not come to {condition}")


def watch(page, problems):
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: problems.append(request.url) if not re.match(r"(http://127\.0\.0\.1:|blob:|data:)", request.url) else None)


def main():
    problems = []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                  "--disable-component-update", "--disable-sync"],
        )
        here = os.path.dirname(os.path.abspath(__file__))
        fixtures = os.path.join(here, "..", "fixtures")
        table = os.path.join(folder, "houses.keras")
        make_table(os.path.join(fixtures, "models", "02_mlp_sgd.keras"), table)
        texts = os.path.join(fixtures, "text", "text_classifier.keras")
        with Server("--model", f"digits={digits}", "--model", f"houses={table}", "--model", f"reviews={texts}") as server:
            page = browser.new_page(viewport={"width": 1100, "height": 900})
            watch(page, problems)
            page.goto(server.url)
            page.wait_for_selector("#main:not([hidden])")
            page.select_option("#model", label="digits")
            names = {}
            right = 0
            for digit in range(10):
                name = draw(page, digit)
                names[digit] = name
                right += name == str(digit) or name.endswith(f" {digit}")
                page.screenshot(path=f"{screenshots}/serve-digit-{digit}.png")
            print("drawn:", names)
            assert right == 10, f"{right} of 10 digits are recognised: {names}"
            assert "--data-binary" in page.locator("#curl").inner_text()
            until(page, "document.getElementById('said').textContent.includes('percent')")

            # A dark stroke on a light ground is turned.
            page.set_input_files("#file", {"name": "one.png", "mimeType": "image/png", "buffer": png(120, True)})
            until(page, "document.getElementById('invert').checked")
            until(page, f"{FIRST}.endsWith('1')")
            drop(page, png(120, False))
            until(page, "!document.getElementById('invert').checked")
            until(page, "document.getElementById('curl').textContent.includes('one.png')")
            until(page, f"{FIRST}.endsWith('1')")
            page.screenshot(path=f"{screenshots}/serve-dropped.png")

            # The keyboard draws, too.
            page.click("#clear")
            assert page.locator("#bars li").count() == 0
            page.focus("#draw")
            for _ in range(8):
                page.keyboard.press("ArrowDown")
            until(page, "document.querySelectorAll('#bars li').length === 10")
            page.locator("#drawing summary").click()
            until(page, "document.getElementById('network').naturalWidth > 0")
            page.screenshot(path=f"{screenshots}/serve-network.png", full_page=True)

            page.select_option("#model", label="houses")
            until(page, "document.querySelectorAll('#bars li').length === 3")
            first = page.locator("#bars").inner_text()
            page.locator("#table input").first.fill("1.5")
            until(page, f"document.getElementById('bars').innerText !== {json.dumps(first)}")
            page.screenshot(path=f"{screenshots}/serve-table.png", full_page=True)
            page.locator("#table input").first.fill("")
            until(page, "document.getElementById('wrong').textContent.includes('finite number')")
            problems[:] = [one for one in problems if "400" not in one]

            page.select_option("#model", label="reviews")
            page.fill("#words", "what a fine film")
            until(page, "document.querySelectorAll('#bars li').length === 2")
            page.screenshot(path=f"{screenshots}/serve-text.png", full_page=True)
            labels(page)
            page.close()

            for name, options in {
                "dark": {"color_scheme": "dark", "viewport": {"width": 1100, "height": 900}},
                "narrow": {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True},
                "narrow-dark": {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"},
            }.items():
                context = browser.new_context(**options)
                page = context.new_page()
                watch(page, problems)
                page.goto(server.url)
                page.wait_for_selector("#main:not([hidden])")
                draw(page, 3)
                wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
                assert not wide, f"{name}: the page is wider than its window"
                if "narrow" in name:
                    # The answer is seen while one draws.
                    box = page.locator("#best").bounding_box()
                    assert page.locator("#best").inner_text().startswith("3, ") and box["y"] + box["height"] < 740, box
                page.screenshot(path=f"{screenshots}/serve-{name}.png", full_page=True)
                context.close()

        keys = os.path.join(folder, "keys")
        with open(keys, "w") as file:
            file.write("a-key-for-the-page\n")
        with Server("--model", f"digits={digits}", "--api-key-file", keys) as server:
            page = browser.new_page()
            page.goto(server.url)
            page.wait_for_selector("#locked:not([hidden])")
            page.fill("#key", "another-key-of-nobody")
            page.keyboard.press("Enter")
            until(page, "document.getElementById('locked-wrong').textContent")
            page.fill("#key", "a-key-for-the-page")
            page.keyboard.press("Enter")
            page.wait_for_selector("#main:not([hidden])")
            assert draw(page, 7).endswith("7")
            assert "a-key-for-the-page" not in page.locator("#curl").inner_text()
        browser.close()
    assert not problems, problems
    print("the page holds")


def drop(page, image):
    """Drops an image, as from a folder."""
    page.evaluate(
        """(text) => {
            const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "one.png", { type: "image/png" }));
            document.getElementById("draw").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
        }""",
        base64.b64encode(image).decode(),
    )


def labels(page):
    """Everything that one can operate has a name for screen readers."""
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, canvas, a, img[src]")]
            .filter((one) => one.offsetParent !== null)
            .filter((one) => !(one.labels?.length || one.textContent.trim() || one.getAttribute("aria-label") || one.alt))
            .map((one) => one.outerHTML)"""
    )
    assert not unnamed, unnamed


def make_table(model, path):
    """A model that knows the columns of its table: a fixture, and `brasa.json` beside its weights."""
    with zipfile.ZipFile(model) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    shape = next(
        layer["config"]["batch_shape"] for layer in config["config"]["layers"] if "batch_shape" in layer["config"]
    )
    columns = [{"name": f"column {index}"} for index in range(shape[-1])]
    members["brasa.json"] = json.dumps({"table": {"columns": columns, "targets": ["y"], "header": True, "separator": ","}})
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


main()
