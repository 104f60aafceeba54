"""The page of an experiment in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from tests.client.server import Api
from tests.web import reports
from tests.web.browser import Opens, Reported, shot
from tests.web.started import started

PHONE, DESKTOP = 360, 1100


@pytest.mark.parametrize(
    ("moment", "report", "width", "scheme"),
    [
        ("running", reports.running, PHONE, "light"),
        ("empty", reports.empty, PHONE, "dark"),
        ("breach", reports.breached, DESKTOP, "light"),
        ("rolled-back", reports.rolled_back, DESKTOP, "dark"),
        ("three-arms", reports.three_arms, DESKTOP, "light"),
    ],
)
def test_every_moment_can_be_read_by_anybody(
    page_of: Opens, moment: str, report: reports.Make, width: int, scheme: str
) -> None:
    page = page_of(report(), width=width, color_scheme=scheme)
    shot(page, f"{moment}-{'phone' if width == PHONE else 'desktop'}-{scheme}")
    found = Axe().run(page)
    assert not found.response["violations"], found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing hangs out at the side"


def test_it_says_what_the_report_says(page_of: Opens) -> None:
    page = page_of(reports.rolled_back())
    expect(page).to_have_title("clay-lora: rolled back · Goldsmith")
    light = page.get_by_role("listitem").filter(has_text="Safety blocks (lora)").filter(has_text="Breach")
    expect(light.last).to_contain_text("a rise of 10.3 points")
    expect(light.last).to_contain_text("difference+10.3 points")
    expect(light.last).to_contain_text("allowed difference+5.0 points")
    expect(light.last).to_contain_text("latest day base2.0 %latest day lora31.0 %")
    expect(page.locator("#proof")).to_have_text("The rollback is proved: the serving route answered with base")
    expect(page.get_by_label("What needs attention")).to_contain_text("Contamination: 4.1 %")
    collapse = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="Mode collapse"))
    expect(collapse).to_contain_text("Not computed")
    row = page.get_by_role("row", name="Favourite rate")
    expect(row).to_contain_text("10.1 %12.8 %+2.7 points [−1.4, +6.1]")
    expect(page.get_by_role("row", name="Entropy of the answers")).to_contain_text("not computed")
    rows = page.get_by_label("Table of the outputs").get_by_role("row")
    expect(rows.nth(1)).to_have_text("loombase907.91 bits83.0 %1.1 %")
    expect(rows.nth(2)).to_have_text("loomlora12not computednot computed0.0 %")
    expect(page.get_by_role("row", name="As treated")).to_contain_text("99.9 %99.3 %")
    expect(page.get_by_role("row", name="Gated")).to_contain_text("04")
    rolled = page.locator("#timeline li").first
    expect(rolled).to_contain_text("Rollback by guard")
    expect(rolled).to_contain_text("Probe passed: the serving route answered with base")
    expect(page.locator("#plan")).to_contain_text(reports.HASH)
    expect(page.get_by_role("button", name="Roll back")).to_have_count(0)


def test_nothing_received_is_no_zero(page_of: Opens) -> None:
    page = page_of(reports.empty())
    expect(page.locator("#verdict")).to_have_text("Nothing was looked at yet: there are no numbers.")
    expect(page.locator("#guardrails")).to_contain_text("does not count as zero")
    expect(page.get_by_role("row", name="Share now")).to_contain_text("90.0 %10.0 %")
    expect(page.get_by_role("row", name="Units")).to_have_count(0)
    expect(page.get_by_label("Table of the outputs")).to_be_hidden()
    expect(page.locator("#curve-words")).to_have_text("There is no curve yet: no difference was computed at any look.")


def test_a_model_that_is_missing_or_that_nobody_knows_of_needs_attention(page_of: Opens) -> None:
    report = reports.running()
    report["experiment"]["arms"][1] |= {"gated": "model_missing", "model_trouble": "Ollama does not answer"}
    attention = page_of(report).get_by_label("What needs attention")
    expect(attention).to_contain_text("Base answers in place of lora: model missing")
    not_known = attention.get_by_text("Whether the model of lora is there is not known: Ollama does not answer")
    expect(not_known).to_have_count(1)


def test_the_curve_is_also_words_and_a_table(page_of: Opens) -> None:
    page = page_of(reports.three_arms())
    picture = page.get_by_role("img", name="Favourite rate: difference to base over the units seen")
    expect(picture).to_be_visible()
    expect(picture.locator("polyline")).to_have_count(2)
    said = page.locator("#curve-words")
    expect(said).to_contain_text("lora minus base, after 2,033 units: +2.4 points")
    expect(said).to_contain_text("prompt minus base")
    page.get_by_text("The curve as a table").click()
    assert 40 < page.locator("#curve-table tbody tr").count() <= 80
    page.get_by_label("Metric", exact=True).select_option("Safety blocks")
    expect(picture).to_have_count(0)
    drawn = page.get_by_role("img", name="Safety blocks: difference to base over the units seen")
    expect(drawn.locator(".limit")).to_have_count(1)
    expect(page.locator("#curve-table caption")).to_have_text("Safety blocks: difference to base")


def test_the_interval_of_a_single_look_is_drawn_and_names_of_arms_do_not_cover_each_other(page_of: Opens) -> None:
    report = reports.three_arms()
    report["looks"] = report["looks"][-1:]
    for ends in report["looks"][0]["differences"]["favorite"].values():
        ends[0] = 0.01  # both lines end in the same place
    picture = page_of(report).get_by_role("img", name="Favourite rate")
    for place in range(2):
        line = picture.locator(f"line.arm-{place}")
        assert float(str(line.get_attribute("y2"))) - float(str(line.get_attribute("y1"))) > 20
    boxes = [picture.get_by_text(name, exact=True).bounding_box() for name in ("lora", "prompt")]
    above, below = sorted(box["y"] for box in boxes if box)
    assert below - above >= 12


def test_on_a_phone_the_numbers_of_two_arms_need_no_scrolling(page_of: Opens) -> None:
    page = page_of(reports.running(), width=390)
    assert page.evaluate("(box => box.scrollWidth - box.clientWidth)(document.getElementById('metrics'))") <= 0
    expect(page.locator("#metrics-notes")).to_contain_text("Regeneration rate: weak: children press it for fun")


def test_of_many_decisions_the_newest_are_shown_and_said_to_be(page_of: Opens) -> None:
    report = reports.running()
    report["decisions"] = [reports.decision(number, "hold", f"No. {number}") for number in range(500)]
    page = page_of(report)
    expect(page.locator("#timeline > li")).to_have_count(500)
    expect(page.locator("#timeline-note")).to_have_text("The newest 500 decisions.")


def test_an_answer_that_it_cannot_show_is_said(served: Api, opens: Opens) -> None:
    report = reports.running()
    report["look"]["metrics"] = 5
    page = opens(f"{served.url}/experiments/{reports.ID}", Reported(report), complains=True)
    expect(page.locator("#connection")).to_contain_text("This page cannot show what the server said.")


def test_words_of_others_never_become_markup(page_of: Opens) -> None:
    page = page_of(reports.hostile())
    expect(page.locator("#timeline")).to_contain_text("<script>window.broken = 1</script>")
    expect(page.get_by_label("What needs attention")).to_contain_text("<img src=x")
    assert page.evaluate("window.broken") is None
    assert page.locator("main script, main img").count() == 0
    assert not page.locator("a[href^=javascript]").count()


def test_a_change_is_announced_and_leaves_the_reader_where_he_was(page_of: Opens) -> None:
    answers = Reported(reports.running())
    page = page_of(answers, clock=True)
    numbers = page.locator("#timeline summary").first
    numbers.click()
    numbers.focus()
    seconds_to_next_request(page, answers)
    expect(page.locator("#announcer")).to_be_empty()
    assert "if-none-match" in answers.asked[-1], "what is unchanged is not sent again"
    expect(page.locator("#connection")).to_be_empty()
    answers.answer = reports.rolled_back()
    announced = page.locator("#announcer[role=status]")
    seconds_until(page, lambda: announced.inner_text() != "")
    expect(announced).to_contain_text("The experiment is now rolled back.")
    expect(announced).to_contain_text("Safety blocks (lora): breach.")
    expect(announced).to_contain_text("Decided: rollback.")
    expect(numbers.locator("xpath=..")).not_to_have_attribute("open", "")  # a new decision came above it
    held = page.locator("#timeline li").nth(1)
    expect(held).to_contain_text("Held")
    expect(held.locator("details")).to_have_attribute("open", "")


def test_a_server_that_is_away_is_said_and_asked_more_rarely(page_of: Opens) -> None:
    answers = Reported(reports.running())
    page = page_of(answers, clock=True)
    said = page.locator("#connection[role=status]")
    answers.answer = 0
    seconds_until(page, lambda: "does not answer" in said.inner_text())
    expect(said).to_contain_text("The server does not answer. What stands here is of")
    expect(page.locator("#name")).to_contain_text("clay-lora")
    waits = [seconds_to_next_request(page, answers) for _ in range(6)]
    assert waits[0] < 12, "2 or 4 s, and what passes while the answer is on its way"
    assert 16 < waits[-1] < 45, waits
    answers.answer = 503
    seconds_until(page, lambda: "refused with 503" in said.inner_text())
    answers.answer = reports.running()
    seconds_until(page, lambda: said.inner_text() == "")
    assert seconds_to_next_request(page, answers) < 12


def seconds_until(page: Page, ready: Callable[[], bool]) -> int:
    """Lets the page's own time pass until then."""
    for seconds in range(100):
        if ready():
            return seconds
        page.clock.run_for(1_000)
    raise AssertionError("it did not happen within 100 s of the page's time")


