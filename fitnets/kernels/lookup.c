/* Preprocessed images from 8-bit ones: every pixel is looked up in a table. */

#include <omp.h>
#include <stdint.h>

/* out (count, channels, plane) = table[channel][pixel] for each pixel of the images (channels, plane) that lie at some
   addresses. table: (channels, 256). */
void lookup(const int64_t *addresses, int64_t count, int64_t channels, int64_t plane, const float *table,
            int64_t threads, float *out) {
    #pragma omp parallel for num_threads((int)threads) schedule(static)
    for (int64_t n = 0; n < count; n++) {
        const uint8_t *pixel = (const uint8_t *)(intptr_t)addresses[n];
        float *value = out + n * channels * plane;
        for (int64_t c = 0; c < channels; c++, pixel += plane, value += plane)
            for (int64_t p = 0; p < plane; p++)
                value[p] = table[c * 256 + pixel[p]];
    }
}
