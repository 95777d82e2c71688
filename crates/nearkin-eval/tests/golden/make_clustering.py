"""Makes clustering.json beside this file: clusterings and their agreement with classes as scikit-learn and SciPy find them.

Versions, checked below: scikit-learn 1.9.1 and SciPy 1.17.1.

    pip install scikit-learn==1.9.1 scipy==1.17.1
    python make_clustering.py

"scores": a list of {"name", "labels", "clusters", "nmi", "ami", "ari", "pairwise_precision", "pairwise_recall"}, the last two from
sklearn.metrics.cluster.pair_confusion_matrix. "linkages": a list of {"name", "metric", "linkage", "dim", "points", "distances", "clusters",
"cut"}: the distances of all mergers, ascending, and the clusters after cutting into "cut" clusters, numbered by first member. Points
are row-major short decimals to be read as f32.
"""

import json
import pathlib
from importlib.metadata import version

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import pair_confusion_matrix

for package, wanted in (("scikit-learn", "1.9.1"), ("scipy", "1.17.1")):
    assert version(package) == wanted, f"found {package} {version(package)}, want {wanted}"


def score(name, labels, clusters):
    (_, mixed), (split, together) = pair_confusion_matrix(labels, clusters).astype(float)
    return {
        "name": name, "labels": labels.tolist(), "clusters": clusters.tolist(),
        "nmi": normalized_mutual_info_score(labels, clusters),
        "ami": adjusted_mutual_info_score(labels, clusters),
        "ari": adjusted_rand_score(labels, clusters),
        "pairwise_precision": together / (together + mixed) if together + mixed else None,
        "pairwise_recall": together / (together + split) if together + split else None,
    }


def renumbered(clusters):
    seen = {}
    return [seen.setdefault(int(c), len(seen)) for c in clusters]


scores = []
for seed, n, classes, clusters, noise in ((1, 60, 5, 5, 0.2), (2, 300, 12, 20, 0.4), (3, 400, 30, 10, 0.6), (4, 100, 4, 60, 1.0), (5, 50, 50, 7, 1.0)):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    found = np.where(rng.random(n) < noise, rng.integers(0, clusters, n), labels % clusters)
    scores.append(score(f"noise_{noise}_n{n}_{classes}_{clusters}", labels, found))
rng = np.random.default_rng(6)
labels = rng.integers(0, 6, 80)
scores.append(score("one_cluster", labels, np.zeros(80, int)))
scores.append(score("every_sample_a_cluster", labels, np.arange(80)))
scores.append(score("one_class", np.zeros(80, int), labels))
scores.append(score("the_same_renumbered", labels, 17 - labels))

linkages = []
for seed, n, dim, cut in ((7, 40, 2, 5), (8, 70, 5, 8)):
    rng = np.random.default_rng(seed)
    points = np.round(rng.normal(size=(n, dim)) + 2 * rng.integers(0, 3, n)[:, None], 3).astype(np.float32)
    for metric, distance in (("euclidean", "euclidean"), ("cosine", "cosine"), ("squared-euclidean", "sqeuclidean")):
        for method in ("single", "complete", "average", "ward"):
            if method == "ward" and metric != "euclidean":
                continue  # another definition than SciPy's, whose Ward is Euclidean
            tree = linkage(pdist(points.astype(np.float64), distance), method)
            gaps = np.diff(tree[:, 2])
            assert gaps[-cut:].min() > 1e-5, "a near tie at the cut"
            linkages.append({
                "name": f"{method}_{metric}_n{n}", "metric": metric, "linkage": method, "dim": dim,
                "points": [float(str(v)) for v in points.ravel()],
                "distances": [float(f"{d:.9g}") for d in tree[:, 2]],
                "cut": cut, "clusters": renumbered(fcluster(tree, cut, "maxclust")),
            })

lines = lambda cases: "[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]"
text = '{"scores": ' + lines(scores) + ',\n"linkages": ' + lines(linkages) + "}\n"
(pathlib.Path(__file__).parent / "clustering.json").write_text(text)