def seconds_to_next_request(page: Page, answers: Reported) -> int:
    before = len(answers.asked)
    return seconds_until(page, lambda: len(answers.asked) > before)


def test_an_experiment_that_is_not_there_is_said(served: Api, opens: Opens) -> None:
    page = opens(f"{served.url}/experiments/{reports.ID}")
    expect(page.locator("#connection")).to_contain_text("There is no experiment to show at this address: there is no")
    expect(page.get_by_role("heading", level=1)).to_have_text("Experiment")
    expect(page.locator("#report")).to_be_hidden()


def test_who_rolls_back_what_somebody_else_has_is_told_that_no_second_reason_is_kept(page_of: Opens) -> None:
    answers = Reported(reports.running())
    page = page_of(answers)
    page.route("**/rollback", lambda route: route.fulfill(json={}))
    page.get_by_role("button", name="Roll back …").click()
    page.get_by_label("Why?").fill("it is too dark")
    answers.answer = reports.rolled_back()
    page.get_by_role("button", name="Roll back now").dblclick()
    said = page.locator("#result")
    expect(said).to_contain_text("It already was, by guard: “2.0 % of base and 12.3 % of lora were blocked")
    expect(said).to_contain_text("is not kept")


def test_a_rollback_asks_why_and_says_what_came_of_it(page_of: Opens) -> None:
    answers = Reported(reports.running())
    page = page_of(answers)
    sent: list[object] = []
    status = 409

    def rolls_back(route: Route) -> None:
        sent.append(route.request.post_data_json)
        route.fulfill(status=status, json={"detail": "it is completed"} if status == 409 else {})

    page.route("**/rollback", rolls_back)
    opener = page.get_by_role("button", name="Roll back …")
    opener.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Roll back clay-lora?")
    reason = dialog.get_by_label("Why?")
    expect(reason).to_be_focused()
    found = Axe().run(page)
    assert not found.response["violations"], found.generate_report()

    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(opener).to_be_focused()

    page.keyboard.press("Enter")
    reason.fill("   ")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Roll back now")).to_be_focused()
    page.keyboard.press("Enter")
    alert = dialog.get_by_role("alert")
    expect(alert).to_have_text("Say why: the reason is kept with the decision.")
    expect(reason).to_be_focused()
    assert not sent

    reason.fill("two children cried")
    shot(page, "rollback-dialog")
    dialog.get_by_role("button", name="Roll back now").click()
    expect(alert).to_have_text("Not rolled back. it is completed")
    assert sent == [{"reason": "two children cried"}]

    status = 200
    answers.answer = reports.rolled_back()
    answers.answer["decisions"][0] |= {"actor": "anna", "reason": "two children cried"}
    dialog.get_by_role("button", name="Roll back now").click()
    expect(page.locator("#result")).to_have_text("Rolled back: every unit gets base.")
    expect(page.locator("#result")).to_be_focused()
    expect(opener).to_be_hidden()


