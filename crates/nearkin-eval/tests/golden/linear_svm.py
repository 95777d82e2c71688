"""Linear SVMs by scikit-learn 1.9.1, as linear_svm.json: python linear_svm.py > linear_svm.json

LinearSVC tells each class from all others with the squared hinge, on features that StandardScaler has brought to one scale. The objective is
summed over classes, with the bias among the weights, as LIBLINEAR takes it.
"""

import json
import warnings

import numpy as np
import sklearn
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

assert sklearn.__version__ == "1.9.1", sklearn.__version__
warnings.simplefilter("error")  # that it has not converged
rng = np.random.default_rng(7)
cases = []
for n, d, classes, c, spread in [(60, 4, 3, 1.0, 1.0), (120, 9, 5, 0.01, 0.7), (40, 30, 4, 0.1, 0.5), (90, 6, 3, 10.0, 2.0)]:
    centres = spread * rng.normal(size=(classes, d))
    labels = np.arange(2 * n) % classes
    points = (centres[labels] + rng.normal(size=(2 * n, d)) * np.linspace(0.5, 3.0, d)).round(3)
    fit, test = points[:n], points[n:]
    scaler = StandardScaler().fit(fit)
    x, y = scaler.transform(fit), labels[:n]
    svm = LinearSVC(C=c, dual=True, loss="squared_hinge", tol=1e-8, max_iter=1_000_000, random_state=0).fit(x, y)
    objective = 0.0
    for k, (w, b) in enumerate(zip(svm.coef_, svm.intercept_)):
        missing = np.maximum(0.0, 1.0 - np.where(y == k, 1.0, -1.0) * (x @ w + b))
        objective += 0.5 * (w @ w + b * b) + c * (missing @ missing)
    cases.append({
        "dim": d, "c": c, "fit": fit.ravel().tolist(), "fit_labels": y.tolist(),
        "test": test.ravel().tolist(), "test_labels": labels[n:].tolist(), "objective": objective,
        "fitted_accuracy": svm.score(x, y), "accuracy": svm.score(scaler.transform(test), labels[n:]),
    })
print(json.dumps(cases, separators=(",", ":")))
