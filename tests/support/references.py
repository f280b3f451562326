"""References in float64 NumPy, written from the paper's equations."""

import numpy as np


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def kd_reference(student, teacher, labels, temperature, weight, *, soften_student):
    """Return the value of Eq. 2 and its gradient with respect to the student's logits."""
    count = len(labels)
    student_temperature = temperature if soften_student else 1.0
    probabilities, softened = softmax(student), softmax(student / student_temperature)
    targets = softmax(teacher / temperature)
    one_hot = np.eye(student.shape[1])[labels]
    value = -(one_hot * np.log(probabilities)).sum() / count - weight * (targets * np.log(softened)).sum() / count
    gradient = (probabilities - one_hot) / count + weight * (softened - targets) / student_temperature / count
    return value, gradient
