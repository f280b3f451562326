/* Crops of 8-bit images, resized with antialiasing. Pixels are those of Pillow's Image.resize(size, filter, box). */

#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Weights are whole numbers of 2^-22, as Pillow's. */
#define BITS 22

static double triangle(double x) {
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static double cubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    return x < 2.0 ? (((x - 5) * x + 8) * x - 4) * a : 0.0;
}

static double sinc(double x) { return x == 0.0 ? 1.0 : sin(x * M_PI) / (x * M_PI); }

static double lanczos(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

typedef struct {
    double (*weight)(double);
    double support;
} Filter;

static const Filter FILTERS[] = {{triangle, 1.0}, {cubic, 2.0}, {lanczos, 3.0}};

/* The weights of one axis. Output line y is the sum over k < count[y] of weight[y * taps + k] * input line first[y] + k.
 */
typedef struct {
    int64_t size, taps;
    int32_t *first, *count, *weight;
} Axis;

static int64_t most_taps(const Filter *filter, double length, int64_t size) {
    const double scale = length / size > 1.0 ? length / size : 1.0;
    return (int64_t)ceil(filter->support * scale) * 2 + 1;
}

/* Fill an axis for the part of the input from `start` to `start` + `length`. row: room for the weights of a line. */
static void fill(Axis *axis, const Filter *filter, int64_t input, double start, double length, double *row) {
    const double scale = length / axis->size, filter_scale = scale > 1.0 ? scale : 1.0;
    const double support = filter->support * filter_scale, step = 1.0 / filter_scale;
    for (int64_t y = 0; y < axis->size; y++) {
        const double centre = start + (y + 0.5) * scale;
        int64_t first = (int64_t)(centre - support + 0.5), end = (int64_t)(centre + support + 0.5);
        double sum = 0.0;
        first = first < 0 ? 0 : first;
        end = end > input ? input : end;
        for (int64_t k = 0; k < end - first; k++)
            sum += row[k] = filter->weight((k + first - centre + 0.5) * step);
        for (int64_t k = 0; k < end - first; k++) {
            const double weight = (sum != 0.0 ? row[k] / sum : row[k]) * (1 << BITS);
            axis->weight[y * axis->taps + k] = (int32_t)(weight < 0 ? weight - 0.5 : weight + 0.5);
        }
        axis->first[y] = (int32_t)first;
        axis->count[y] = (int32_t)(end - first);
    }
}

/* 16 bytes. Rows of 16 of them are turned into columns in registers. */
typedef uint8_t Bytes __attribute__((vector_size(16)));

static inline Bytes low(Bytes a, Bytes b) {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}

static inline Bytes high(Bytes a, Bytes b) {
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

/* out (columns, rows) = in (rows, columns). Lines of `in` are `in_step` bytes apart, those of `out` `out_step`. */
static void transpose(const uint8_t *restrict in, int64_t in_step, int64_t rows, int64_t columns, uint8_t *restrict out,
                      int64_t out_step) {
    int64_t y = 0;
    for (; y + 16 <= rows; y += 16) {
        int64_t x = 0;
        for (; x + 16 <= columns; x += 16) {
            Bytes line[16], mixed[16];
            for (int i = 0; i < 16; i++)
                memcpy(&line[i], in + (y + i) * in_step + x, 16);
            for (int round = 0; round < 4; round++) { /* each round interleaves line i with line i + 8 */
                for (int i = 0; i < 8; i++) {
                    mixed[2 * i] = low(line[i], line[i + 8]);
                    mixed[2 * i + 1] = high(line[i], line[i + 8]);
                }
                memcpy(line, mixed, sizeof line);
            }
            for (int i = 0; i < 16; i++)
                memcpy(out + (x + i) * out_step + y, &line[i], 16);
        }
        for (; x < columns; x++)
            for (int i = 0; i < 16; i++)
                out[x * out_step + y + i] = in[(y + i) * in_step + x];
    }
    for (; y < rows; y++)
        for (int64_t x = 0; x < columns; x++)
            out[x * out_step + y] = in[y * in_step + x];
}

/* Resize the lines of an image (axis: how lines become output lines) to out (axis.size, length). Lines of `in`, which
   begins with line `begin`, are `in_step` bytes apart, those of `out` `out_step`. sum: room for a line. */
static void resize_lines(const Axis *axis, const uint8_t *restrict in, int64_t in_step, int64_t begin, int64_t length,
                         int32_t *restrict sum, uint8_t *restrict out, int64_t out_step) {
    for (int64_t y = 0; y < axis->size; y++) {
        const int32_t *weight = axis->weight + y * axis->taps;
        const uint8_t *line = in + (axis->first[y] - begin) * in_step;
        uint8_t *result = out + y * out_step;
        for (int64_t x = 0; x < length; x++)
            sum[x] = 1 << (BITS - 1);
        for (int64_t k = 0; k < axis->count[y]; k++, line += in_step)
            for (int64_t x = 0; x < length; x++)
                sum[x] += weight[k] * line[x];
        for (int64_t x = 0; x < length; x++) {
            const int32_t pixel = sum[x] >> BITS;
            result[x] = (uint8_t)(pixel < 0 ? 0 : pixel > 255 ? 255 : pixel);
        }
    }
}

typedef struct {
    Axis down, across;
    uint8_t *turned, *narrow, *lines;
    int32_t *sum;
    double *row;
} Workspace;

static int allocate(Axis *axis, int64_t size, int64_t taps) {
    axis->size = size;
    axis->taps = taps;
    axis->first = malloc(sizeof(int32_t) * size);
    axis->count = malloc(sizeof(int32_t) * size);
    axis->weight = malloc(sizeof(int32_t) * size * taps);
    return axis->first && axis->count && axis->weight;
}

static void release(Axis *axis) { free(axis->first), free(axis->count), free(axis->weight); }

/* Resize a crop of one channel (rows, columns) to out (height, width): across first, as Pillow does it. */
static void resize_channel(const Workspace *work, const uint8_t *image, int64_t columns, uint8_t *out) {
    const Axis *down = &work->down, *across = &work->across;
    const int64_t height = down->size, width = across->size;
    const int64_t top = down->first[0], rows = down->first[height - 1] + down->count[height - 1] - top;
    const int64_t left = across->first[0], used = across->first[width - 1] + across->count[width - 1] - left;
    transpose(image + top * columns + left, columns, rows, used, work->turned, rows);
    resize_lines(across, work->turned, rows, left, rows, work->sum, work->narrow, rows);
    transpose(work->narrow, rows, width, rows, work->lines, width);
    resize_lines(down, work->lines, width, top, width, work->sum, out, width);
}

/* Crops (count, channels, height, width) of images (channels, rows, columns) that lie at some addresses.
   sizes: (count, 2), rows and columns of each image. boxes: (count, 4), top, left, bottom and right of each crop in its
   image. mirrored: (count,). filter: 0 triangle (bilinear), 1 cubic, 2 Lanczos. Returns 1 if memory runs out. */
int resize(const int64_t *addresses, const int64_t *sizes, const float *boxes, const int64_t *mirrored, int64_t count,
           int64_t channels, int64_t height, int64_t width, int64_t filter, int64_t threads, uint8_t *out) {
    const Filter *chosen = FILTERS + filter;
    int64_t most_rows = 1, most_columns = 1, taps_down = 1, taps_across = 1;
    for (int64_t n = 0; n < count; n++) {
        const float *box = boxes + 4 * n;
        const int64_t down = most_taps(chosen, box[2] - box[0], height);
        const int64_t across = most_taps(chosen, box[3] - box[1], width);
        most_rows = sizes[2 * n] > most_rows ? sizes[2 * n] : most_rows;
        most_columns = sizes[2 * n + 1] > most_columns ? sizes[2 * n + 1] : most_columns;
        taps_down = down > taps_down ? down : taps_down;
        taps_across = across > taps_across ? across : taps_across;
    }
    int failed = 0;
    #pragma omp parallel num_threads((int)threads)
    {
        Workspace work = {
            .turned = malloc(most_rows * most_columns), .narrow = malloc(most_rows * width),
            .lines = malloc(most_rows * width),
            .sum = malloc(sizeof(int32_t) * (most_rows > width ? most_rows : width)),
            .row = malloc(sizeof(double) * (taps_down > taps_across ? taps_down : taps_across)),
        };
        const int has_axes = allocate(&work.down, height, taps_down) & allocate(&work.across, width, taps_across);
        const int ready = has_axes && work.turned && work.narrow && work.lines && work.sum && work.row;
        if (!ready) {
            #pragma omp atomic write
            failed = 1;
        }
        #pragma omp for schedule(dynamic)
        for (int64_t n = 0; n < count; n++) {
            if (!ready)
                continue;
            const int64_t rows = sizes[2 * n], columns = sizes[2 * n + 1];
            const float *box = boxes + 4 * n;
            fill(&work.down, chosen, rows, box[0], box[2] - box[0], work.row);
            fill(&work.across, chosen, columns, box[1], box[3] - box[1], work.row);
            for (int64_t c = 0; c < channels; c++) {
                const uint8_t *image = (const uint8_t *)(intptr_t)addresses[n] + c * rows * columns;
                uint8_t *result = out + (n * channels + c) * height * width;
                resize_channel(&work, image, columns, result);
                for (int64_t y = 0; mirrored[n] && y < height; y++)
                    for (int64_t x = 0; x < width / 2; x++) {
                        uint8_t *line = result + y * width, kept = line[x];
                        line[x] = line[width - 1 - x];
                        line[width - 1 - x] = kept;
                    }
            }
        }
        release(&work.down), release(&work.across);
        free(work.turned), free(work.narrow), free(work.lines), free(work.sum), free(work.row);
    }
    return failed;
}
