"""Host-side statistics, in float64: of scores (ROC, fixed false positive rates, transfer) and of generated images."""

from diffaudit_jax.metrics.blind import BlindBaseline as BlindBaseline
from diffaudit_jax.metrics.blind import advantage_over_blind as advantage_over_blind
from diffaudit_jax.metrics.blind import blind_baseline as blind_baseline
from diffaudit_jax.metrics.blind import blind_scores as blind_scores
from diffaudit_jax.metrics.intervals import Estimate as Estimate
from diffaudit_jax.metrics.intervals import clopper_pearson as clopper_pearson
from diffaudit_jax.metrics.membership import MembershipStats as MembershipStats
from diffaudit_jax.metrics.membership import membership_stats as membership_stats
from diffaudit_jax.metrics.operating import OperatingPoint as OperatingPoint
from diffaudit_jax.metrics.operating import tpr_at_fpr as tpr_at_fpr
from diffaudit_jax.metrics.quality import DensityCoverage as DensityCoverage
from diffaudit_jax.metrics.quality import Novelty as Novelty
from diffaudit_jax.metrics.quality import PrecisionRecall as PrecisionRecall
from diffaudit_jax.metrics.quality import density_coverage as density_coverage
from diffaudit_jax.metrics.quality import frechet as frechet
from diffaudit_jax.metrics.quality import novelty as novelty
from diffaudit_jax.metrics.quality import precision_recall as precision_recall
from diffaudit_jax.metrics.roc import Roc as Roc
from diffaudit_jax.metrics.roc import auc as auc
from diffaudit_jax.metrics.roc import auc_by_column as auc_by_column
from diffaudit_jax.metrics.roc import roc as roc
from diffaudit_jax.metrics.transfer import Decision as Decision
from diffaudit_jax.metrics.transfer import Transfer as Transfer
from diffaudit_jax.metrics.transfer import decision as decision
from diffaudit_jax.metrics.transfer import transfer as transfer
