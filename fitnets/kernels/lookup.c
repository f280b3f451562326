/* Preprocessed images from 8-bit ones: every pixel is looked up in a table. */

#include <omp.h>
#include <stdint.h>
#include <string.h>

/* Eight pixels at a time, from one register: processors gather more slowly than they load one value after the other. */
static void look_up(const uint8_t *pixels, int64_t count, const float *table, float *restrict values) {
    int64_t p = 0;
    for (; p + 8 <= count; p += 8) {
        uint64_t eight;
        memcpy(&eight, pixels + p, 8);
        for (int i = 0; i < 8; i++, eight >>= 8)
            values[p + i] = table[eight & 255];
    }
    for (; p < count; p++)
        values[p] = table[pixels[p]];
}

/* out (count, channels, plane) = table[channel][pixel] for each pixel of the images (channels, plane) that lie at some
   addresses. table: (channels, 256). */
void lookup(const int64_t *addresses, int64_t count, int64_t channels, int64_t plane, const float *table,
            int64_t threads, float *out) {
    #pragma omp parallel for num_threads((int)threads) schedule(static)
    for (int64_t n = 0; n < count; n++) {
        const uint8_t *pixel = (const uint8_t *)(intptr_t)addresses[n];
        float *value = out + n * channels * plane;
        for (int64_t c = 0; c < channels; c++, pixel += plane, value += plane)
            look_up(pixel, plane, table + c * 256, value);
    }
}
