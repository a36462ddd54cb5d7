"""What hearing items brings, on a small world of synthesised music: who likes an instrument likes what sounds like it.

    python benchmarks/sounds.py [--output_dir runs/benchmarks/sounds] [--seeds 0 1 2]

Twelve instruments play twenty melodies each; of the twelve pieces that a listener takes, four in five are played by
the two instruments that they like. Prints NDCG@10 of validation targets (full catalogue, seen items excluded) with ids
alone and with ids and sounds, for pieces that training has seen and for the tenth that it has not.
"""

import argparse
import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import soundfile

import seqrec

ROOT = Path(__file__).parent.parent
RATE = 16_000
NUM_INSTRUMENTS, NUM_MELODIES, NUM_LISTENERS, NUM_TAKEN = 12, 20, 1_000, 12
FAITHFUL = 0.8  # share of the pieces that are played by a liked instrument
SETTINGS = {
    **{"attention": "causal", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1},
    **{"ensemble_size": 1, "transition_size": 0, "lr_scheduler_type": "linear"},
    **{"max_position_embeddings": 12, "hidden_dropout_prob": 0.2, "learning_rate": 3e-3, "num_train_epochs": 20},
    **{"per_device_train_batch_size": 64, "early_stopping_patience": 0, "cold_item_fraction": 0.1},
    **{"text_encoder": "none", "num_threads": 1, "disable_tqdm": True},
}

SOUNDS = {"audio_column": "sound", "content_scale": 1}


def main(output_dir: Path, seeds: list[int]) -> None:
    """Train without and with sounds, and compare."""
    items, interactions = pieces(), taken()
    for seed in seeds:
        for name, settings in {"ids": {}, "ids and sounds": SOUNDS}.items():
            run = output_dir / f"{name.replace(' ', '-')}-{seed}"
            shutil.rmtree(run, ignore_errors=True)
            recommender = seqrec.train(interactions, items, output_dir=run, seed=seed, **SETTINGS, **settings)
            metrics = recommender.folder.metrics["validation"]
            print(
                f"seed {seed}  {name}: warm {metrics['warm']['ndcg@10']:.4f}, cold {metrics['cold']['ndcg@10']:.4f}, "
                f"share of cold pieces in the top 10 {metrics['lists']['cold_items@10']:.3f}",
                flush=True,
            )


def pieces() -> pa.Table:
    """The catalogue, each piece with the bytes of its sound file."""
    random = np.random.default_rng(0)
    names, sounds = [], []
    for instrument in range(NUM_INSTRUMENTS):
        loudness = random.dirichlet(np.full(8, 0.4))  # of the overtones
        attack, decay = random.uniform(0.005, 0.15), random.uniform(0.5, 6)
        for melody in range(NUM_MELODIES):
            pitches = 220 * 2 ** (random.choice([0, 2, 4, 5, 7, 9, 11, 12], size=8) / 12)
            notes = [note(pitch, loudness, attack, decay) for pitch in pitches]
            file = io.BytesIO()
            soundfile.write(file, np.concatenate(notes), RATE, format="WAV")
            names.append(f"{instrument}-{melody}")
            sounds.append(file.getvalue())
    return pa.table({"item_id": names, "sound": sounds})


def note(pitch: float, loudness: np.ndarray, attack: float, decay: float) -> np.ndarray:
    """Half a second of one tone, (num_samples,)."""
    time = np.arange(RATE // 2) / RATE
    overtones = np.arange(1, len(loudness) + 1)[:, None]
    wave = (loudness[:, None] * np.sin(2 * np.pi * pitch * overtones * time)).sum(axis=0)
    return 0.5 * wave * np.minimum(time / attack, 1) * np.exp(-decay * time)


def taken() -> pa.Table:
    """Who took which piece, in order."""
    random = np.random.default_rng(1)
    rows = []
    for listener in range(NUM_LISTENERS):
        liked = random.choice(NUM_INSTRUMENTS, size=2, replace=False)
        left = [(instrument, melody) for instrument in range(NUM_INSTRUMENTS) for melody in range(NUM_MELODIES)]
        for time in range(NUM_TAKEN):
            faithful = random.random() < FAITHFUL
            choice = [place for place, piece in enumerate(left) if (piece[0] in liked) == faithful]
            instrument, melody = left.pop(random.choice(choice))
            rows.append({"user_id": str(listener), "item_id": f"{instrument}-{melody}", "timestamp": time})
    return pa.Table.from_pylist(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=ROOT / "runs" / "benchmarks" / "sounds")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    main(arguments.output_dir.resolve(), arguments.seeds)
