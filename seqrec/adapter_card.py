"""The card of an adapter that is kept or published alone."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCardData

from seqrec.card import HERE, HUB_ID, MARK, cost, plain

THE_BASE = "path/to/its/base"  # until it is on the Hub
TAGS = ["recommendation", "sequential-recommendation", "next-item", "lora", "seqrec"]
BODY = """---
{data}
---

{mark}

# An adapter for {base}

LoRA weights that change what `{base}` answers, and nothing of its files. They were trained with seqrec on
{dataset}{measured}.

## Use it

{use}
## Training

{training}
"""
SEQUENCE = """```python
import seqrec

recommender = seqrec.Recommender.from_pretrained("{base}", adapter="{place}")
recommender.adapters.use(None)  # the base alone
recommender.adapters.use("default")  # and back
recommender.adapters.merge()  # one model, as fast as the base
```

Where it was trained on another catalogue than that of the base, call `recommender.set_catalogue(items)`, too. peft
alone loads it by `PeftModel.from_pretrained(model, "{place}")`.
"""
TEXT = """It is for the encoder of texts, and lies in the folder of the recommender that was trained with it, too, for
`add_items`. Alone, it adapts the encoder for other uses:

```python
from peft import PeftModel
from transformers import AutoModel

encoder = PeftModel.from_pretrained(AutoModel.from_pretrained("{base}"), "{place}")
```
"""


def adapter_card(base_model: str, metrics: Mapping[str, Any], of_text: bool) -> str:
    """Return the README.md of an adapter.

    Args:
        base_model: The Hub id, or another name, of the network that it goes around.
        metrics: Content of `metrics.json` of its run, empty where that is not known.
        of_text: Whether it is for an encoder of texts.
    """
    lora = metrics.get("train", {}).get("lora", {})
    before, after = (part.get("exclude_seen", {}) for part in (lora.get("before", {}), metrics.get("validation", {})))
    measured = ""
    if "ndcg@10" in before and "ndcg@10" in after:
        measured = f"; there its NDCG@10 on validation went from {before['ndcg@10']:.4f} to {after['ndcg@10']:.4f}"
    on_the_hub = base_model if HUB_ID.fullmatch(base_model) else None
    base = on_the_hub or THE_BASE
    data = ModelCardData(library_name="peft", base_model=on_the_hub, base_model_relation="adapter", tags=TAGS)
    return BODY.format(
        data=data.to_yaml(),
        mark=MARK,
        base=base,
        dataset=f"`{plain(str(metrics.get('dataset', 'data that are not recorded')))}`",
        measured=measured,
        use=(TEXT if of_text else SEQUENCE).format(base=base, place=HERE),
        training=cost(metrics),
    )
