"""Trustworthiness by scikit-learn 1.9.1, as neighbourhoods.json: python neighbourhoods.py > neighbourhoods.json

Continuity is trustworthiness with the two spaces exchanged.
"""

import json

import numpy as np
import sklearn
from sklearn.manifold import trustworthiness

assert sklearn.__version__ == "1.9.1", sklearn.__version__
rng = np.random.default_rng(5)
cases = []
for n, d, k, noise in [(40, 5, 3, 0.1), (90, 8, 12, 1.0), (60, 3, 29, 10.0)]:
    points = rng.normal(size=(n, d)).astype(np.float32).round(3)
    plane = (points[:, :2] + noise * rng.normal(size=(n, 2))).astype(np.float32).round(3)
    cases.append({
        "dim": d, "k": k, "input": points.ravel().tolist(), "map": plane.ravel().tolist(),
        "trustworthiness": trustworthiness(points.astype(float), plane.astype(float), n_neighbors=k),
        "continuity": trustworthiness(plane.astype(float), points.astype(float), n_neighbors=k),
    })
for case in cases:
    for name in ("input", "map"):
        case[name] = [round(x, 3) for x in case[name]]
print(json.dumps(cases, separators=(",", ":")))
