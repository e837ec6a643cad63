"""The one name for what models take and give: arrays (N, …) by the name of the input or output. Knows nothing else."""

import numpy as np

Arrays = dict[str, np.ndarray]
