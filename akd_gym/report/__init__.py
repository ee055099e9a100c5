"""The report page of searches: one HTML file that needs nothing else, or a page that follows them while they run."""

from akd_gym.report.commands import training_words
from akd_gym.report.figures import write_figures
from akd_gym.report.live import LiveReport
from akd_gym.report.page import render_page, report_data, write_report
from akd_gym.report.reading import ReportedRun, read_reported_runs
from akd_gym.report.separation import Separation, separations

__all__ = [  # noqa: RUF022 - grouped
    # searches
    "ReportedRun",
    "read_reported_runs",
    # the page
    "report_data",
    "render_page",
    "write_report",
    "LiveReport",
    # beside it
    "training_words",
    "write_figures",
    "Separation",
    "separations",
]
