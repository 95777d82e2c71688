"""Golden values for the weakly supervised methods, on scikit-learn's iris, standardised and rounded to three digits.

    pip install metric-learn==0.7.0 scikit-learn==1.5.2 "numpy<2.3"
    python tests/golden/weak.py            writes weak.json beside itself

Made with metric-learn 0.7.0, scikit-learn 1.5.2, numpy 2.2.6 and scipy 1.17.1: metric-learn does not import with scikit-learn 1.6 or
later. Where its solver stops short of the optimum (LSML leaves the weights out of its gradient, MMC's projections stop at a hundredth,
SCML's steps are random) the value of its own objective is stored, and the optimum is found by scipy on that objective.
"""

import json
import pathlib
import warnings

import metric_learn
import numpy as np
import scipy
import sklearn
from scipy.optimize import minimize
from sklearn.covariance import graphical_lasso
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler

warnings.filterwarnings("ignore")


def rounded(values, digits=9):
    return [float(f"{value:.{digits}g}") for value in np.asarray(values).ravel()]


def draw(rng, ok, count):
    found = []
    while len(found) < count:
        one = tuple(int(i) for i in rng.integers(0, len(labels), 4))
        if ok(*one):
            found.append(one)
    return found


iris = load_iris()
table = np.round(StandardScaler().fit_transform(iris.data), 3).astype(np.float32).astype(float)
labels = iris.target
d = table.shape[1]
rng = np.random.default_rng(5)
# Of petal and sepal apart, so that comparisons are broken and kin differ everywhere.
kin = [q[:2] for q in draw(rng, lambda a, b, c, e: a != b and labels[a] == labels[b], 40)]
apart = lambda a, b: labels[a] != labels[b] and (table[a] != table[b]).any()
strangers = [q[:2] for q in draw(rng, lambda a, b, c, e: apart(a, b), 40)]
triplets = [q[:3] for q in draw(rng, lambda a, b, c, e: a != b and labels[a] == labels[b] and apart(a, c), 120)]
quadruplets = draw(rng, lambda a, b, c, e: a != b and c != e and (a, b) != (c, e) and (a, b) != (e, c)
                   and labels[a] == labels[b] and labels[c] != labels[e], 60)

pairs = table[np.array(kin + strangers)]
sides = np.array([1] * len(kin) + [-1] * len(strangers))
golden = {
    "versions": {module.__name__: module.__version__ for module in (metric_learn, sklearn, np, scipy)},
    "table": rounded(table), "labels": labels.tolist(), "kin": kin, "strangers": strangers,
    "triplets": triplets, "quadruplets": quadruplets,
}

# RCA of each class's first 20 samples in chunklets of 5; −1 is none.
chunks = np.full(len(labels), -1)
for c in range(3):
    members = np.flatnonzero(labels == c)[:20]
    chunks[members] = 4 * c + np.arange(20) // 5
golden["chunks"] = chunks.tolist()
golden["rca"] = rounded(metric_learn.RCA().fit(table, chunks).get_mahalanobis_matrix())

# ITML to the end, with bounds on squared distances.
itml = metric_learn.ITML(gamma=2.0, max_iter=20000, tol=1e-13, prior="identity")
golden["itml"] = rounded(itml.fit(pairs, sides, bounds=[1.0, 4.0]).get_mahalanobis_matrix())

# SDML of metric-learn needs an argument that scikit-learn 1.5 has dropped: the graphical lasso itself.
differences = pairs[:, 0] - pairs[:, 1]
weighted = np.eye(d) + 0.1 / len(pairs) * (differences.T * sides).dot(differences)
golden["sdml"] = rounded(graphical_lasso(weighted, alpha=0.05, tol=1e-9, enet_tol=1e-9, max_iter=1000)[1])

# LSML.
lsml = metric_learn.LSML(prior="identity", max_iter=1000, tol=1e-8).fit(table[np.array(quadruplets)])
near = table[[q[0] for q in quadruplets]] - table[[q[1] for q in quadruplets]]
far = table[[q[2] for q in quadruplets]] - table[[q[3] for q in quadruplets]]
loss = lambda m: lsml._total_loss(m, near, far, np.eye(d))
golden["lsml_peer"] = float(loss(lsml.get_mahalanobis_matrix()))
best = minimize(lambda l: loss(l.reshape(d, d).T @ l.reshape(d, d)), np.eye(d).ravel(), method="BFGS", options={"gtol": 1e-9})
factor = best.x.reshape(d, d)
golden["lsml_loss"], golden["lsml"] = float(best.fun), rounded(factor.T @ factor)

# MMC: Σ_strangers d at Σ_kin d² = 1.
of_kin, of_strangers = differences[sides == 1], differences[sides == -1]
reached = lambda m: (np.sqrt(np.einsum("ij,jk,ik->i", of_strangers, m, of_strangers).clip(0)).sum()
                     / np.sqrt(np.einsum("ij,jk,ik->", of_kin, m, of_kin)))
for name, diagonal in (("full", False), ("diagonal", True)):
    peer = metric_learn.MMC(diagonal=diagonal, max_iter=1000, init="identity").fit(pairs, sides)
    golden[f"mmc_{name}_peer"] = float(reached(peer.get_mahalanobis_matrix()))
    of = (lambda x: np.diag(x**2)) if diagonal else (lambda x: x.reshape(d, d).T @ x.reshape(d, d))
    starts = [np.ones(d) if diagonal else np.eye(d).ravel()]
    starts += [rng.normal(size=starts[0].size) for _ in range(5)]
    golden[f"mmc_{name}"] = max(float(-minimize(lambda x: -reached(of(x)), x, method="BFGS", options={"gtol": 1e-10}).fun)
                                for x in starts)

# SCML on the axes and the diagonals; the optimum is a linear program's.
basis = np.vstack([np.eye(d)] + [[(np.eye(d)[i] + s * np.eye(d)[j]) / np.sqrt(2)] for i in range(d) for j in range(i) for s in (1, -1)])
t = np.array(triplets)
image = table @ basis.T
slopes = (image[t[:, 0]] - image[t[:, 1]]) ** 2 - (image[t[:, 0]] - image[t[:, 2]]) ** 2
beta = 0.01
objective = lambda w: np.maximum(1 + slopes @ w, 0).mean() + beta * w.sum()
scml = metric_learn.SCML(beta=beta, random_state=0)
# It compares a basis given as an array with a word, which numpy refuses.
scml._initialize_basis = lambda triplets, samples: (basis, len(basis))
metric = scml.fit(table[t]).get_mahalanobis_matrix()
program = scipy.optimize.linprog(
    np.r_[np.full(len(basis), beta), np.full(len(t), 1 / len(t))],
    A_ub=np.hstack([slopes, -np.eye(len(t))]), b_ub=-np.ones(len(t)), method="highs")
golden["scml_basis"], golden["scml"] = rounded(basis), float(program.fun)
# Of a metric only the hinges can be told, and the trace, which is the sum of weights of unit directions.
square = lambda v: np.einsum("ij,jk,ik->i", v, metric, v)
hinges = np.maximum(1 + square(table[t[:, 0]] - table[t[:, 1]]) - square(table[t[:, 0]] - table[t[:, 2]]), 0)
golden["scml_peer"] = float(hinges.mean() + beta * np.trace(metric))

pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(golden, separators=(",", ":")))
for name in ("sdml", "lsml_loss", "lsml_peer", "mmc_full", "mmc_full_peer", "mmc_diagonal", "mmc_diagonal_peer", "scml", "scml_peer"):
    print(name, golden[name])