def test_where_there_are_keys_the_page_asks_for_one(served_with_key: Api, opens: Opens) -> None:
    page = opens(f"{served_with_key.url}/experiments")
    field = page.get_by_label("API key")
    expect(field).to_be_focused()
    expect(page.locator("#connection")).to_have_text("This server wants an API key.")
    found = Axe().run(page)
    assert not found.response["violations"], found.generate_report()
    field.fill("not-this-one")
    page.keyboard.press("Enter")
    expect(page.locator("#connection")).to_contain_text("That key was refused")
    field.fill("a-key-for-tests")
    page.keyboard.press("Enter")
    expect(page.get_by_text("There are no experiments yet.")).to_be_visible()
    expect(field).to_be_hidden()
    assert "key" not in page.url
    page.reload()
    expect(page.get_by_text("There are no experiments yet.")).to_be_visible()
    page.get_by_role("button", name="Forget the key").click()
    expect(field).to_be_visible()


def test_a_real_experiment_is_watched_and_rolled_back_from_its_page(live: Api, opens: Opens) -> None:
    experiment = started(live)
    base = f"{live.url}/v1/experiments/{experiment}"
    page = opens(f"{live.url}/experiments/{experiment}")
    expect(page.locator("#name")).to_have_text("clay-lora running")
    events = [event for number in range(40) for event in visit(f"tablet-{number}")]
    assert httpx.post(f"{base}/events", json={"events": events}).json()["accepted"] == len(events)
    expect(page.locator("#verdict")).to_contain_text(f"{len(events)} events")
    units = page.locator("#arms").get_by_role("row", name="Units").get_by_role("cell").all_inner_texts()
    assert sum(map(int, units)) == 40
    expect(page.locator("#metrics tr").filter(has_text="primary")).to_contain_text("100.0 %100.0 %")
    found = Axe().run(page)
    assert not found.response["violations"], found.generate_report()

    page.get_by_role("button", name="Roll back …").click()
    page.get_by_label("Why?").fill("two children cried")
    page.get_by_role("button", name="Roll back now").click()
    expect(page.locator("#name")).to_have_text("clay-lora rolled back")
    expect(page.get_by_role("row", name="Share now")).to_contain_text("100.0 %0.0 %")
    expect(page.locator("#timeline")).to_contain_text("two children cried")
    decisions = httpx.get(f"{base}/report").json()["decisions"]
    assert [(one["reason"], one["actor"]) for one in decisions if one["decision"] == "rollback"] == [
        ("two children cried", "local")
    ]


