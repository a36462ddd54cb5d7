"""The model: configuration, encoder and head. This folder travels to the Hub with the weights."""

from transformers import AutoConfig, AutoModel

from .configuration_seqrec import SeqRecConfig
from .modeling_seqrec import NextItemOutput, Ranking, SeqRecForNextItem, SeqRecModel

__all__ = ["NextItemOutput", "Ranking", "SeqRecConfig", "SeqRecForNextItem", "SeqRecModel"]

AutoConfig.register(SeqRecConfig.model_type, SeqRecConfig, exist_ok=True)
AutoModel.register(SeqRecConfig, SeqRecForNextItem, exist_ok=True)
