"""An hour without Goldsmith in a busy workshop: `python -m bench.ab.outage [--events 18000] [--processes 2]`.

As many events as an hour brings (5 a second) are sent by several processes with one spool while the API is down; each process is killed
with SIGKILL after half of them, and started anew for the rest. Then the API comes back, is killed in the midst of the delivery, and comes back
again. At the end every event that a `send` said yes to must be in Postgres, once.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import tempfile
import time
from itertools import islice
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from bench.ab.ingest import running, stories
from bench.servers import Servers
from goldsmith.client.events import EventSender
from goldsmith.db import connect


def send(spool: Path, url: str, experiment: str, events: list[dict[str, Any]], said_yes: Pipe) -> None:
    """Sends them all and is killed."""
    sender, took = EventSender(spool, url), []
    for event in events:
        facts = {key: event.get(key) for key in ("interception_run_id", "data", "event_id")}
        began = time.perf_counter()
        yes = sender.send(experiment, event["event"], event["unit"], **facts)
        took.append(time.perf_counter() - began)
        if not yes:
            raise RuntimeError(sender.stats.last_error)
    said_yes.send(took)
    os.kill(os.getpid(), signal.SIGKILL)


def killed_after(spool: Path, url: str, experiment: str, parts: list[list[dict[str, Any]]]) -> list[float]:
    """A process for each part, all at once; the seconds of each `send`."""
    spawn, found = multiprocessing.get_context("spawn"), []
    started = []
    for part in parts:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = spawn.Process(target=send, args=(spool, url, experiment, part, theirs), daemon=True)
        process.start()
        theirs.close()
        started.append((process, ours))
    for process, ours in started:
        found += ours.recv()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=18_000)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    servers = Servers(["goldsmith"])
    try:
        servers.start(finished=0)
        with connect(servers.database("goldsmith")) as conn, tempfile.TemporaryDirectory() as folder:
            experiment = running(conn)
            events = list(islice(stories(experiment, 200), options.events))
            url, spool = f"http://127.0.0.1:{servers.ports['goldsmith']}", Path(folder) / "spool"
            servers.kill("goldsmith")
            shares = [events[number :: options.processes] for number in range(options.processes)]
            halves = [[share[: len(share) // 2] for share in shares], [share[len(share) // 2 :] for share in shares]]
            took = sorted(one for half in halves for one in killed_after(spool, url, str(experiment.id), half))
            sender = EventSender(spool, url)
            held = sender.stats.waiting_bytes
            servers.restart("goldsmith")
            began = time.perf_counter()
            assert not sender.flush(0.3), "nothing is left to be killed in the midst of; send more events"
            servers.restart("goldsmith")  # with SIGKILL
            assert sender.flush(300), sender.stats
            seconds = time.perf_counter() - began
            stored = {row["event_id"] for row in conn.execute("SELECT event_id FROM ab_events")}
            sender.close()
    finally:
        servers.stop()
    sent = {event["event_id"] for event in events}
    result = {
        "events": len(sent),
        "arrived": len(stored & sent),
        "lost": len(sent - stored),
        "strange": len(stored - sent),
        "set_aside": sender.stats.set_aside,
        "spool_mb": round(held / 1e6, 1),
        "delivered_after_s": round(seconds, 1),
        "send_ms": {"p50": round(took[len(took) // 2] * 1000, 3), "p99": round(took[int(len(took) * 0.99)] * 1000, 3)},
    }
    print(json.dumps(result, indent=1))
    if stored != sent:
        raise SystemExit("events were lost")


if __name__ == "__main__":
    main()
