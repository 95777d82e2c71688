"""Golden values for the spectral methods, of scikit-learn and plain numpy on the first 300 of its digits.

    pip install -r bench/classic-requirements.txt
    python crates/nearkin-classic/tests/golden/spectral.py    writes spectral.json beside itself

Made with scikit-learn 1.5.2, numpy 2.0.2 and scipy 1.14.1. Maps are stored with the sign that makes the entry of largest
absolute value of a column positive.
"""

import json
import pathlib

import numpy as np
import scipy
import sklearn
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits
from sklearn.manifold import Isomap, LocallyLinearEmbedding, SpectralEmbedding, smacof, trustworthiness
from sklearn.neighbors import kneighbors_graph

K = 16


def signed(map):
    largest = np.abs(map).argmax(axis=0)
    return map * np.sign(map[largest, range(map.shape[1])])


def rounded(values, digits=7):
    return [float(f"{value:.{digits}g}") for value in np.asarray(values).ravel()]


def classical(distances, dims):
    n = len(distances)
    centre = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-0.5 * centre @ distances**2 @ centre)
    return values[::-1][:dims], signed(vectors[:, ::-1][:, :dims]) * np.sqrt(values[::-1][:dims])


def diffusion(points, graph, alpha, steps, dims):
    squares = cdist(points, points, "sqeuclidean")
    bandwidth = np.median(np.sqrt(squares[graph > 0]).astype(np.float32)).astype(float) ** 2
    kernel = np.where(graph > 0, np.exp(-squares / bandwidth), 0) + np.eye(len(points))
    thinning = kernel.sum(axis=1) ** -alpha
    kernel *= np.outer(thinning, thinning)
    degrees = kernel.sum(axis=1)
    values, vectors = np.linalg.eigh(kernel / np.sqrt(np.outer(degrees, degrees)))
    values, vectors = values[::-1][1 : dims + 1], vectors[:, ::-1][:, 1 : dims + 1]
    return values, values**steps * signed(vectors) * np.sqrt(degrees.sum() / degrees)[:, None]


def golden():
    # Pixels of slightly different weights: else many distances are equal, and which neighbour is last would be a matter of taste.
    pixels = load_digits().data[:305]
    data = pixels * (512 + np.arange(64))
    points, unseen = data[:300], data[300:]
    distances = cdist(points, points)
    lle = LocallyLinearEmbedding(n_neighbors=K, n_components=2, eigen_solver="dense").fit(points)
    mlle = LocallyLinearEmbedding(n_neighbors=K, n_components=2, eigen_solver="dense", method="modified").fit(points)
    isomap = Isomap(n_neighbors=K, n_components=2, eigen_solver="dense").fit(points)
    graph = kneighbors_graph(points, K).toarray()
    graph = np.maximum(graph, graph.T)
    eigenmaps = SpectralEmbedding(2, affinity="precomputed", random_state=0, eigen_solver="arpack", eigen_tol=1e-12)
    values, scaled = classical(distances, 2)
    diffused_values, diffused = diffusion(points, graph, 0.5, 3, 2)
    _, stress = smacof(
        distances, n_components=2, init=scaled, n_init=1, max_iter=300, eps=1e-6, normalized_stress=False, random_state=0
    )
    flip = np.sign(isomap.embedding_[np.abs(isomap.embedding_).argmax(axis=0), range(2)])
    geodesics = isomap.dist_matrix_
    residual = 1 - np.corrcoef(geodesics.ravel(), cdist(isomap.embedding_, isomap.embedding_).ravel())[0, 1] ** 2
    result = {
        "versions": {"scikit-learn": sklearn.__version__, "numpy": np.__version__, "scipy": scipy.__version__},
        "pixels": [int(x) for x in pixels.ravel()],
        "lle_reconstruction_error": lle.reconstruction_error_,
        "lle": rounded(signed(lle.embedding_) * np.sqrt(len(points))),
        "lle_trustworthiness": trustworthiness(points, lle.embedding_, n_neighbors=5),
        "modified_lle": rounded(signed(mlle.embedding_) * np.sqrt(len(points))),
        "modified_lle_reconstruction_error": mlle.reconstruction_error_,
        "isomap": rounded(signed(isomap.embedding_)),
        "isomap_residual_variance": residual,
        "isomap_trustworthiness": trustworthiness(points, isomap.embedding_, n_neighbors=5),
        "isomap_unseen": rounded(isomap.transform(unseen) * flip),
        "laplacian_eigenmaps": rounded(signed(eigenmaps.fit(graph).embedding_)),
        "mds_eigenvalues": rounded(values, 12),
        "mds": rounded(scaled),
        "smacof_stress": float(np.sqrt(stress / (distances**2).sum() * 2)),
        "diffusion_eigenvalues": rounded(diffused_values, 12),
        "diffusion_maps": rounded(signed(diffused)),
    }
    pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(result, separators=(",", ":")) + "\n")


golden()
