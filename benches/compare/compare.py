"""Runs the rounds of the comparison and prints its tables. Started by run.sh."""

import re
import subprocess

from measure import CONNECTIONS, Cost, Wait, cost, waits
from processes import Cores
from servers import BODY_BYTES
from session import options, print_head, row, rule, servers, spread
from subjects import Subject, subjects

RATES = [8_000, 30_000]


def main():
    """Runs all rounds, and prints the tables."""
    parser = options("CPU time per request, and latencies at fixed rates, beside the peers", 9)
    parser.add_argument("--quick", action="store_true", help="3 rounds of 1 s instead of 9 rounds of 4 s")
    parser.add_argument("--seconds", type=float, help="seconds of load at each rate, for each subject")
    parser.add_argument("--only", default="", help="a regular expression for the names of subjects")
    parser.add_argument("--rates", default=",".join(map(str, RATES)), help="requests a second, separated by commas; empty for CPU time alone")
    chosen = parser.parse_args()
    rounds = 3 if chosen.quick else chosen.rounds
    seconds = chosen.seconds or (1 if chosen.quick else 4)
    rates = [int(rate) for rate in chosen.rates.split(",") if rate]
    with servers(chosen) as started:
        baseline, *others = subjects(started)
        chosen_subjects = [baseline, *(one for one in others if re.search(chosen.only, one.name))]
        for subject in chosen_subjects:
            warm_up(subject, started.cores)
        costs, delays = [], []
        for number in range(rounds):
            # Each round begins with another subject, so that none always follows the same one.
            places = [(number + step) % len(chosen_subjects) for step in range(len(chosen_subjects))]
            found = {place: measured(chosen_subjects[place], rates, seconds, started.cores) for place in places}
            costs.append([found[place][0] for place in sorted(places)])
            delays.append([found[place][1] for place in sorted(places)])
    print_head(f"{BODY_BYTES} bytes of JSON, {CONNECTIONS} connections, {rounds} rounds of {seconds} s each")
    print_costs(chosen_subjects, costs)
    for index, rate in enumerate(rates):
        print_waits(rate, chosen_subjects, [[one[index] if one else None for one in round] for round in delays])


def measured(subject: Subject, rates: list[int], seconds: float, cores: Cores) -> tuple[Cost, list[Wait]]:
    """Runs one round of one subject: its cost, and its latencies at each rate."""
    # The generator sends GETs.
    asked = [] if subject.wrk_script else rates
    return cost(subject, seconds, cores), waits(subject, asked, seconds, cores) if asked else []


def warm_up(subject: Subject, cores: Cores):
    """Fills caches and pools."""
    command = cores.on(cores.load, ["wrk", "-t1", f"-c{CONNECTIONS}", "-d1s", subject.url])
    subprocess.run(command, check=True, capture_output=True, timeout=30)


def print_costs(subjects: list[Subject], costs: list[list[Cost]]):
    """Prints one row for each subject."""
    rule("subject, in a closed loop", "CPU µs per request", "÷ bare hyper", "requests per second", "errors")
    for index, subject in enumerate(subjects):
        own = [one[index] for one in costs]
        row(
            subject.name,
            spread([one.cpu_micros for one in own], ".2f"),
            spread([one[index].cpu_micros / one[0].cpu_micros for one in costs], ".2f"),
            spread([one.per_second for one in own], ",.0f"),
            str(sum(one.errors for one in own)),
        )


def print_waits(rate: int, subjects: list[Subject], waits: list[list[Wait | None]]):
    """Prints one row for each subject: times, and ratios to bare hyper in the same round."""
    print()
    rule(
        f"subject, {rate:,} requests due a second",
        "P50 ms",
        "P99 ms",
        "÷ bare hyper",
        "P99.9 ms",
        "÷ bare hyper",
        "errors",
        "rounds in which the generator itself was late",
    )
    for index, subject in enumerate(subjects):
        own = [one[index] for one in waits]
        if None in own:
            continue
        row(
            subject.name,
            spread([one.p50 for one in own], ".3f"),
            spread([one.p99 for one in own], ".2f"),
            spread([one[index].p99 / one[0].p99 for one in waits], ".2f"),
            spread([one.p999 for one in own], ".2f"),
            spread([one[index].p999 / one[0].p999 for one in waits], ".2f"),
            str(sum(one.errors for one in own)),
            str(sum(one.is_spoiled for one in own)),
        )


if __name__ == "__main__":
    main()
