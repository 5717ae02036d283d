"""Reports in a real browser: nothing is asked for, hostile names stay text, and map and theme answer to every hand."""

import shutil
from itertools import pairwise

import pytest
from report_helpers import (
    HOSTILE,
    HOSTILE_FOLDER,
    HOSTILE_IN_FOLDER,
    fitted_on_digits,
    fitted_on_files,
    fitted_on_vectors,
    report_of,
    write_images,
)

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
    pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.CollapseWarning"),
]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def images(digits):
    return digits[0][:240]


@pytest.fixture(scope="module")
def report(images, tmp_path_factory):
    return report_of(fitted_on_digits(images), images, tmp_path_factory.mktemp("report"), title="Digits")


@pytest.fixture
def opened(browser):
    """Opens a report; fails if it complains, raises a dialog, or asks for anything but itself and data in it."""
    contexts, complaints = [], []

    def open_page(path, **options):
        context = browser.new_context(offline=True, **{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.on(
            "request",
            lambda request: None if request.url.startswith(("file:", "data:")) else complaints.append(request.url),
        )
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", timeout=20_000)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def state(page):
    """What the map is at: zoom, sample, and the text that is read out."""
    data = page.locator("#map").evaluate("box => ({...box.dataset})")
    return float(data["zoom"]), data["selected"], page.locator("#map-status").inner_text()


def test_page_shows_every_section(opened, report):
    path, content = report
    page = opened(path)
    assert page.title() == "Digits"
    assert page.locator("#sizes tbody tr").count() == 4
    assert page.locator(".cluster[id] img").count() == sum(
        len(ids) for cluster in content["clusters"] for ids in cluster["groups"].values()
    )
    assert page.locator(".pair").count() == len(content["pairs"])
    assert page.locator("#trust > div").count() == len(content["trust"])
    assert page.locator("#curves svg").count() >= 4
    assert "n_clusters" in page.locator("#parameters").inner_text()
    assert page.locator("#verdict .note").get_attribute("data-level") == content["verdict"]["level"]
    for figure in content["trust"]:
        assert figure["text"] in page.locator("#trust").inner_text()


def test_all_pictures_decode(opened, report):
    page = opened(report[0])
    broken = page.evaluate(
        """async () => {
            const images = [...document.querySelectorAll("img")];
            const results = await Promise.allSettled(images.map((image) => image.decode()));
            return results.filter((result) => result.status === "rejected").length;
        }"""
    )
    assert broken == 0


def test_headings_do_not_skip_levels_and_everything_has_a_name(opened, report):
    page = opened(report[0])
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    unnamed = page.evaluate(
        """[...document.querySelectorAll("img,svg,button,input,[role=region],[role=img],section")].filter((node) => {
            if (node.getAttribute("aria-hidden") === "true") return false;
            const by = node.getAttribute("aria-labelledby");
            const name = node.getAttribute("alt") || node.getAttribute("aria-label") || node.textContent
                || (by && document.getElementById(by).textContent) || (node.labels && node.labels[0].textContent);
            return !name || !name.trim();
        }).length"""
    )
    assert unnamed == 0
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(node => node.id)")
    assert len(set(ids)) == len(ids)


def test_filter_hides_clusters_on_the_map(opened, report):
    path, content = report
    page = opened(path)
    sizes = [cluster["size"] for cluster in content["clusters"]]
    assert state(page)[2] == f"{sum(sizes)} of {sum(sizes)} samples shown, zoom 1.0."
    page.locator("#filter input").nth(1).uncheck()
    assert state(page)[2].startswith(f"{sum(sizes) - sizes[1]} of ")
    page.get_by_role("button", name="None").click()
    assert state(page)[2].startswith("0 of ")
    page.get_by_role("button", name="All").click()
    assert state(page)[2].startswith(f"{sum(sizes)} of ")
    page.get_by_role("button", name="Only cluster 2 on the map").click()
    page.locator("#map").evaluate("box => box.blur()")
    assert state(page)[2].startswith(f"{sizes[2]} of ")
    assert page.locator("#filter input:checked").count() == 1
    # It fills most of the map, and none of it is outside.
    shares = page.evaluate(
        """() => {
          const places = points.filter(visible).map(placing());
          return [canvas.clientWidth, canvas.clientHeight].map((side, axis) => places.map((at) => at[axis] / side));
        }"""
    )
    assert all(0 <= share <= 1 for along in shares for share in along)
    assert max(max(along) - min(along) for along in shares) == pytest.approx(0.8, abs=0.01)


def test_filter_changes_what_is_drawn(opened, report):
    page = opened(report[0])
    drawn = "document.getElementById('map-canvas').toDataURL()"
    before = page.evaluate(drawn)
    page.locator("#filter input").nth(0).uncheck()
    assert page.evaluate(drawn) != before
    page.locator("#filter input").nth(0).check()
    assert page.evaluate(drawn) == before


def test_zoom_and_pan_by_mouse(opened, report):
    page = opened(report[0])
    page.get_by_role("button", name="Zoom in").click()
    assert state(page)[0] == 1.5
    page.get_by_role("button", name="Zoom out").click()
    assert state(page)[0] == 1.0
    page.locator("#map").scroll_into_view_if_needed()
    box = page.locator("#map").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.wheel(0, -200)  # the page scrolls until the map was clicked
    page.wait_for_timeout(200)
    assert state(page)[0] == 1.0
    page.locator("#map").click()
    drawn = page.evaluate("document.getElementById('map-canvas').toDataURL()")
    page.mouse.wheel(0, -200)
    page.wait_for_function("() => Number(document.getElementById('map').dataset.zoom) > 1.4")
    page.get_by_role("button", name="Whole map").click()
    page.locator("#map").scroll_into_view_if_needed()
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + 30, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 130, box["y"] + 60, steps=3)
    page.mouse.up()
    assert page.evaluate("[map.x, map.y]") == [100, 30]
    assert page.evaluate("document.getElementById('map-canvas').toDataURL()") != drawn


def test_keyboard_walks_the_map_and_shows_thumbnails(opened, report):
    path, content = report
    page = opened(path)
    assert page.locator("#card").is_hidden()
    page.locator("#as-pictures").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "map"
    _, first, spoken = state(page)
    assert first != ""
    assert page.locator("#card").is_visible()
    page.wait_for_function(
        """() => {
            const picture = document.querySelector("#card canvas");
            const pixels = picture.getContext("2d").getImageData(0, 0, picture.width, picture.height).data;
            return pixels.some((value, i) => i % 4 < 3 && value > 0);
        }"""
    )
    row = content["samples"]["id"].index(int(first))
    assert f"sample {first}: cluster {content['samples']['cluster'][row]}" in spoken
    visited = {first}
    for key in ("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
        visited.add(state(page)[1])
    assert len(visited) >= 3
    page.keyboard.press("+")
    assert state(page)[0] == 1.5
    page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate("map.x") != 0
    page.keyboard.press("0")
    assert state(page)[0] == 1.0
    page.keyboard.press("Escape")
    assert page.locator("#card").is_hidden()
    assert state(page)[1] == ""


def test_focus_is_visible_everywhere(opened, report):
    page = opened(report[0])
    seen = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            "(() => { const node = document.activeElement; return [node.tagName + node.id + node.className,"
            " getComputedStyle(node).outlineStyle]; })()"
        )
        seen.add(name)
        assert outline == "solid", name
    assert "Askip" in seen


def test_hover_shows_the_sample_under_the_pointer(opened, report):
    page = opened(report[0])
    page.locator("#map").scroll_into_view_if_needed()
    x, y, wanted = page.evaluate(
        """(() => {
            const box = canvas.getBoundingClientRect();
            const [x, y] = placing()(points[0]);
            return [box.left + x, box.top + y, nearest(x, y, 14).id];
        })()"""
    )
    page.mouse.move(x, y)
    assert state(page)[1] == str(wanted)
    assert page.locator("#card canvas").get_attribute("aria-label") == f"sample {wanted}"
    page.mouse.move(2, 2)
    assert page.locator("#card").is_hidden()


def test_pictures_in_place_of_marks(opened, report):
    page = opened(report[0])
    before = page.evaluate("document.getElementById('map-canvas').toDataURL()")
    assert page.evaluate("map.sheets.length") == 0  # nothing is decoded before it is wanted
    page.get_by_label("Pictures in place of marks").check()
    page.wait_for_function("() => map.sheets.length > 0 && map.sheets.every(sheet => sheet.complete)")
    assert page.evaluate("document.getElementById('map-canvas').toDataURL()") != before


def test_theme_follows_the_system_until_the_switch_is_used(opened, report):
    page = opened(report[0], color_scheme="dark")
    theme, colour = "document.documentElement.dataset.theme", "getComputedStyle(document.body).backgroundColor"
    switch = page.get_by_role("button", name="Dark colours")
    assert page.evaluate(theme) == "dark"
    assert page.evaluate(colour) == "rgb(20, 24, 29)"
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"() => {theme} === 'light'")
    assert switch.get_attribute("aria-pressed") == "false"
    before = page.evaluate("document.getElementById('map-canvas').toDataURL()")
    switch.click()
    assert page.evaluate(theme) == "dark"
    assert switch.get_attribute("aria-pressed") == "true"
    assert page.evaluate("document.getElementById('map-canvas').toDataURL()") != before
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(f"() => matchMedia('(prefers-color-scheme: {scheme})').matches")
        page.wait_for_timeout(100)
        assert page.evaluate(theme) == "dark"


