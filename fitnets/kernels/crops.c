/* Random crops of zero-padded images, mirrored or not, in one pass. */

#include <omp.h>
#include <stdint.h>

/* out (count, height, width, channels) = the crop of each image (channels, height, width) that begins `down` rows and
   `right` columns into the image padded by `pad` zeros on every side. A mirrored crop shows its columns in reverse. */
void crops(const float *images, const int64_t *down, const int64_t *right, const int64_t *mirrored, int64_t count,
           int64_t channels, int64_t height, int64_t width, int64_t pad, int64_t threads, float *out) {
    const int64_t plane = height * width;
    #pragma omp parallel for num_threads((int)threads) schedule(static)
    for (int64_t n = 0; n < count; n++) {
        const float *image = images + n * channels * plane;
        float *pixel = out + n * channels * plane;
        for (int64_t y = 0; y < height; y++) {
            const int64_t row = y + down[n] - pad;
            for (int64_t x = 0; x < width; x++) {
                const int64_t column = (mirrored[n] ? width - 1 - x : x) + right[n] - pad;
                const int inside = row >= 0 && row < height && column >= 0 && column < width;
                for (int64_t c = 0; c < channels; c++)
                    *pixel++ = inside ? image[c * plane + row * width + column] : 0.0f;
            }
        }
    }
}
