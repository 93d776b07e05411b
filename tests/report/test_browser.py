"""The report in a real browser: Debian's chromium without a window, driven by selenium."""

import json
import shutil

import pytest
from small_report import HOSTILE, UTTERANCES, assessment, illustration, write

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER), reason="chromium and chromedriver are not installed (apt: chromium-driver)"
)
SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # containers, where CI runs, have no user namespaces
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--window-size=1280,1000",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    driver.get("about:blank")
    driver.get_log("performance")  # of the browser's own first page
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write(path, illustrations=(illustration("u10"), illustration("u2")))
    return path.as_uri()


@pytest.fixture
def page(browser, address):
    """The report, freshly opened; whatever the test did, nothing was complained of and nothing asked of a network."""
    browser.get(address)
    yield browser
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def column(page, key: str) -> list[str]:
    return [cell.text for cell in page.find_elements(By.CSS_SELECTOR, f"#table tbody td[data-key='{key}']")]


def header(page, key: str):
    return page.find_element(By.CSS_SELECTOR, f"#table th[data-key='{key}']")


def test_the_table_sorts_by_any_column(page):
    assert column(page, "errors") == ["3", "2", "1", "0"]  # the worst come first
    assert header(page, "errors").get_attribute("aria-sort") == "descending"
    header(page, "id").find_element(By.TAG_NAME, "button").click()
    assert column(page, "id") == ["u1", "u2", "u3", "u10"]  # numbers inside names count as numbers
    assert header(page, "id").get_attribute("aria-sort") == "ascending"
    assert header(page, "errors").get_attribute("aria-sort") == "none"
    header(page, "duration").find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)  # by keyboard
    assert column(page, "duration") == ["25.00", "12.00", "3.00", "1.50"]
    header(page, "duration").find_element(By.TAG_NAME, "button").send_keys(Keys.SPACE)
    assert column(page, "duration") == ["1.50", "3.00", "12.00", "25.00"]
    header(page, "wer").find_element(By.TAG_NAME, "button").click()
    assert column(page, "wer") == ["300.0 %", "66.7 %", "33.3 %", "0.0 %"]


def test_filters(page):
    speaker = Select(page.find_element(By.ID, "speaker"))
    assert [option.text for option in speaker.options][:3] == ["all", HOSTILE_SHOWN, "anna"]
    speaker.select_by_visible_text("anna")
    assert column(page, "id") == ["u10", "u1"]
    assert page.find_element(By.ID, "status").text == "1–2 of 2 utterances, 3 errors in 4 words: 75.0 %"
    page.find_element(By.ID, "only-errors").click()
    assert column(page, "id") == ["u10"]
    speaker.select_by_visible_text("all")
    assert column(page, "id") == ["u10", "u3", "u2"]
    page.find_element(By.ID, "search").send_keys("DEAD")
    assert column(page, "id") == ["u2"]
    page.find_element(By.ID, "search").send_keys("LINE")
    assert column(page, "id") == []
    assert page.find_element(By.ID, "status").text == "no such utterance"


# What a browser shows of white space in an option.
HOSTILE_SHOWN = " ".join(HOSTILE.replace("\u2028", " ").split())


def test_the_alignment_is_marked_by_letters(page):
    rows = page.find_elements(By.CSS_SELECTOR, "#table tbody tr")
    cells = {row.find_element(By.CSS_SELECTOR, "[data-key='id']").text: row for row in rows}
    marks = {id: [m.text for m in row.find_elements(By.CSS_SELECTOR, ".mark")] for id, row in cells.items()}
    assert marks == {"u1": [], "u2": ["S"], "u3": ["D", "I"], "u10": ["I", "I", "I"]}
    columns = [c.text.split("\n") for c in cells["u3"].find_elements(By.CSS_SELECTOR, ".column")]
    assert columns == [["fee", "∗∗∗", "D"], ["fed", "fed"], ["gab", "gab"], ["∗∗∗∗", "deaf", "I"]]


def test_hostile_text_stays_text(page):
    assert page.execute_script("return window.pwned") is None
    assert page.find_elements(By.CSS_SELECTOR, "img, main b") == []
    assert HOSTILE_SHOWN in " ".join(page.find_element(By.CSS_SELECTOR, ".system").text.split())
    assert "</script><img" in page.find_element(By.CSS_SELECTOR, "#worst-1 .alignment").text
    assert page.execute_script("return document.querySelectorAll('#worst-1 .tokens text')[3].textContent") == "</text>"


