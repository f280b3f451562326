"""Lists the overrides without which some options of the configuration cannot be composed."""

from pathlib import Path

SMALL_RESNET = Path(__file__).with_name("small_resnet")
"""configuration of a small model of transformers"""

NEEDED = {  # further overrides that an option needs
    "dataset=custom": ["dataset.target=support.own_data.make"],
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
    "dataset=photos": [
        "dataset.path=images",
        "dataset.classes=3",
        "dataset.height=32",
        "dataset.width=32",
        "teacher=resnet14",
        "student=thin",
    ],
    "teacher=timm": ["teacher.model=resnet18", "teacher.pretrained=false", "teacher.channels=3", "teacher.size=32"],
    "student=timm": ["student.model=resnet18", "student.channels=3", "student.size=32"],
    "teacher=transformers": [
        f"teacher.model={SMALL_RESNET}",
        "teacher.pretrained=false",
        "teacher.channels=3",
        "teacher.size=32",
    ],
    "student=transformers": [f"student.model={SMALL_RESNET}", "student.channels=3", "student.size=32"],
}
