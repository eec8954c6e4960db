"""What a privatised gradient shows of an image to whoever has a diffusion prior: release, denoise, judge."""

from diffaudit_jax.reconstruction.agreement import Agreement as Agreement
from diffaudit_jax.reconstruction.agreement import agreement as agreement
from diffaudit_jax.reconstruction.agreement import rank_correlation as rank_correlation
from diffaudit_jax.reconstruction.baselines import BASELINES as BASELINES
from diffaudit_jax.reconstruction.baselines import Public as Public
from diffaudit_jax.reconstruction.baselines import fit_baselines as fit_baselines
from diffaudit_jax.reconstruction.candidates import candidate_attack as candidate_attack
from diffaudit_jax.reconstruction.curve import Curve as Curve
from diffaudit_jax.reconstruction.curve import denoising_curve as denoising_curve
from diffaudit_jax.reconstruction.curve import error_at as error_at
from diffaudit_jax.reconstruction.denoise import denoised as denoised
from diffaudit_jax.reconstruction.denoise import reconstruct as reconstruct
from diffaudit_jax.reconstruction.imprint import brightness_quantiles as brightness_quantiles
from diffaudit_jax.reconstruction.imprint import imprint as imprint
from diffaudit_jax.reconstruction.leaks import Leak as Leak
from diffaudit_jax.reconstruction.leaks import dense as dense
from diffaudit_jax.reconstruction.leaks import linear_unit as linear_unit
from diffaudit_jax.reconstruction.leaks import random_mlp as random_mlp
from diffaudit_jax.reconstruction.release import Knowledge as Knowledge
from diffaudit_jax.reconstruction.release import at_mu as at_mu
from diffaudit_jax.reconstruction.release import misbelieved as misbelieved
from diffaudit_jax.reconstruction.release import release as release
from diffaudit_jax.reconstruction.released import Release as Release
from diffaudit_jax.reconstruction.similarity import Similarity as Similarity
from diffaudit_jax.reconstruction.similarity import similarity as similarity
