"""Lists the overrides without which some options of the configuration cannot be composed."""

NEEDED = {  # further overrides that an option needs
    "hint_layer=named": ["hint_layer.teacher=conv2", "hint_layer.student=conv5"],
    "hint_layer=none": ["method=kd"],
    "hint_layer=pairs": ["+hint_layer.pairs={{low: {{teacher: conv1, student: conv2}}}}"],
    "regressor=identity": [
        "hint_layer=named",
        "hint_layer.teacher=conv1",
        "hint_layer.student=conv3",
        "teacher.convs.0.units=12",
        "teacher.convs.0.pool=2",
    ],
    "teacher=maxout_mnist": ["dataset=mnist"],
    "teacher=maxout_cifar10": ["dataset=cifar10"],
    "teacher=maxout_cifar100": ["dataset=cifar100"],
    "teacher=maxout_svhn": ["dataset=svhn"],
    "teacher=relu_aflw": ["dataset=aflw", "dataset.path=patches"],
    "teacher=none": ["method=backprop"],
    "teacher=run": ["teacher.path={earlier_run}"],
    "teacher=ensemble": ["teacher.members=[{earlier_run}]", "teacher.hint_member={earlier_run}"],
    "teacher=custom": ["teacher.target=own_models.small"],
    "student=custom": ["student.target=own_models.small"],
    "student=fitnet_mnist": ["dataset=mnist"],
    "student=fitnet_aflw1": ["dataset=aflw", "dataset.path=patches"],
    "student=fitnet_aflw2": ["dataset=aflw", "dataset.path=patches"],
    "dataset=aflw": ["dataset.path=patches"],
    "dataset=folder": ["dataset.path=images", "dataset.classes=3"],
}
