"""How a Flask app calls Goldsmith so that no child's request ever waits for it: `pip install flask requests waitress`.

Requests touch memory only. One thread talks to Goldsmith, with short time limits: it hands over what was started and asks for
the status of what a browser is looking at. When Goldsmith is away, a circuit breaker leaves it alone for a while and `start`
says so at once, so that the app can answer in the way it did before. In memory means: one process (waitress has threads).
"""

import os
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime

import requests
from flask import Flask, jsonify, request

TIMEOUT = (0.5, 2)  # seconds to connect, and between two bytes of the answer
POLL_S = 2.0  # as the browsers do
WATCHED_S = 15.0  # a browser that has not asked for so long is gone; its job goes on, unasked for
PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0  # the breaker: doubled after each failure
GIVE_UP_S = 60.0  # a start that was not taken by then has failed: the page must not wait for ever
KEEP_S = 3600.0
MOST_STARTS = 100  # not yet handed over; beyond that, a browser is asked to come back


class NotNow(Exception):
    """Goldsmith is away (503) or there is too much (429); ask again after `retry_after` seconds, or do without."""

    def __init__(self, status, retry_after):
        super().__init__("Goldsmith is away" if status == 503 else "too many at once")
        self.status, self.retry_after = status, max(1, round(retry_after))


@dataclass
class Job:
    id: str
    body: dict
    shown: dict
    made_at: float = field(default_factory=time.monotonic)
    looked_at: float = field(default_factory=time.monotonic)
    polled_at: float = 0.0
    theirs: str | None = None  # Goldsmith's id, once it has the job

    @property
    def ended(self):
        return self.shown["status"] in ("completed", "failed")

    def fail(self, error):
        self.shown = self.shown | {"status": "failed", "error": error, "message": f"Error: {error}"}


class Goldsmith:
    """`start` and `status` return at once, whatever the network does."""

    def __init__(self, url, api_key=None):
        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False
        if api_key:
            self._session.headers["Authorization"] = f"Bearer {api_key}"
        self._jobs = {}
        self._failures, self._closed_until = 0, 0.0
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="goldsmith", daemon=True)
        self._thread.start()

    def start(self, body):
        """Take a job; returns its id. Raises `NotNow` while Goldsmith is away or too many starts are on their way."""
        if self._failures and time.monotonic() < self._closed_until:
            raise NotNow(503, self._closed_until - time.monotonic())
        if sum(job.theirs is None and not job.ended for job in list(self._jobs.values())) >= MOST_STARTS:
            raise NotNow(429, POLL_S)
        job_id = str(uuid.uuid4())
        shown = dict.fromkeys(("message", "result", "error", "started_at", "completed_at")) | {"message": "", "progress": 0}
        shown |= {"job_id": job_id, "status": "queued", "created_at": datetime.now(UTC).isoformat()}
        self._jobs[job_id] = Job(job_id, body, shown)
        self._wake.set()
        return job_id

    def status(self, job_id):
        """The nine keys of the contract as they were seen last, or None: no such job."""
        job = self._jobs.get(job_id)
        if job is None:
            return None
        job.looked_at = time.monotonic()
        return job.shown

    def close(self):
        self._stopped.set()
        self._wake.set()
        self._thread.join(10)

    # -- on the thread

    def _run(self):
        while not self._stopped.is_set():
            self._wake.clear()
            now = time.monotonic()
            for job in list(self._jobs.values()):
                if now - job.made_at > KEEP_S:
                    del self._jobs[job.id]
                elif job.theirs is None and not job.ended and now - job.made_at > GIVE_UP_S:
                    job.fail("Goldsmith is away")
            try:
                for job in list(self._jobs.values()):
                    if time.monotonic() < self._closed_until or self._stopped.is_set():
                        break
                    self._tend(job)
            except (
                requests.RequestException,
                ValueError,
                LookupError,
                TypeError,
            ):  # the last three: an answer that is not Goldsmith's
                pause = min(PAUSE_S * 2**self._failures, LONGEST_PAUSE_S)
                self._failures += 1
                self._closed_until = time.monotonic() + pause
            self._wake.wait(0.2)

    def _tend(self, job):
        now = time.monotonic()
        if job.theirs is None and not job.ended:
            # The same key, however often: when only the answer was lost, Goldsmith has the job, and does not make a second.
            answer = self._call("POST", "/api/job/start", json=job.body, headers={"Idempotency-Key": job.id})
            if answer is None:
                return
            if answer.status_code == 202:
                job.theirs = answer.json()["job_id"]
            else:
                job.fail(answer.json()["error"])
        elif not job.ended and now - job.looked_at < WATCHED_S and now - job.polled_at >= POLL_S:
            job.polled_at = now
            answer = self._call("GET", f"/api/job/{job.theirs}/status")
            if answer is None:
                return
            if answer.status_code == 200:
                job.shown = answer.json() | {"job_id": job.id}
            else:
                job.fail(answer.json()["error"])

    def _call(self, method, path, **more):
        """The answer, or None when it was 429: then nothing is asked until the time it names."""
        answer = self._session.request(method, self._url + path, timeout=TIMEOUT, allow_redirects=False, **more)
        if answer.status_code >= 500:
            answer.raise_for_status()
        self._failures = 0
        if answer.status_code == 429:
            self._closed_until = time.monotonic() + min(float(answer.headers.get("Retry-After", POLL_S)), LONGEST_PAUSE_S)
            return None
        return answer


def create_app(goldsmith):
    """The two routes of the devserver's proposal; its own pages and its own way of answering stay beside them."""
    app = Flask(__name__)

    @app.post("/api/job/start")
    def start():
        body = request.get_json()
        wanted = {key: body[key] for key in ("config_id", "user_input", "language") if key in body}
        try:
            return jsonify(job_id=goldsmith.start(wanted), status="queued"), 202
        except NotNow as error:
            return jsonify(error=str(error)), error.status, {"Retry-After": str(error.retry_after)}

    @app.get("/api/job/<job_id>/status")
    def status(job_id):
        shown = goldsmith.status(job_id)
        return (jsonify(shown), 200) if shown else (jsonify(error="Job not found"), 404)

    return app


if __name__ == "__main__":
    from waitress import serve

    ours = Goldsmith(os.environ.get("GOLDSMITH_URL", "http://127.0.0.1:17804"), os.environ.get("GOLDSMITH_API_KEY"))
    serve(create_app(ours), listen="127.0.0.1:8008", threads=8)
