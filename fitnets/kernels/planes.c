/* Images with one plane for each channel, from pixels whose channels lie side by side. */

#include <stdint.h>

/* out (3, count) = the first three values of each pixel. pixels: (count, 4). */
void planes(const uint8_t *pixels, int64_t count, uint8_t *out) {
    uint8_t *restrict red = out, *restrict green = out + count, *restrict blue = out + 2 * count;
    for (int64_t p = 0; p < count; p++) {
        red[p] = pixels[4 * p];
        green[p] = pixels[4 * p + 1];
        blue[p] = pixels[4 * p + 2];
    }
}
