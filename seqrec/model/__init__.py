"""The model: configuration, encoder and head. This folder travels to the Hub with the weights."""

from transformers import AutoConfig, AutoModel
from transformers.pipelines import PIPELINE_REGISTRY

from .attention import chunked_attention
from .configuration_seqrec import SeqRecConfig
from .encoder import SeqRecModel
from .losses import Sampling, Softmax
from .modeling_seqrec import NextItemOutput, SeqRecForNextItem
from .pipeline_seqrec import TASK, NextItemPipeline
from .ranking import Ranking

__all__ = [
    "NextItemOutput",
    "NextItemPipeline",
    "Ranking",
    "SeqRecConfig",
    "Sampling",
    "SeqRecForNextItem",
    "SeqRecModel",
    "Softmax",
    "chunked_attention",
]

AutoConfig.register(SeqRecConfig.model_type, SeqRecConfig, exist_ok=True)
AutoModel.register(SeqRecConfig, SeqRecForNextItem, exist_ok=True)
PIPELINE_REGISTRY.register_pipeline(TASK, pipeline_class=NextItemPipeline, pt_model=AutoModel)
