"""The compiled loop gives the planes that NumPy gives."""

import numpy as np
import pytest

from fitnets.kernels import library, planes


@pytest.mark.skipif(library._compiler() is None, reason="needs a C compiler: cc, gcc or clang")
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (33, 64)])
def test_planes_are_those_of_numpy(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 4), dtype=np.uint8)
    compiled = planes.of_pixels(pixels)
    np.testing.assert_array_equal(compiled, pixels[..., :3].transpose(2, 0, 1))
    assert compiled.flags.c_contiguous
    np.testing.assert_array_equal(planes.of_pixels(pixels[..., :3]), compiled)
    np.testing.assert_array_equal(planes.of_pixels(pixels[::-1]), compiled[:, ::-1])
