"""From attack scores to a report: JSON, figures, and one page that reads on a phone, a desktop and paper."""

from diffaudit_jax.report.card import card as card
from diffaudit_jax.report.dataset import DatasetReport as DatasetReport
from diffaudit_jax.report.dataset import dataset_report as dataset_report
from diffaudit_jax.report.evidence import Trajectory as Trajectory
from diffaudit_jax.report.extraction import ExtractionReport as ExtractionReport
from diffaudit_jax.report.extraction import extraction_report as extraction_report
from diffaudit_jax.report.fairness import FairnessReport as FairnessReport
from diffaudit_jax.report.fairness import fairness_report as fairness_report
from diffaudit_jax.report.gate import Condition as Condition
from diffaudit_jax.report.gate import gate as gate
from diffaudit_jax.report.gate import said as said
from diffaudit_jax.report.membership import membership_report as membership_report
from diffaudit_jax.report.page import render as render
from diffaudit_jax.report.property import PropertyReport as PropertyReport
from diffaudit_jax.report.property import property_report as property_report
from diffaudit_jax.report.reconstruction import ReconstructionReport as ReconstructionReport
from diffaudit_jax.report.reconstruction import reconstruction_report as reconstruction_report
from diffaudit_jax.report.redraw import redraw as redraw
from diffaudit_jax.report.report import Report as Report
from diffaudit_jax.report.scores import read_scores as read_scores
from diffaudit_jax.report.studies import StudyReport as StudyReport
from diffaudit_jax.report.studies import study_report as study_report
from diffaudit_jax.report.study import trajectory_study as trajectory_study
from diffaudit_jax.report.tables import TablesReport as TablesReport
from diffaudit_jax.report.tables import tables_report as tables_report