def visit(unit: str) -> list[dict[str, object]]:
    """A child comes, makes something, and keeps it."""
    run, now = f"run-{unit}", datetime.now(UTC).isoformat()
    done = {"model_used": "some-model", "latency_ms": 800, "chars": 400, "context_sha256": "0" * 64}
    told = [
        ("exposure", {}),
        ("interception_completed", done),
        ("generation_started", {"safety_level": "kids"}),
        ("favorite_added", {}),
    ]
    return [
        {
            "event_id": f"{unit}-{event}",
            "event": event,
            "unit": unit,
            "interception_run_id": run,
            "occurred_at": now,
            "data": data,
        }
        for event, data in told
    ]


def test_on_paper_nothing_is_left_that_cannot_be_pressed_there(page_of: Opens) -> None:
    page = page_of(reports.running(), width=DESKTOP)
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.locator("button:visible")).to_have_count(0)
    expect(page.get_by_role("heading", name="Guardrails")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"


def test_everything_can_be_reached_by_the_keyboard(page_of: Opens) -> None:
    page = page_of(reports.running())
    reached: list[str] = []
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
    wanted = ["Skip to the content", "All experiments", "open-rollback", "metric", "The curve as a table", "metrics", "arms"]
    assert [one for one in dict.fromkeys(reached) if one in wanted] == wanted
    assert "The whole plan" in reached