def test_a_clip_plays_and_its_picture_follows(page):
    audio = page.find_element(By.CSS_SELECTOR, "#worst-2 audio")
    wait = WebDriverWait(page, 20)
    wait.until(lambda _: page.execute_script("return arguments[0].readyState >= 2", audio))
    assert page.execute_script("return arguments[0].duration", audio) == pytest.approx(2.0, abs=0.1)
    page.execute_script("arguments[0].play()", audio)
    wait.until(lambda _: page.execute_script("return arguments[0].currentTime > 0.2", audio))
    playhead = page.find_element(By.CSS_SELECTOR, "#worst-2 .playhead")
    wait.until(lambda _: float(playhead.get_attribute("x1")) > 0)
    assert playhead.get_attribute("visibility") == "visible"


def test_a_click_in_a_picture_plays_from_there(page):
    """In the middle of a picture of 2 s with its margins of 44 and 12 pixels: (416 / 2 - 44) / 180 = 0.91 s."""
    picture = page.find_element(By.CSS_SELECTOR, "#worst-1 .picture")
    audio = page.find_element(By.CSS_SELECTOR, "#worst-1 audio")
    wait = WebDriverWait(page, 20)
    wait.until(lambda _: page.execute_script("return arguments[0].readyState >= 2", audio))
    started_at = page.execute_script(
        "let at; arguments[0].addEventListener('seeking', (event) => { window.at = event.target.currentTime; });", audio
    )
    assert started_at is None
    picture.click()
    wait.until(lambda _: page.execute_script("return window.at !== undefined && !arguments[0].paused", audio))
    assert page.execute_script("return window.at") == pytest.approx(0.91, abs=0.03)


def background(page) -> str:
    return page.execute_script("return getComputedStyle(document.body).backgroundColor")


def test_light_and_dark(page):
    """As the system says, or as the button does."""
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    light = {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", light)
    assert background(page) == "rgb(255, 255, 255)"
    page.find_element(By.ID, "theme").click()
    assert background(page) == "rgb(21, 23, 26)"
    page.find_element(By.ID, "theme").click()
    assert background(page) == "rgb(255, 255, 255)"
    page.refresh()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    assert background(page) == "rgb(21, 23, 26)"
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_sticks_out(page, width):
    """On a phone as on a desk, only tables and pictures that are meant to scroll do."""
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    assert (
        page.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    )
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_many_utterances_are_paged(browser, tmp_path):
    """Ten thousand rows: fifty elements at a time; the last page holds the rest."""
    rows = {f"u{n}": ("a b", "a c" if n % 3 else "a b", None, None) for n in range(10_020)}
    write(tmp_path / "report.html", assessment(rows, normalizers=()))
    browser.get((tmp_path / "report.html").as_uri())
    assert len(column(browser, "id")) == 50
    assert browser.find_element(By.ID, "page").text == "1 of 201"
    browser.find_element(By.ID, "next").click()
    assert browser.find_element(By.ID, "page").text == "2 of 201"
    browser.find_element(By.ID, "search").send_keys("u10019")
    assert column(browser, "id") == ["u10019"]
    assert not browser.find_element(By.ID, "next").is_enabled()
    assert browser.get_log("browser") == []


def test_the_set_is_whole(page):
    assert sorted(column(page, "id")) == sorted(UTTERANCES)


def test_groups_that_are_many_unfold_and_keep_the_keyboards_place(browser, tmp_path):
    rows = {f"u{n}": ("a b", "a c", f"s{n:02d}", None) for n in range(20)}
    write(tmp_path / "report.html", assessment(rows, normalizers=()))
    browser.get((tmp_path / "report.html").as_uri())
    assert not browser.find_element(By.CSS_SELECTOR, "tbody.more").is_displayed()
    browser.find_element(By.CSS_SELECTOR, ".show-more").send_keys(Keys.ENTER)
    assert browser.switch_to.active_element.text.startswith("s12")
    assert browser.find_elements(By.CSS_SELECTOR, ".show-more") == []


def test_tables_and_headers_have_names_for_those_who_listen(page):
    tables = [table.accessible_name for table in page.find_elements(By.TAG_NAME, "table")]
    assert {"Utterances", "Confusion pairs", "Speaker", "Duration", "Rates under each normaliser"} <= set(tables)
    assert "" not in tables
    assert header(page, "errors").find_element(By.TAG_NAME, "button").accessible_name == "Errors"  # without the arrow
