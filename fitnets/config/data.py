"""Options of data sets, their preprocessing and augmentation."""

from typing import Any, ClassVar, Literal, TypeAlias

from fitnets.config.options import (
    AT_LEAST_0,
    AT_LEAST_1,
    POSITIVE,
    Bounds,
    added,
    bounded,
    location,
    neutral,
    option,
    renamed,
)

_SHARE = Bounds(0.001, 0.9)
_TRAIN_SHARE = Bounds(1e-6, 1)
_CLASSES = Bounds(2)
_CROP_SHARE = Bounds(0.1, 1)
_CROP_AREA = Bounds(0.001, 1)
_MAGNITUDE = Bounds(0, 30)
_COLOUR = Bounds(0, 1)
_HUE = Bounds(0, 0.5)

Interpolation: TypeAlias = Literal["bilinear", "bicubic", "lanczos"]
"""filter of a resizing, as in Pillow"""

# --- preprocessing of images whose pixels were scaled to [0, 1] ---


@option
class Scale:
    """Pixels are scaled to [0, 1] and not changed further. The paper does so for MNIST."""

    name: Literal["scale"] = neutral(default="scale")


@option
class Standardize:
    """Each channel gets mean 0 and variance 1. Both are measured on the training and validation images together."""

    name: Literal["standardize"] = neutral(default="standardize")


@option
class Whiten:
    """Global contrast normalisation of each image, then ZCA whitening, as in the maxout recipes for CIFAR. It is fitted
    on the training and validation images together."""

    name: Literal["whiten"] = neutral(default="whiten")
    contrast: float = bounded(POSITIVE)
    """L2 norm of each image after its mean is subtracted"""
    regularizer: float = bounded(POSITIVE)
    """added to every variance before whitening"""


@option
class LocalContrast:
    """Global contrast normalisation of each image, then LeCun's local contrast normalisation of each channel, as in the
    maxout recipe for SVHN."""

    name: Literal["local_contrast"] = neutral(default="local_contrast")
    contrast: float = bounded(POSITIVE)
    """L2 norm of each image after its mean is subtracted"""
    window: int = bounded(AT_LEAST_1)
    """side of the Gaussian window, in pixels, odd"""
    sigma: float = bounded(POSITIVE)
    """standard deviation of the window, in pixels"""
    threshold: float = bounded(AT_LEAST_0)
    """smallest divisor"""
    divisor: Literal["image", "centred"]
    """source of the local deviation that divides. `image`: the image itself, as in the code of the maxout recipe;
    `centred`: the image with its local mean subtracted, as the method's authors define it"""
    channels: Literal["all", "first"]
    """`first`: the red channel alone, as in the reference code, whose loop stops after one channel"""


Preprocessing: TypeAlias = Scale | Standardize | Whiten | LocalContrast


# --- data sets ---


@option
class Digits:
    """The 8x8 digits of scikit-learn: 1,797 real images that need no download. They have no test split: a fixed part of
    each class becomes the test split, whatever the seed."""

    name: str = neutral(default="digits")
    test_images: int = renamed("test", bounds=AT_LEAST_1)
    """number of test images, drawn evenly from the classes"""
    validation_images: int = renamed("validation", bounds=AT_LEAST_0)
    """number of validation images, held out from the rest by class, drawn with `seed`"""
    pixel_max: float = bounded(POSITIVE)
    """raw pixel value that becomes 1.0"""
    preprocessing: Preprocessing
    train_share: float = added(default=1.0, bounds=_TRAIN_SHARE)
    """fraction of the training images that is trained on. Each class gives its share, drawn with `seed`. Preprocessing
    is still fitted on all of them, and validation and test images stay the same"""
    seed: int = 0
    """seed of the validation split and of the augmented versions"""

    channels: ClassVar[int] = 1
    height: ClassVar[int] = 8
    width: ClassVar[int] = 8
    classes: ClassVar[int] = 10


