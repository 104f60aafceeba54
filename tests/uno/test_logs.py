"""Lines of logs become sessions as UNO's reference makes them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from goldsmith.recordings import Feedback, RecordedRun
from goldsmith.uno.logs import Read, ignored, parse, scale_of, sessions_of_lines
from goldsmith.uno.runs import sessions_of_runs


def read(*lines: Any, **more: Any) -> Read:
    return sessions_of_lines(lines, **{"form": "auto", "limit": None, "max_characters": 50_000, "private": True} | more)


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def test_the_first_answer_and_all_later_turns_of_the_user() -> None:
    line = {
        "id": "c1",
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be a cook."},
            user([{"type": "text", "text": "Ein Brot bitte"}, {"type": "image_url", "image_url": {}}]),
            {"role": "assistant", "content": None, "tool_calls": []},
            {"role": "tool", "content": "flour"},
            assistant("Mehl nehmen."),
            user("Wie viel?"),
            assistant("500 g."),
            user("Bitte immer in Gramm.\nDanke"),
        ],
    }
    (session,) = read(line).sessions
    assert (session.session_id, session.source, session.system) == ("c1", "chat", "Be a cook.")
    assert (session.query, session.answer) == ("Ein Brot bitte", "Mehl nehmen.")
    assert session.feedback == "Feedback 1: Wie viel?\nFeedback 2: Bitte immer in Gramm.\nDanke"
    assert (session.signal, session.language, session.weight) == ("turns", "de", 1.0)
    assert session.query_text == "Be a cook.\n\nEin Brot bitte"
    assert ignored(line) == ["model"]


def test_sharegpt_is_read_likewise() -> None:
    line = {
        "conversations": [
            {"from": "gpt", "value": "Hello!"},
            {"from": "human", "value": "a bread that my grandmother would like"},
            {"from": "human", "value": "with nuts"},
            {"from": "gpt", "value": "Take flour."},
            {"from": "human", "value": "Shorter."},
        ]
    }
    (session,) = read(line).sessions
    assert session.query == "a bread that my grandmother would like\n\nwith nuts"
    assert (session.answer, session.feedback) == ("Take flour.", "Feedback 1: Shorter.")
    assert session.session_id.startswith("s-")
    assert [one.session_id for one in read(line, line, line).sessions] == [
        session.session_id + end for end in ("", "-2", "-3")
    ]  # the same in every upload; equal ones are told apart


def test_a_chat_without_feedback_is_a_session_that_teaches_nothing() -> None:
    found = read({"messages": [user("a"), assistant("b")]}, {"messages": [user("a")]}, {"messages": [assistant("b")]})
    (session,) = found.sessions
    assert (session.feedback, session.signal, session.weight) == (None, "none", 0.0)
    assert found.dropped == {"no answer": 1, "no turn of a user": 1}


@pytest.mark.parametrize(
    ("row", "query", "answer", "feedback", "signal"),
    [
        (
            {"query": "two times two", "answer": "5", "text": "wrong", "score": -1, "correction": "4"},
            "two times two", "5", "Feedback 1: wrong\nFeedback 2: This would have been right: 4", "correction",
        ),
        ({"text": "The sky is green.", "score": 0.2, "correction": "The sky is blue."}, "The sky is green.", "The sky is green.",
         "Feedback 1: This would have been right: The sky is blue.", "correction"),
        ({"user_question": "q", "ai_response": "r", "feedback_score": 1}, "q", "r", None, "score"),
        ({"question": "q", "response": "r", "comment": "too long", "rating": 1}, "q", "r", "Feedback 1: too long", "score"),
        ({"query": "q", "text": "r", "correction": " r "}, "q", "r", None, "none"),
    ],
)  # fmt: skip
def test_rows_of_feedback(row: dict[str, Any], query: str, answer: str, feedback: str | None, signal: str) -> None:
    (session,) = read(row).sessions
    assert (session.source, session.query, session.answer) == ("feedback", query, answer)
    assert (session.feedback, session.signal) == (feedback, signal)


def test_scores_are_read_on_the_narrowest_usual_scale() -> None:
    assert [scale_of(one) for one in ([-0.5, 1], [1, 4], [0, 3], [7], [0, 9], [80], [-3, 2], [])] == [
        (-1, 1), (1, 5), (0, 5), (1, 10), (0, 10), (0, 100), (-3, 2), None,
    ]  # fmt: skip
    found = read(*({"query": "q", "answer": "a", "score": score} for score in (1, 3, 4, 5)))
    assert [one.weight for one in found.sessions] == [1.0, 0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["a"], "a JSON object is wanted"),
        ({"a": 1}, "neither messages"),
        ({"messages": []}, "at least 1 item"),
        ({"messages": [{"role": "user", "content": 5}]}, "valid string"),
        ({"messages": [{"content": "a"}]}, "role"),
        ({"conversations": [{"from": "human"}]}, "value"),
        ({"score": 1}, "must say what the feedback is about"),
        ({"answer": "a", "score": 1}, "query: with answer it is needed"),
        ({"text": "a", "score": "good"}, "valid number"),
        ({"text": "a\x00", "score": 1}, "NUL"),
        ({"text": " ", "score": 1}, "at least 1 character"),
        ({"text": "a", "score": 1, "language": "Deutsch"}, "pattern"),
    ],
)
def test_what_is_no_session_says_why(line: Any, says: str) -> None:
    with pytest.raises((ValueError, ValidationError), match=says):
        parse(line)


def test_limits_formats_and_lengths_are_counted() -> None:
    chat = {"messages": [user("q"), assistant("a"), user("f")]}
    long = {"messages": [user("q" * 200_000), assistant("a"), user("f")]}
    row = {"text": "a", "correction": "b"}
    found = read(chat, row, long, chat, form="openai", limit=1)
    assert found.dropped == {"of the format feedback, not openai": 1, "longer than 50000 characters": 1, "beyond the limit": 1}
    assert found.formats == {"openai": 3, "feedback": 1}
    assert len(read(long, max_characters=1_000_000).sessions) == 1


def run(run_id: str, accepted: str | None = None, *signals: Any, **more: Any) -> RecordedRun:
    return RecordedRun(
        **{"run_id": run_id, "device_id": "d", "content_sha256": "", "recorded_at": None, "config_id": "loom", "context": None,
           "context_lang": None, "language": "de", "input": "Ein Wal", "output": "Der Wal  singt.", "accepted": accepted, "exclusion": None,
           "feedback": [Feedback(one) for one in signals], **more}
    )  # fmt: skip


def test_signals_of_runs_have_their_strongest_and_their_sum() -> None:
    runs = [
        run("edit", "Der Wal tanzt.", "favorite", "regeneration"),
        run("space", "Der Wal singt.\n"),
        run("kept", None, "export", "favorite"),
        run("export", None, "export", "abandon"),
        run("again", None, "regeneration"),
    ]
    sessions, dropped = sessions_of_runs([*runs, run("out", exclusion="blocked")], limit=None, max_characters=1000)
    assert [(one.session_id, one.signal, one.weight) for one in sessions] == [
        ("edit", "user_edit", 1.75), ("space", "none", 0.0), ("kept", "favorite", 1.0), ("export", "export", 0.5), ("again", "regeneration", 0.25),
    ]  # fmt: skip
    assert [one.feedback is None for one in sessions] == [False, True, True, True, True]
    assert "Der Wal tanzt." in (sessions[0].feedback or "")
    assert sessions[0].private
    assert dropped == {"blocked": 1}
