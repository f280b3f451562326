"""Data sets and their preprocessing."""

from typing import ClassVar, Literal, TypeAlias

from fitnets.config.options import added, location, neutral, option

# --- preprocessing: of images whose pixels were scaled to [0, 1] ---


@option
class Scale:
    """Pixels in [0, 1], nothing else: MNIST in the paper."""

    name: Literal["scale"] = neutral(default="scale")


@option
class Standardize:
    """Mean 0 and variance 1 for each channel over the training images, those held out for validation included."""

    name: Literal["standardize"] = neutral(default="standardize")


@option
class Whiten:
    """Global contrast normalisation of each image, then ZCA whitening fitted on the training images, those held out for
    validation included: CIFAR in the maxout recipes."""

    name: Literal["whiten"] = neutral(default="whiten")
    contrast: float
    """L2 norm of each image after its mean is subtracted"""
    regularizer: float
    """added to every variance before whitening"""


@option
class LocalContrast:
    """Global contrast normalisation of each image, then LeCun's local contrast normalisation of each channel: SVHN in
    the maxout recipes."""

    name: Literal["local_contrast"] = neutral(default="local_contrast")
    contrast: float
    """L2 norm of each image after its mean is subtracted"""
    window: int
    """side of the Gaussian window, in pixels, odd"""
    sigma: float
    """standard deviation of the window, in pixels"""
    threshold: float
    """smallest divisor"""
    divisor: Literal["image", "centred"]
    """what the local deviation that divides is taken of: the image as it is, as the maxout recipe's code has it, or
    with the local mean subtracted, as the method's authors define it"""
    channels: Literal["all", "first"]
    """`first`: the red channel alone, as the reference loop has it, which stops after one"""


Preprocessing: TypeAlias = Scale | Standardize | Whiten | LocalContrast


# --- data sets ---


@option
class Digits:
    """scikit-learn's bundled 8x8 digits: 1,797 real images, no download. Has no test split of its own: a fixed part of
    each class becomes the test split, whatever the seed."""

    name: str = neutral(default="digits")
    test: int
    """images of the test split, drawn evenly from the classes"""
    validation: int
    """images held out from the rest by class, drawn with `seed`"""
    pixel_max: float
    """raw pixel value that becomes 1.0"""
    preprocessing: Preprocessing
    train_share: float = added(default=1.0)
    """fraction of the training images that is trained on, each class giving its share, drawn with `seed`; preprocessing
    is fitted on all, validation and test images stay the same"""
    seed: int = 0
    """of the validation split and of the views that augmentation makes"""

    channels: ClassVar[int] = 1
    height: ClassVar[int] = 8
    width: ClassVar[int] = 8
    classes: ClassVar[int] = 10


@option
class HubImages:
    """Images and labels in the layout of the Hugging Face hub, from the hub or from a folder of local Parquet files."""

    name: str = neutral()
    hub: str | None = neutral()
    """repository on the hub; None: it is not there"""
    subset: str | None = neutral(default=None)
    """configuration of that repository, and folder of its files"""
    revision: str | None = neutral()
    """commit, tag or branch of that repository"""
    path: str | None = location(default=None)
    """folder with `<split>-*.parquet`; None: download from the hub"""
    image_column: str | None = neutral(default=None)
    """None: the only column that holds encoded images"""
    label_column: str = neutral()
    train_split: str = neutral()
    extra_split: str | None = neutral(default=None)
    """further training images"""
    validation_split: str | None = neutral(default=None)
    """None: validation images are held out from the training splits"""
    test_split: str | None = neutral()
    """None: there is no test split"""

    channels: Literal[1, 3]
    """1: images become grey; 3: images become RGB"""
    height: int
    width: int
    classes: int
    pixel_max: float
    """raw pixel value that becomes 1.0"""
    validation: int
    """images held out from the train split"""
    extra_validation: int = 0
    """images held out from the extra split"""
    first_label: int = neutral(default=0)
    """label of the first class in the files: 1 where they count from 1"""
    skip_broken: bool = neutral(default=False)
    """leave out images that cannot be decoded, instead of refusing the data set"""
    validation_rule: Literal["last", "by_class", "equal"]
    """`last`: the last rows, in file order, as in the maxout recipes; `by_class`: each class its share, drawn with
    `seed`; `equal`: the same number of each class, drawn with `seed`"""
    preprocessing: Preprocessing
    train_share: float = added(default=1.0)
    """fraction of the training images that is trained on, each class giving its share, drawn with `seed`; preprocessing
    is fitted on all, validation and test images stay the same"""
    seed: int = 0
    """of the validation split and of the views that augmentation makes"""


@option
class Folder:
    """A folder of images with one sub-folder a class, of any size, resized and cropped to one. Folders train, val and
    test with class folders inside are the splits; otherwise the split is drawn once, by class, and saved."""

    name: str = neutral(default="folder")
    path: str = location()
    split_file: str | None = location(default=None)
    """JSON file with the part of every image, drawn and written if it is not there; None: `split.json` in the folder"""
    channels: Literal[1, 3]
    """1: images become grey; 3: images become RGB"""
    height: int
    width: int
    classes: int
    pixel_max: ClassVar[float] = 255
    skip_broken: bool = neutral(default=False)
    """leave out images that cannot be decoded, instead of refusing the data set"""
    validation_share: float = neutral()
    """fraction of each class that becomes the validation split when the split is drawn"""
    test_share: float = neutral()
    """fraction of each class that becomes the test split when the split is drawn"""
    preprocessing: Preprocessing
    train_share: float = added(default=1.0)
    """as of `Digits`"""
    seed: int = 0
    """of the split when it is drawn, of `train_share`, and of the views that augmentation makes"""


Dataset: TypeAlias = Digits | HubImages | Folder


def image_shape(dataset: Dataset) -> tuple[int, int, int]:
    """(C, H, W) of its images."""
    return dataset.channels, dataset.height, dataset.width


# --- augmentation ---


@option
class Augmentation:
    """Random views of the preprocessed training images, drawn anew in every epoch."""

    flip: bool = False
    """mirror half of the images, left to right"""
    pad: int = 0
    """zeros added on every side, in pixels, before an image of the first size is cropped at a random place"""