@option
class HubImages:
    """Images and labels in the layout of the Hugging Face hub, read from the hub or from a folder of Parquet files."""

    name: str = neutral()
    hub: str | None = neutral()
    """repository on the hub; None: the data set is not on the hub"""
    subset: str | None = neutral(default=None)
    """configuration of that repository, and the folder of its files"""
    revision: str | None = neutral()
    """commit, tag or branch of that repository"""
    path: str | None = location(default=None)
    """folder with `<split>-*.parquet`; None: download from the hub"""
    image_column: str | None = neutral(default=None)
    """None: the only column that holds encoded images"""
    label_column: str = neutral()
    train_split: str = neutral()
    extra_split: str | None = neutral(default=None)
    """split of further training images; None: there are none"""
    validation_split: str | None = neutral(default=None)
    """None: validation images are held out from the training splits"""
    test_split: str | None = neutral()
    """None: there is no test split"""

    channels: Literal[1, 3]
    """1: images become grey; 3: images become RGB"""
    height: int = bounded(AT_LEAST_1)
    width: int = bounded(AT_LEAST_1)
    classes: int = bounded(_CLASSES)
    pixel_max: float = bounded(POSITIVE)
    """raw pixel value that becomes 1.0"""
    validation_images: int = renamed("validation", bounds=AT_LEAST_0)
    """number of images held out from the train split"""
    extra_validation: int = bounded(AT_LEAST_0, default=0)
    """number of images held out from the extra split"""
    first_label: int = neutral(default=0)
    """label of the first class in the files: 1 where they count from 1"""
    skip_broken: bool = neutral(default=False)
    """leave out images that cannot be decoded, instead of refusing the data set"""
    validation_rule: Literal["last", "by_class", "equal"]
    """`last`: the last rows, in file order, as in the maxout recipes; `by_class`: a share of each class, drawn with
    `seed`; `equal`: the same number of each class, drawn with `seed`"""
    preprocessing: Preprocessing
    train_share: float = added(default=1.0, bounds=_TRAIN_SHARE)
    """fraction of the training images that is trained on. Each class gives its share, drawn with `seed`. Preprocessing
    is still fitted on all of them, and validation and test images stay the same"""
    seed: int = 0
    """seed of the validation split and of the augmented versions"""


@option
class Folder:
    """A folder of images with one sub-folder a class. The images have any size; they are resized and cropped to one
    size, before they are stored or, with `stored_size`, batch by batch. Folders train, val and test with class folders
    inside are the splits. Otherwise the split is drawn once, by class, and saved."""

    name: str = neutral(default="folder")
    path: str = location()
    split_file: str | None = location(default=None)
    """JSON file that assigns every image to a split, drawn and written if it does not exist; None: `split.json` in the
    folder"""
    channels: Literal[1, 3]
    """1: images become grey; 3: images become RGB"""
    height: int = bounded(AT_LEAST_1)
    width: int = bounded(AT_LEAST_1)
    stored_size: int | Literal["auto"] | None = added(default=None, bounds=AT_LEAST_1)
    """short side of the stored images, in pixels. They keep their proportions, so that random crops may take any part
    of them; larger images are shrunk to it, smaller ones stay as they are. `auto`: the short side that is resized to
    for `crop_share`; None: images are stored as networks get them, height x width"""
    crop_share: float = added(default=1.0, bounds=_CROP_SHARE)
    """without augmentation, networks see the centre of an image: its short side is resized to height / crop_share, and
    height x width pixels are cropped out (`crop_pct` in timm). Smaller than 1 only with `stored_size`"""
    squash: bool = added(default=False)
    """resize the whole image to height / crop_share x width / crop_share, whatever its proportions, in place of its
    short side"""
    interpolation: Interpolation = added(default="bicubic")
    """filter of every resizing; shrinking is always antialiased"""
    classes: int = bounded(_CLASSES)
    pixel_max: ClassVar[float] = 255
    skip_broken: bool = neutral(default=False)
    """leave out images that cannot be decoded, instead of refusing the data set"""
    validation_share: float = neutral(bounds=_SHARE)
    """fraction of each class that becomes the validation split when the split is drawn"""
    test_share: float = neutral(bounds=_SHARE)
    """fraction of each class that becomes the test split when the split is drawn"""
    preprocessing: Preprocessing
    train_share: float = added(default=1.0, bounds=_TRAIN_SHARE)
    """see `Digits.train_share`"""
    seed: int = 0
    """seed of the split when it is drawn, of `train_share`, and of the augmented versions"""

    @property
    def resized_side(self) -> int:
        """Return the short side, in pixels, that images are resized to before they are cropped at the centre. It is
        rounded down as in timm."""
        return int(max(self.height, self.width) / self.crop_share)


@option
class Photos(Folder):
    """A folder of photographs, which are stored with their proportions. Where a key is not given, the size and the view
    of the images are those of the teacher's own configuration."""

    name: str = neutral(default="photos")
    stored_size: int | Literal["auto"] | None = bounded(AT_LEAST_1, default="auto")
    """see `Folder.stored_size`"""
    crop_share: float = bounded(_CROP_SHARE)
    """see `Folder.crop_share`"""
    squash: bool
    """see `Folder.squash`"""
    interpolation: Interpolation
    """see `Folder.interpolation`"""