def test_motion_is_reduced_where_that_is_asked_for(opened, report):
    behaviour = "getComputedStyle(document.documentElement).scrollBehavior"
    assert opened(report[0], reduced_motion="reduce").evaluate(behaviour) == "auto"
    assert opened(report[0], reduced_motion="no-preference").evaluate(behaviour) == "smooth"


@pytest.mark.parametrize("width", [320, 390, 800])
def test_narrow_screens_need_no_scrolling_sideways(opened, report, width):
    page = opened(report[0], viewport={"width": width, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_touch_selects_a_sample(opened, report):
    page = opened(report[0], has_touch=True, viewport={"width": 390, "height": 844})
    page.locator("#map").scroll_into_view_if_needed()
    x, y = page.evaluate(
        "(() => { const box = canvas.getBoundingClientRect(), [x, y] = placing()(points[5]);"
        " return [box.left + x, box.top + y]; })()"
    )
    page.touchscreen.tap(x, y)
    assert page.locator("#card").is_visible()


def test_two_fingers_zoom(opened, report):
    page = opened(report[0])
    page.evaluate(
        """() => {
            const box = document.getElementById("map"), { left, top } = box.getBoundingClientRect();
            const finger = (name, id, x) => box.dispatchEvent(new PointerEvent(name,
                { pointerId: id, pointerType: "touch", clientX: left + x, clientY: top + 100, bubbles: true }));
            finger("pointerdown", 1, 100);
            finger("pointerdown", 2, 200);
            finger("pointermove", 2, 300);
            finger("pointerup", 1, 100);
            finger("pointerup", 2, 300);
        }"""
    )
    assert state(page)[0] == 2.0


def test_printing_is_light_and_leaves_out_controls(opened, report):
    path, content = report
    page = opened(path, color_scheme="dark")
    printed = page.pdf()
    assert printed[:4] == b"%PDF"
    assert printed.count(b"/Subtype /Image") >= len(content["pictures"]["ids"])  # also those that were never in view
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.emulate_media(media="print")
    assert page.locator("nav").is_hidden()
    assert page.locator("#filter").is_hidden()


def test_hostile_names_are_text(opened, tmp_path):
    names = [*HOSTILE, f"{HOSTILE_FOLDER}/{HOSTILE_IN_FOLDER}", *(f"{i}.png" for i in range(8))]
    paths = write_images(tmp_path, names)
    title = "</title><script>alert(5)</script>"
    page = opened(report_of(fitted_on_files(paths), paths, tmp_path, title=title)[0])
    assert page.title() == title
    assert page.locator("h1").inner_text() == title
    shown = set(page.locator("figcaption .path").all_text_contents())
    assert set(names) <= shown
    assert page.evaluate("document.querySelectorAll('b, script').length") == 2  # the page's own two scripts
    assert page.locator("img[src='x']").count() == 0
    for _ in range(2):
        page.locator("#map").focus()
        page.keyboard.press("ArrowRight")
    assert page.locator("#card").is_visible()


def test_unreadable_files_are_listed(opened, tmp_path):
    paths = write_images(tmp_path, [f"{i}.png" for i in range(10)])
    bad = tmp_path / "<img src=x onerror=alert(1)>.png"
    bad.write_bytes(b"")
    with pytest.warns(UserWarning, match="cannot be read"):
        estimator = fitted_on_files([*paths, str(bad)])
    page = opened(report_of(estimator, paths, tmp_path)[0])
    assert page.locator("#unreadable tbody tr").count() == 1
    assert page.locator("#unreadable code").inner_text() == str(bad)


def test_feature_vectors_have_tables(opened, images, tmp_path):
    X = images.reshape(len(images), -1)
    path, content = report_of(fitted_on_vectors(images), X, tmp_path)
    page = opened(path)
    assert page.locator("img").count() == 0
    assert page.locator("#vectors tbody tr").count() == 3
    first = ", ".join(map(str, content["clusters"][0]["nearest"]))
    assert first in page.locator("#vectors tbody tr").first.inner_text()
    assert page.locator("#as-pictures-label").is_hidden()
    page.locator("#map").focus()
    page.keyboard.press("ArrowRight")
    assert "cluster" in page.locator("#card").inner_text().lower()


def test_without_scripts_the_page_says_so(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report[0].as_uri())
    assert "drawn by a script" in page.locator("noscript").inner_text()
    context.close()
