"""Data: where images and tables come from, and who was trained on.

`load` reads any source into a `Pool` of uint8 images or a `Table`, which an `Encoder` turns into a pool of float32
records; `split`, `split_coin` and `pair` say which records are members. Everything is NumPy on the host; nothing here
knows a model.
"""

from diffaudit_jax.data.arrays import from_arrays as from_arrays
from diffaudit_jax.data.columns import as_types as as_types
from diffaudit_jax.data.columns import described as described
from diffaudit_jax.data.encoding import Encoder as Encoder
from diffaudit_jax.data.encoding import Layout as Layout
from diffaudit_jax.data.encoding import fit_encoder as fit_encoder
from diffaudit_jax.data.inclusion import Inclusion as Inclusion
from diffaudit_jax.data.inclusion import coin_flips as coin_flips
from diffaudit_jax.data.located import located as located
from diffaudit_jax.data.overlap import Duplicates as Duplicates
from diffaudit_jax.data.overlap import check_distinct as check_distinct
from diffaudit_jax.data.overlap import check_overlap as check_overlap
from diffaudit_jax.data.overlap import distinct as distinct
from diffaudit_jax.data.overlap import kept as kept
from diffaudit_jax.data.planting import further as further
from diffaudit_jax.data.planting import planted as planted
from diffaudit_jax.data.planting import repeats as repeats
from diffaudit_jax.data.pool import Pool as Pool
from diffaudit_jax.data.pool import concatenate as concatenate
from diffaudit_jax.data.pool import renumbered as renumbered
from diffaudit_jax.data.records import at_rows as at_rows
from diffaudit_jax.data.records import from_record as from_record
from diffaudit_jax.data.records import from_secmi as from_secmi
from diffaudit_jax.data.records import to_record as to_record
from diffaudit_jax.data.sources import load as load
from diffaudit_jax.data.splits import Split as Split
from diffaudit_jax.data.splits import pair as pair
from diffaudit_jax.data.splits import split as split
from diffaudit_jax.data.splits import split_coin as split_coin
from diffaudit_jax.data.table import Table as Table
from diffaudit_jax.data.writing import write_csv as write_csv
