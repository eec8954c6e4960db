"""Measures what a diffusion model leaks: membership inference audits in JAX.

Values in, values out, explicit keys, no global state:

    pool   = da.data.load("fashion-mnist-2k")
    split  = da.data.split(key, pool, members=64, nonmembers=1000)
    run    = da.training.fit(key, model, process, split.members)
    seen   = da.audit(attack, run.target, split.queries, key=key)
    report = da.membership_report(seen.scores, split.member, images=split.queries.x)
"""

from diffaudit_jax import access as access
from diffaudit_jax import attacks as attacks
from diffaudit_jax import calibration as calibration
from diffaudit_jax import data as data
from diffaudit_jax import importers as importers
from diffaudit_jax import losses as losses
from diffaudit_jax import metrics as metrics
from diffaudit_jax import models as models
from diffaudit_jax import poisoning as poisoning
from diffaudit_jax import process as process
from diffaudit_jax import protection as protection
from diffaudit_jax import reconstruction as reconstruction
from diffaudit_jax import report as report
from diffaudit_jax import sampler as sampler
from diffaudit_jax import shadows as shadows
from diffaudit_jax import training as training
from diffaudit_jax._version import __version__ as __version__
from diffaudit_jax.attack import Attack as Attack
from diffaudit_jax.attack import Spec as Spec
from diffaudit_jax.attack import together as together
from diffaudit_jax.attack import with_score as with_score
from diffaudit_jax.auditing import Observations as Observations
from diffaudit_jax.auditing import audit as audit
from diffaudit_jax.auditing import audit_each as audit_each
from diffaudit_jax.bank import draw_bank as draw_bank
from diffaudit_jax.calibration import calibrated as calibrated
from diffaudit_jax.calibration import check_disjoint as check_disjoint
from diffaudit_jax.calibration import fit_scorer as fit_scorer
from diffaudit_jax.calibration import learned as learned
from diffaudit_jax.memory import keep_freed_memory as keep_freed_memory
from diffaudit_jax.process import Process as Process
from diffaudit_jax.report import membership_report as membership_report
from diffaudit_jax.stream import local_mesh as local_mesh
from diffaudit_jax.stream import stream as stream
from diffaudit_jax.target import Target as Target
from diffaudit_jax.target import diffusion_target as diffusion_target
from diffaudit_jax.target import redrawn as redrawn
from diffaudit_jax.types import InputError as InputError
from diffaudit_jax.types import Network as Network
from diffaudit_jax.types import Prediction as Prediction
from diffaudit_jax.types import Query as Query
