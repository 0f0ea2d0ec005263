"""A run's page in a real browser: dark and light, wide and narrow, offline.

    python -m venv venv && venv/bin/pip install playwright
    venv/bin/python tests/browser/report.py /usr/bin/chromium runs/mine/report.html screenshots

Checks that nothing is fetched, nothing stands out at the side, every image is drawn and text stands out from its
ground, and keeps a screenshot of each.
"""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

MEASURE = """() => {
    const luminance = (color) => {
        const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((part) => {
            const share = part / 255;
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = luminance(getComputedStyle(document.body).backgroundColor);
    const contrast = (element) => {
        const own = luminance(getComputedStyle(element).color);
        return (Math.max(own, ground) + 0.05) / (Math.min(own, ground) + 0.05);
    };
    const texts = [...document.querySelectorAll('h1, h2, p, dt, dd, td, th, svg')];
    return {
        width: document.documentElement.scrollWidth,
        images: [...document.images].filter((image) => !image.naturalWidth).length,
        charts: [...document.querySelectorAll('svg')].filter((svg) => svg.getBoundingClientRect().width < 250).length,
        titles: document.querySelectorAll('svg > title').length,
        contrast: Math.min(...texts.map(contrast)),
        ground,
    };
}"""


def main():
    chromium, page, folder = sys.argv[1], Path(sys.argv[2]).resolve(), Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    grounds = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme, width in [("light", 1200), ("dark", 1200), ("light", 390), ("dark", 390)]:
            context = browser.new_context(
                color_scheme=scheme, viewport={"width": width, "height": 900}, java_script_enabled=True, offline=True
            )
            tab, wrong = context.new_page(), []
            tab.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
            tab.on("console", lambda message: wrong.append(message.text))
            tab.goto(page.as_uri())
            seen = tab.evaluate(MEASURE)
            tab.screenshot(path=str(folder / f"report-{scheme}-{width}.png"), full_page=True)
            print(scheme, width, seen)
            assert not wrong, wrong
            assert seen["width"] <= width, "something stands out at the side"
            assert seen["images"] == 0 and seen["charts"] == 0 and seen["titles"] > 0
            assert seen["contrast"] >= 4.5, "text is hard to read"
            grounds[scheme] = seen["ground"]
        browser.close()
    assert grounds["light"] > 0.9 and grounds["dark"] < 0.1, grounds


if __name__ == "__main__":
    main()
