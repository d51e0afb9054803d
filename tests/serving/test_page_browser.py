"""The page at `/` in a real headless Chromium, as people use it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving_world import BEARER, RealServer, copy_run, real_server, vector

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the path")

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ATTACK = '<img src=x onerror="document.title=1"><b>"bold\'</b>'
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c4944415408d763606060000000040001f61738550000000049454e44ae426082"
)


@pytest.fixture(scope="module")
def server(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    folder = tmp_path_factory.mktemp("browser")
    posters = folder / "posters"
    posters.mkdir()
    for row in range(0, 40, 2):
        (posters / f"i{row:02d}.png").write_bytes(PNG)
    with real_server(copy_run(run_folder, folder / "run"), "--posters", posters) as server:
        with httpx.Client(base_url=server.url, headers=BEARER, timeout=60) as client:
            body = {"ids": ["evil"], "vectors": [vector(3)], "columns": {"title": [ATTACK]}}
            client.post("/v1/items", json=body).raise_for_status()
            for name, ids in (("evil_one", ["evil"]), ("few", ["i07", "i09", "evil"])):
                client.put(f"/v1/filters/{name}", json={"ids": ids}).raise_for_status()
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        # Its own profile only; nothing of who runs the tests.
        opened = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS, env={**os.environ})
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, server: RealServer) -> Iterator[Any]:  # noqa: ANN401
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda line: page.faults.append(line.text) if "Polic" in line.text else None)
    page.goto(server.url)
    page.wait_for_selector("#tree svg")
    yield page
    assert page.faults == []
    context.close()


def titles(page: Any) -> list[str]:  # noqa: ANN401
    found: list[str] = page.locator("#results .title").all_inner_texts()
    return found


def settled(page: Any, act: Any) -> None:  # noqa: ANN401
    """Do something, and wait until the recommendations that follow from it are there."""
    with page.expect_response("**/v1/recommend"):
        act()
    page.wait_for_selector("#results:not(.waiting)", state="attached")


def choose_history(page: Any, *items: str) -> None:  # noqa: ANN401
    settled(page, lambda: page.get_by_text("My own history").click())
    for item in items:
        page.fill("#item", item)
        page.get_by_role("option", name=item).first.wait_for()
        settled(page, lambda: page.press("#item", "Enter"))


def test_a_first_user_is_shown_with_scores_latency_and_walk(page: Any, server: RealServer) -> None:  # noqa: ANN401
    answer = httpx.post(
        f"{server.url}/v1/recommend",
        json={"users": [page.input_value("#user")], "columns": ["title"]},
    )
    assert titles(page) == answer.json()["results"][0]["columns"]["title"]
    assert page.locator("#results .bar").count() == 10
    assert "round trip" in page.inner_text("#latency")
    assert "server" in page.inner_text("#latency")
    assert page.locator("#tree .leaf").count() >= 10


def test_a_history_is_built_and_taken_apart_by_keyboard(page: Any) -> None:  # noqa: ANN401
    choose_history(page, "Title 3", "i09")
    assert page.locator("#history span").all_inner_texts() == ["Title 3", "Title 9"]
    assert not {"Title 3", "Title 9"} & set(titles(page))
    page.get_by_label("Remove Title 3").focus()
    settled(page, lambda: page.keyboard.press("Enter"))
    assert page.locator("#history span").all_inner_texts() == ["Title 9"]
    assert page.evaluate("document.activeElement.ariaLabel") == "Remove Title 9"
    settled(page, lambda: page.keyboard.press("Enter"))
    assert "most popular" in page.inner_text("#badge")
    assert page.locator("#tree svg").count() == 0


def test_exact_recommendations_are_marked_as_proven(page: Any) -> None:  # noqa: ANN401
    settled(page, lambda: page.check("#exact"))
    page.wait_for_selector("#badge.proven")
    assert "Provably the best 10" in page.inner_text("#badge")


def test_choosing_a_recommendation_lights_its_path(page: Any) -> None:  # noqa: ANN401
    card = page.locator(".card").nth(2)
    card.focus()
    page.keyboard.press("Enter")
    assert card.get_attribute("aria-pressed") == "true"
    assert page.locator(".card[aria-pressed=true]").count() == 1
    levels = page.locator("#tree path.chosen").count()
    assert levels == page.locator("#tree g.chosen").count() > 1
    leaf = page.locator("#tree .leaf.chosen text").first.text_content()
    assert leaf == card.locator(".title").inner_text()
    page.locator("#tree .leaf:not(.dropped):not(.chosen)").first.click()
    assert card.get_attribute("aria-pressed") == "false"


def test_filters_are_ticked_or_written(page: Any) -> None:  # noqa: ANN401
    choose_history(page, "Title 3")
    settled(page, lambda: page.get_by_label("few").check())
    assert page.input_value("#where") == "few"
    assert set(titles(page)) == {"Title 7", "Title 9", ATTACK}
    settled(page, lambda: page.fill("#where", "few and not evil_one"))
    assert set(titles(page)) == {"Title 7", "Title 9"}


def test_titles_are_text_wherever_they_stand(page: Any) -> None:  # noqa: ANN401
    choose_history(page, "Title 3")
    settled(page, lambda: page.get_by_label("evil_one").check())
    assert titles(page) == [ATTACK]
    page.fill("#item", "onerror")
    option = page.get_by_role("option").first
    assert ATTACK in option.inner_text()
    settled(page, lambda: option.click())
    assert ATTACK in page.locator("#history span").all_inner_texts()
    assert page.title() == "mmgrec"
    assert page.locator("main b, main img[src=x]").count() == 0


def test_what_is_refused_is_said_in_words(page: Any) -> None:  # noqa: ANN401
    settled(page, lambda: page.fill("#where", "few and"))
    page.wait_for_selector("#problem:not([hidden])")
    assert "cannot be read" in page.inner_text("#problem")
    settled(page, lambda: page.fill("#where", ""))
    page.wait_for_selector("#problem", state="hidden")
    assert len(titles(page)) == 10


def test_posters_are_shown_where_there_are_some(page: Any) -> None:  # noqa: ANN401
    settled(page, lambda: page.fill("#k", "20"))
    loaded = "[...document.querySelectorAll('.card img')].every((image) => image.naturalWidth)"
    page.wait_for_function(loaded)
    names = page.locator(".card:has(img) .title").all_inner_texts()
    assert names
    assert all(int(name.split()[1]) % 2 == 0 for name in names)
    assert page.locator(".card:not(:has(img))").count() > 0


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_at_any_width(page: Any, width: int, scheme: str) -> None:  # noqa: ANN401
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 150) == (scheme == "dark")