@option
class OwnImages:
    """A data set of the user's own. `target` is called with "train", "validation" and "test", and returns a map-style
    data set of (image, label) pairs, such as a `torch.utils.data.Dataset`, or None for a split that there is not.
    Images are PIL images, or arrays or tensors of whole numbers from 0 to 255 or of fractions k/255 from 0 to 1; all
    have one size. An attribute `classes` of the training set names the classes."""

    name: str = neutral(default="custom")
    target: str = neutral()
    """import path, `my_data.make`, in the current folder or in an installed package"""
    args: Any = neutral(default=None)
    """further arguments of the call, by name"""
    version: str | None = neutral(default=None)
    """your name for the images as they are now. With it they are read only once, and again when it changes; None: all
    images are read whenever a command starts, because they may have changed"""
    channels: Literal[1, 3]
    """1: images become grey; 3: images become RGB"""
    height: int = bounded(AT_LEAST_1)
    width: int = bounded(AT_LEAST_1)
    classes: int = bounded(_CLASSES)
    pixel_max: ClassVar[float] = 255
    validation_share: float = bounded(_SHARE)
    """fraction of each class of the training images that is held out for validation, if `target` returns no validation
    set; drawn with `seed`"""
    preprocessing: Preprocessing
    train_share: float = added(default=1.0, bounds=_TRAIN_SHARE)
    """see `Digits.train_share`"""
    seed: int = 0
    """seed of the validation split, of `train_share`, and of the augmented versions"""


Dataset: TypeAlias = Digits | HubImages | Folder | Photos | OwnImages


def image_shape(dataset: Dataset) -> tuple[int, int, int]:
    """(C, H, W) of the images of a data set."""
    return dataset.channels, dataset.height, dataset.width


# --- augmentation ---


@option
class Augmentation:
    """Random versions of the training images, drawn for each epoch.

    Images are flipped and shifted after they were preprocessed. Everything else changes them before, in 8 bits, in this
    order: random resized crop, flip, the policy, colour, mixing. It needs images with pixel values up to 255, and
    `dataset/preprocessing` scale or standardize."""

    flip: bool = False
    """mirror half of the images, left to right"""
    pad: int = bounded(AT_LEAST_0, default=0)
    """zeros added on every side, in pixels; the padded image is then cropped to its first size at a random place"""
    alternate: bool = added(default=False)
    """mirror an image in every second epoch, from the first or from the second epoch at random, in place of a new draw
    in each epoch (Jordan, 2024). It has an effect with `flip` alone"""
    crop_area: float | None = added(default=None, bounds=_CROP_AREA)
    """random resized crop (Szegedy et al., 2015): a crop of a random share of the image's area, from this one to 1, and
    of a random shape from 3:4 to 4:3, is resized to height x width; None: no such crop. Usual for photos: 0.08"""
    policy: Literal["none", "trivial", "rand"] = added(default="none")
    """`trivial`: TrivialAugment, one random operation of random strength; `rand`: RandAugment, several of one
    strength"""
    operations: int = added(default=2, bounds=AT_LEAST_1)
    """number of operations of `policy: rand`"""
    magnitude: int = added(default=9, bounds=_MAGNITUDE)
    """strength of `policy: rand`, from 0 to 30"""
    brightness: float = added(default=0.0, bounds=_COLOUR)
    """largest relative change of the brightness"""
    contrast: float = added(default=0.0, bounds=_COLOUR)
    """largest relative change of the contrast"""
    saturation: float = added(default=0.0, bounds=_COLOUR)
    """largest relative change of the colour's strength"""
    hue: float = added(default=0.0, bounds=_HUE)
    """largest turn of the colours, as a share of the circle"""
    mixup: float = added(default=0.0, bounds=AT_LEAST_0)
    """each image is blended with another; the share is drawn from the beta distribution with both parameters equal to
    this number (Zhang et al., 2018). 0: no mixup. Usual: 0.2"""
    cutmix: float = added(default=0.0, bounds=AT_LEAST_0)
    """a box of each image shows another one; the share is drawn as for `mixup` (Yun et al., 2019). 0: no CutMix. With
    both, each image gets one of them. Usual: 1"""

    @property
    def in_8_bits(self) -> bool:
        """True if images are changed before they are preprocessed."""
        colour = (self.brightness, self.contrast, self.saturation, self.hue)
        return self.crop_area is not None or self.policy != "none" or any(colour) or self.mixes

    @property
    def differs_by_view(self) -> bool:
        """True if every view shows other versions of the images, and not only mirrored ones."""
        return self.pad > 0 or self.in_8_bits

    @property
    def mixes(self) -> bool:
        """True if images are mixed in pairs."""
        return self.mixup > 0 or self.cutmix > 0
