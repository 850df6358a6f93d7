"""Plots of benches/growth/growth.csv, one SVG each. Runs alone: python3 benches/compare/plot.py

The program uses only the standard library. A plot is a few kilobytes of readable text, so that a
diff shows its change, and its colours follow the reader's scheme (light or dark).
"""

import csv
import math
import os
from dataclasses import dataclass
from statistics import median

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "growth")
CSV = os.path.join(FOLDER, "growth.csv")
TITLES = {
    "entries": "entries held in memory (256 bytes each)",
    "connections": "connections of clients",
    "body-kib": "body, KiB",
    "variants": "variants of one resource",
    "workers": "workers (two share both cores with the load)",
}
SERIES = {"cpu_micros": "CacheWarp", "bare_micros": "bare hyper"}
WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 120, 40, 48
GRID_LINES = 5
LINE_HEIGHT = 15
STYLE = """\
  .paper { fill: #fff; }
  text { font: 12px sans-serif; fill: #222; }
  .title { font-size: 14px; font-weight: bold; }
  .grid { stroke: #ccc; stroke-width: 1; }
  .cpu_micros { stroke: #0b62a4; fill: #0b62a4; }
  .bare_micros { stroke: #8a5a00; fill: #8a5a00; stroke-dasharray: 5 3; }
  path.line { fill: none; stroke-width: 2; }
  path.spread { stroke-width: 1; stroke-dasharray: none; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #161b22; } text { fill: #ddd; } .grid { stroke: #555; }
    .cpu_micros { stroke: #6cb6ff; fill: #6cb6ff; } .bare_micros { stroke: #e3b341; fill: #e3b341; }
  }
"""


@dataclass
class Axes:
    """The axes of a plot: logarithmic for values, linear from 0 for costs."""

    values: list[int]
    most: float

    def x(self, value: int) -> float:
        """Returns the distance from the left edge."""
        low, high = math.log(self.values[0]), math.log(self.values[-1])
        return LEFT + (math.log(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, cost: float) -> float:
        """Returns the distance from the top."""
        return HEIGHT - BOTTOM - cost / self.most * (HEIGHT - TOP - BOTTOM)


def plot_all():
    """Writes every plot of the file."""
    with open(CSV, newline="", encoding="ascii") as file:
        lines = list(csv.DictReader(file))
    for what, title in TITLES.items():
        own = [line for line in lines if line["what"] == what]
        if own:
            with open(os.path.join(FOLDER, f"{what}.svg"), "w", encoding="utf-8") as file:
                file.write(plot(title, own))


def plot(title: str, lines: list[dict]) -> str:
    """Returns one plot as text."""
    values = sorted({int(line["value"]) for line in lines})
    costs = {
        series: {value: [float(line[series]) for line in lines if int(line["value"]) == value] for value in values}
        for series in SERIES
    }
    axes = Axes(values, rounded_up(max(max(of) for by_value in costs.values() for of in by_value.values())))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        f"<style>\n{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="title" x="{LEFT}" y="20">CPU time for a hit in memory, µs</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{title}</text>',
        *grid(axes),
    ]
    for series in SERIES:
        parts += drawn(axes, series, costs[series])
    parts += names(axes, costs)
    return "\n".join([*parts, "</svg>", ""])


def rounded_up(most: float) -> float:
    """Rounds up to a number with round distances between the lines of the grid."""
    unit = 10 ** math.floor(math.log10(most / GRID_LINES))
    return GRID_LINES * unit * next(step for step in (1, 2, 4, 5, 10) if GRID_LINES * unit * step >= most)


def grid(axes: Axes) -> list[str]:
    """Returns the lines of equal cost, and the labels of both axes."""
    parts = []
    for step in range(GRID_LINES + 1):
        cost = axes.most * step / GRID_LINES
        y = f"{axes.y(cost):.0f}"
        parts.append(f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y}" dy="4" text-anchor="end">{cost:g}</text>')
    for value in axes.values:
        parts.append(f'<text x="{axes.x(value):.0f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{value:,}</text>')
    return parts


def drawn(axes: Axes, series: str, costs: dict[int, list[float]]) -> list[str]:
    """Returns a line through the medians, and bars from the minimum to the maximum of the rounds."""
    middles = [(axes.x(value), axes.y(median(of))) for value, of in costs.items()]
    parts = [f'<path class="line {series}" d="M' + " ".join(f"{x:.0f},{y:.1f}" for x, y in middles) + '"/>']
    for (value, of), (x, y) in zip(costs.items(), middles):
        parts.append(f'<path class="spread {series}" d="M{x:.0f},{axes.y(min(of)):.1f}V{axes.y(max(of)):.1f}"/>')
        parts.append(
            f'<circle class="{series}" cx="{x:.0f}" cy="{y:.1f}" r="3">'
            f"<title>{SERIES[series]}, {value:,}: {median(of):.2f} µs ({min(of):.2f} to {max(of):.2f})</title></circle>"
        )
    return parts


def names(axes: Axes, costs: dict[str, dict[int, list[float]]]) -> list[str]:
    """Returns the name and last value of each line, from the top down, without overlap."""
    last = axes.values[-1]
    ends = sorted((axes.y(median(by_value[last])), series) for series, by_value in costs.items())
    parts, least = [], 0.0
    for y, series in ends:
        y = max(y, least)
        cost = median(costs[series][last])
        parts.append(f'<text x="{axes.x(last) + 10:.0f}" y="{y:.1f}" dy="4">{SERIES[series]} {cost:.1f}</text>')
        least = y + LINE_HEIGHT
    return parts


if __name__ == "__main__":
    plot_all()
