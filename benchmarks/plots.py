"""Plots of results as SVG: ratio bars, growth curves, space by scheme; the same results give the same bytes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks.harness import Figure, short
from benchmarks.recorded import Section

STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "tracestore", "font.sans-serif": ["DejaVu Sans", "Verdana"],
    "font.size": 9, "text.parse_math": False,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False, "axes.edgecolor": "#999999",
    "axes.axisbelow": True, "axes.titlelocation": "left", "axes.titlesize": 11, "axes.titleweight": "bold",
    "grid.color": "#e4e4e4", "grid.linewidth": 0.7, "ytick.left": False, "xtick.color": "#555555",
    "xtick.labelcolor": "#333333",
}  # fmt: skip
BLUE, ORANGE, GREY, INK = "#0072b2", "#d55e00", "#9a9a9a", "#222222"
CURVES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Okabe and Ito's colours, which colour-blind people tell apart."""
WIDTH_IN, ROW_IN, PANEL_IN = 9.0, 0.23, 2.9
GAP_ROWS, HEAD_ROWS = 0.5, 2
LABEL_SHARE = 0.08
"""Of a panel's height: what the name of a curve takes."""
SPACE, NO_SCHEME = ("space", "peers"), ("memory", "pruned", "deleted")
"""Workloads that weigh the same records in several schemes, and what else they give in MB."""
CARET = {"at least": 9, "at most": 8}
"""Matplotlib's triangles that stand with their base on the limit and point to where it is better."""

def write(sections: Sequence[Section], directory: Path) -> list[Path]:
    """Draw what there are figures for; returns the files."""
    written = []
    for name, plot in {"ratios": ratios, "growth": growth, "space": space}.items():
        with matplotlib.rc_context(STYLE):
            canvas = plot(sections)
            if canvas is None:
                continue
            path = directory / f"{name}.svg"
            canvas.savefig(path, bbox_inches="tight", pad_inches=0.15, metadata={"Date": None, "Creator": None})
            written.append(path)
    return written


def ratios(sections: Sequence[Section]) -> Canvas | None:
    """Draw every ratio that has a bar: median from 1x on, rounds as a line, bar as a caret."""
    places: list[tuple[float, str, Figure | None]] = []
    y = 0.0
    for title, figures in _by_corpus(sections, _is_ratio).items():
        places.append((y, title, None))
        places += [(y + number, _label(figure), figure) for number, figure in enumerate(figures, 1)]
        y += len(figures) + 1 + GAP_ROWS
    shown = [figure for _, _, figure in places if figure is not None]
    if not shown:
        return None
    height_in = ROW_IN * y + 0.9
    canvas = Canvas(figsize=(WIDTH_IN, height_in))
    axes = canvas.add_axes((0.42, 0.3 / height_in, 0.42, ROW_IN * y / height_in))
    _ratio_rows(axes, [(y, figure) for y, _, figure in places if figure is not None])
    _ratio_axes(axes, places, shown)
    judged = [figure.bar.is_met(figure.median) for figure in shown if figure.bar is not None]
    axes.set_title(f"{sum(judged)} of {len(judged)} ratios reach their bar", pad=34)
    _above(
        axes,
        "Times the baseline of the same round: median (dot), least to greatest (line).\n"
        "Triangle: the bar, pointing to where it is better.",
    )
    return canvas


def _by_corpus(sections: Sequence[Section], is_shown: Callable[[Figure], bool]) -> dict[str, list[Figure]]:
    """Group figures by workload and what of their name stands before a colon; without that by journal."""
    groups: dict[str, list[Figure]] = {}
    for section in sections:
        for figure in filter(is_shown, section.figures):
            corpus, _, name = figure.name.rpartition(": ")
            title = f"{section.workload}, {corpus}" if corpus else section.title
            groups.setdefault(title, []).append(replace(figure, name=name))
    return groups


def _is_ratio(figure: Figure) -> bool:
    return figure.unit == "x" and figure.bar is not None


def _label(figure: Figure) -> str:
    is_said = not figure.against or figure.against in figure.name or " over " in figure.name
    return figure.label if is_said else f"{figure.label}, over {figure.against}"


def _ratio_rows(axes: Axes, rows: Sequence[tuple[float, Figure]]) -> None:
    ys, medians = [y for y, _ in rows], [figure.median for _, figure in rows]
    colours = [_verdict_colour(figure) for _, figure in rows]
    axes.barh(ys, [median - 1 for median in medians], left=1, height=0.5, color=colours, alpha=0.5, linewidth=0)
    least, greatest = ([end(figure.values) for _, figure in rows] for end in (min, max))
    axes.hlines(ys, least, greatest, colors=colours, linewidth=1.4)
    axes.scatter(medians, ys, s=14, c=colours, zorder=3)
    for kind, caret in CARET.items():
        limits = [(figure.bar.limit, y) for y, figure in rows if figure.bar is not None and figure.bar.kind == kind]
        axes.plot([limit for limit, _ in limits], [y for _, y in limits], color=INK, marker=caret, linestyle="", ms=5)
    beside = {"transform": axes.get_yaxis_transform(), "va": "center"}
    for (y, figure), colour in zip(rows, colours, strict=True):
        axes.text(1.13, y, f"{short(figure.median)}x", ha="right", color=colour, weight="bold", **beside)
        if figure.bar is not None:
            said = str(figure.bar).replace(">=", "≥").replace("<=", "≤") + ("  missed" if colour == ORANGE else "")
            axes.text(1.15, y, said, color="#555555" if colour == BLUE else ORANGE, **beside)


