"""The losses of later literature in NumPy, in float64, written from the papers with loops and without PyTorch."""

import itertools

import numpy as np

Array = np.ndarray


def softmax(logits: Array) -> Array:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def divergence(student: Array, teacher: Array, temperature: float) -> float:
    """KL(teacher || student) of softened outputs, the mean over the images, without a factor tau^2."""
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    return float((p * np.log(p / q)).sum(axis=1).mean())


def standardized_kd(student: Array, teacher: Array, temperature: float) -> float:
    first, second = (
        (one - one.mean(1, keepdims=True)) / one.std(1, ddof=1, keepdims=True) for one in (student, teacher)
    )
    return temperature**2 * divergence(first, second, temperature)


def dkd_parts(student: Array, teacher: Array, labels: Array, temperature: float) -> tuple[Array, Array]:
    """TCKD and NCKD of each image, without a factor tau^2."""
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    target, others = [], []
    for image, label in enumerate(labels):
        pt, qt = p[image, label], q[image, label]
        target.append(pt * np.log(pt / qt) + (1 - pt) * np.log((1 - pt) / (1 - qt)))
        rest_p, rest_q = (np.delete(one[image], label) for one in (p, q))
        rest_p, rest_q = rest_p / rest_p.sum(), rest_q / rest_q.sum()
        others.append((rest_p * np.log(rest_p / rest_q)).sum())
    return np.array(target), np.array(others)


def dist(student: Array, teacher: Array, beta: float, gamma: float, temperature: float) -> float:
    p, q = softmax(teacher / temperature), softmax(student / temperature)

    def uncorrelated(first: Array, second: Array) -> float:
        return float(np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)]))

    return temperature**2 * (beta * uncorrelated(q, p) + gamma * uncorrelated(q.T, p.T))


def attention(student: Array, teacher: Array) -> float:
    """Maps of one size, (N, C, H, W) each with its own C."""
    total = 0.0
    for first, second in zip(student, teacher, strict=True):
        a, b = ((one**2).sum(axis=0).ravel() for one in (first, second))
        total += float(((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2).mean())
    return total / len(student)


def similarity(student: Array, teacher: Array) -> float:
    first, second = (one.reshape(len(one), -1) @ one.reshape(len(one), -1).T for one in (student, teacher))
    first, second = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (first, second))
    return float(((first - second) ** 2).sum() / len(student) ** 2)


def _huber(difference: float) -> float:
    return 0.5 * difference**2 if abs(difference) < 1 else abs(difference) - 0.5


def distances(student: Array, teacher: Array) -> float:
    """Vectors, (N, D)."""
    n, relative = len(student), []
    for vectors in (student, teacher):
        found = np.array([[np.linalg.norm(a - b) for b in vectors] for a in vectors])
        relative.append(found / found[found > 0].mean())
    return sum(_huber(relative[0][i, j] - relative[1][i, j]) for i, j in itertools.product(range(n), repeat=2)) / n**2


def angles(student: Array, teacher: Array) -> float:
    def cosine(vectors: Array, i: int, j: int, k: int) -> float:
        first, second = vectors[j] - vectors[i], vectors[k] - vectors[i]
        lengths = np.linalg.norm(first) * np.linalg.norm(second)
        return float(first @ second / lengths) if lengths else 0.0

    n = len(student)
    triples = list(itertools.product(range(n), repeat=3))
    return sum(_huber(cosine(student, *triple) - cosine(teacher, *triple)) for triple in triples) / n**3


def probabilistic(student: Array, teacher: Array) -> float:
    chosen = []
    for vectors in (student, teacher):
        directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        similarities = (directions @ directions.T + 1) / 2
        chosen.append(similarities / similarities.sum(axis=1, keepdims=True))
    q, p = chosen
    return float((p * np.log((p + 1e-7) / (q + 1e-7))).mean())


def variational(mean: Array, variances: Array, hint: Array) -> float:
    """Maps, (N, C, H, W), with one variance for each channel, (C,)."""
    by_channel = variances.reshape(1, -1, 1, 1)
    return float((0.5 * ((mean - hint) ** 2 / by_channel + np.log(by_channel))).mean())


def contrast(scores: Array, images: int) -> float:
    noise = (scores.shape[1] - 1) / images
    total = 0.0
    for own, *others in scores:
        total += np.log(own / (own + noise + 1e-7))
        total += sum(np.log(noise / (other + noise + 1e-7)) for other in others)
    return float(-total / len(scores))


def slope(function, values: Array, step: float = 1e-6) -> Array:
    """The gradient of a function of an array, from central differences."""
    gradient = np.zeros_like(values)
    for place in np.ndindex(values.shape):
        ahead, behind = values.copy(), values.copy()
        ahead[place] += step
        behind[place] -= step
        gradient[place] = (function(ahead) - function(behind)) / (2 * step)
    return gradient
