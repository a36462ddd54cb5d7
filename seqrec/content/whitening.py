"""Half whitening: vectors whose loud directions are turned down, without losing the quiet ones' order."""

import numpy as np

SMALLEST_SINGULAR_VALUE = 1e-5
CHUNK_ROWS = 65_536


def half_whiten(
    vectors: np.ndarray, present: np.ndarray, num_components: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Fit the features `(vectors - mean) @ rotation` with the centred vectors X = U S V' turned into U S^0.5.

    The features have a mean squared length of 1, so that content starts as loud as an id embedding when both are
    drawn alike. Directions in which the vectors do not differ (constant columns, fewer items than columns) give zeros.

    Args:
        vectors: (num_items, width) numbers.
        present: (num_items,) booleans; the other rows are not looked at.
        num_components: Directions that are kept, the loudest ones; all by default.

    Returns:
        mean (width,) and rotation (width, kept), both float32.

    >>> vectors = np.array([[4.0, 0.0], [-4.0, 0.0], [0.0, 1.0], [0.0, -1.0], [9.0, 9.0]])
    >>> mean, rotation = half_whiten(vectors, present=np.array([True, True, True, True, False]))
    >>> features = (vectors - mean) @ rotation
    >>> abs(features[:4]).round(3).tolist()  # 4 and 1 have become 2 and 1, times one number
    [[1.265, 0.0], [1.265, 0.0], [0.0, 0.632], [0.0, 0.632]]
    """
    width = vectors.shape[1]
    num_kept = min(width, num_components or width)
    rows = np.flatnonzero(present)
    chunks = [vectors[rows[start : start + CHUNK_ROWS]] for start in range(0, len(rows), CHUNK_ROWS)]
    if not chunks:
        return np.zeros(width, np.float32), np.zeros((width, num_kept), np.float32)
    mean = sum(chunk.sum(axis=0, dtype=np.float64) for chunk in chunks) / len(rows)
    gram = np.zeros((width, width))
    for chunk in chunks:
        centred = chunk - mean
        gram += centred.T @ centred
    squared, directions = np.linalg.eigh(gram)
    singular = np.sqrt(np.maximum(squared[::-1], 0))[:num_kept]  # largest first
    directions = _with_fixed_signs(directions[:, ::-1][:, :num_kept])
    kept = singular > singular[0] * SMALLEST_SINGULAR_VALUE
    scale = np.zeros(num_kept)
    scale[kept] = singular[kept] ** -0.5
    length = np.sqrt(singular[kept].sum() / len(rows))
    rotation = directions * (scale / length if kept.any() else scale)
    return mean.astype(np.float32), rotation.astype(np.float32)


def _with_fixed_signs(directions: np.ndarray) -> np.ndarray:
    """Turn each column so that its largest entry is positive: a direction's sign is the library's whim.

    >>> _with_fixed_signs(np.array([[0.6, -0.8], [0.8, 0.6]]))
    array([[ 0.6,  0.8],
           [ 0.8, -0.6]])
    """
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])]
    return directions * np.where(largest < 0, -1.0, 1.0)