def _verdict_colour(figure: Figure) -> str:
    if figure.bar is None:
        return GREY
    return BLUE if figure.bar.is_met(figure.median) else ORANGE


def _ratio_axes(axes: Axes, places: Sequence[tuple[float, str, Figure | None]], shown: Sequence[Figure]) -> None:
    ends = [value for figure in shown for value in (*figure.values, figure.bar.limit if figure.bar else 1)]
    axes.set_xscale("log")
    axes.set_xlim(min(0.8, *ends) / 1.15, max(2, *ends) * 1.15)
    axes.set_ylim(places[-1][0] + 0.7, -0.7)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.grid(axis="x")
    axes.axvline(1, color="#777777", linewidth=1)
    axes.set_yticks([y for y, _, _ in places], [label for _, label, _ in places])
    for tick, (_, _, figure) in zip(axes.get_yticklabels(), places, strict=True):
        tick.set_color(INK)
        tick.set_weight("bold" if figure is None else "normal")


def growth(sections: Sequence[Section]) -> Canvas | None:
    """Draw every curve, medians with the band of their rounds; those named alike up to a comma share a panel."""
    panels: dict[str, dict[str, list[Figure]]] = {}
    for section in sections:
        for figure in section.figures:
            if figure.at is not None:
                what, _, which = figure.name.partition(", ")
                title = f"{section.title}: {what}, {figure.unit}"
                panels.setdefault(title, {}).setdefault(which or what, []).append(figure)
    if not panels:
        return None
    canvas = Canvas(figsize=(WIDTH_IN, PANEL_IN * len(panels)))
    grid = canvas.add_gridspec(len(panels), 1, hspace=0.45, left=0.08, right=0.66)
    for row, (title, curves) in enumerate(panels.items()):
        axes = canvas.add_subplot(grid[row])
        for points in curves.values():
            points.sort(key=lambda point: point.at or 0)
        _curves(axes, curves)
        axes.set_title(f"{title}, by records in the store", pad=10)
    return canvas


def _curves(axes: Axes, curves: Mapping[str, Sequence[Figure]]) -> None:
    for points, colour in zip(curves.values(), cycle(CURVES)):
        at = [point.at for point in points]
        least, greatest = ([end(point.values) for point in points] for end in (min, max))
        axes.fill_between(at, least, greatest, color=colour, alpha=0.15, linewidth=0)
        axes.plot(at, [point.median for point in points], "o-", color=colour, markersize=3.6, linewidth=1.4)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(axis="y")
    free = 0.0
    coloured = zip(curves.items(), cycle(CURVES))
    for (name, points), colour in sorted(coloured, key=lambda entry: entry[0][1][-1].median):
        height = max(free, points[-1].median / axes.get_ylim()[1])
        free = height + LABEL_SHARE
        grown = f": {short(points[-1].median / points[0].median)}x its first" if len(points) > 1 else ""
        axes.text(1.02, height, f"{name}{grown}", transform=axes.transAxes, va="center", color=colour)


def space(sections: Sequence[Section]) -> Canvas | None:
    """Draw bytes on disk by scheme: a panel for each generated corpus, the largest first, lengths true to scale."""
    shown = [section for section in sections if section.workload in SPACE and not section.journal]
    panels = _by_corpus(shown, _is_size)
    if not panels:
        return None
    rows = sum(len(sizes) + HEAD_ROWS for sizes in panels.values())
    canvas = Canvas(figsize=(WIDTH_IN, ROW_IN * rows))
    top = 0.0
    for title, sizes in panels.items():
        top += len(sizes) + HEAD_ROWS
        axes = canvas.add_axes((0.35, 1 - top / rows, 0.5, len(sizes) / rows))
        _sizes(axes, sorted(sizes, key=lambda size: -size.median))
        axes.set_title(f"{title}: MB on disk")
    return canvas


def _is_size(figure: Figure) -> bool:
    return figure.unit == "MB" and not any(word in figure.name for word in NO_SCHEME)


def _sizes(axes: Axes, sizes: Sequence[Figure]) -> None:
    for y, size in enumerate(sizes):
        axes.barh(y, size.median, height=0.62, color=BLUE if "ours" in size.name else GREY)
        said, place = f"{short(size.median)} MB", (size.median, y)
        axes.annotate(said, place, xytext=(5, 0), textcoords="offset points", va="center", color=INK)
    axes.set_ylim(len(sizes) - 0.5, -0.5)
    axes.set_yticks(range(len(sizes)), [size.name for size in sizes])
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)


def _above(axes: Axes, text: str) -> None:
    axes.annotate(
        text, (0, 1), xytext=(0, 6), xycoords="axes fraction", textcoords="offset points", color="#555555", va="bottom"
    )
