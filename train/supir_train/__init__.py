"""Training of the three learned parts of SUPIR: a small prior, the degradation-robust encoder, the adapter.

Place in the flow: after the dataset (`supir_shards`, `supir_degrade`), before restoration (`supir_infer`), which
reads the folder RUN/model that a run ends with.
"""

from supir_train.config import TrainConfig

__all__ = ["TrainConfig"]
