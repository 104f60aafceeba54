"""How well the statistics of live comparisons do, simulated: `python -m bench.ab [--only alarms power …] [--quick]`.

Seeded: the same numbers on any machine. Writes `bench/ab/results.json`, and from it the table and the plots of `docs/ab.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is loaded: two processes, two cores

from bench.ab import alarms, coverage, days, outputs, power, ratios, report
from bench.ab.rows import Scale

PARTS = {"alarms": alarms, "power": power, "days": days, "coverage": coverage, "ratios": ratios, "outputs": outputs}
RESULTS = Path(__file__).parent / "results.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="a tenth of the runs; writes nothing")
    parser.add_argument("--report", action="store_true", help="write table and plots anew from what was measured")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    results = {}
    if not options.report:
        with ProcessPoolExecutor(options.processes) as pool:
            for name in options.only:
                started = time.monotonic()
                found = PARTS[name].run(Scale(options.quick, pool))
                seconds = round(time.monotonic() - started)
                results[name] = {"seconds": seconds, **asdict(found)}
                print(f"\n{name}: {seconds} s")
                for row in found.rows:
                    mark = {True: "ok  ", False: "MISS", None: "    "}[row.met]
                    print(f"{mark} {row.claim} | {row.setting} | {row.aim} | {row.measured} | {row.runs}", flush=True)
    if not options.quick:
        results = (json.loads(RESULTS.read_text()) if RESULTS.exists() else {}) | results
        RESULTS.write_text(json.dumps({name: results[name] for name in PARTS if name in results}, indent=1) + "\n")
        report.write(results)


if __name__ == "__main__":
    main()
