"""Data: from any table of interactions to splits, a catalogue and a report."""

from seqrec.data.histories import histories_of
from seqrec.data.preparation import PreparedData, prepare
from seqrec.data.sources import load_interactions, load_items, load_tables

__all__ = ["PreparedData", "histories_of", "load_interactions", "load_items", "load_tables", "prepare"]
