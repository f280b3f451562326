/* Maxout of two linear pieces, with and without batch normalisation before it, for maps in channels-last layout.

   A map has `rows` = N H W rows of 2 `units` values: first those of piece 1, then those of piece 2. The rows are shared
   out among threads in equal parts, so results depend on the number of threads alone. Compiled once for float and once
   for bf16 (-DBF16). If the pieces tie, piece 1 wins. */

#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define ROWS_PER_SUM 128 /* rows that are added in float before their sum is added in double */

#ifdef BF16
typedef uint16_t value; /* the upper half of a float */
INLINE float load(value v) {
    uint32_t bits = (uint32_t)v << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}
INLINE value store(float f) { /* rounds to nearest, ties to even */
    uint32_t bits;
    memcpy(&bits, &f, 4);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (value)((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}
#else
typedef float value;
INLINE float load(value v) { return v; }
INLINE value store(float f) { return f; }
#endif

/* Runs STATEMENT with `unit_count` as a constant for the widths of the paper's networks, so that its loops unroll. */
#define WITH_CONSTANT(units, STATEMENT)                                                                                \
    switch (units) {                                                                                                   \
        case 16: { enum { unit_count = 16 }; STATEMENT; break; }                                                       \
        case 32: { enum { unit_count = 32 }; STATEMENT; break; }                                                       \
        case 48: { enum { unit_count = 48 }; STATEMENT; break; }                                                       \
        case 64: { enum { unit_count = 64 }; STATEMENT; break; }                                                       \
        case 80: { enum { unit_count = 80 }; STATEMENT; break; }                                                       \
        case 96: { enum { unit_count = 96 }; STATEMENT; break; }                                                       \
        case 128: { enum { unit_count = 128 }; STATEMENT; break; }                                                     \
        default: { const int unit_count = (int)(units); STATEMENT; }                                                   \
    }

/* Runs STATEMENT in every thread for its rows `begin` to `end`. */
#define IN_PARALLEL(threads, rows, STATEMENT)                                                                          \
    _Pragma("omp parallel num_threads((int)threads)") {                                                                \
        int64_t thread = omp_get_thread_num(), team = omp_get_num_threads();                                           \
        int64_t begin = rows * thread / team, end = rows * (thread + 1) / team;                                        \
        STATEMENT;                                                                                                     \
    }

/* ADD(row) adds one row to the floats `sums[0 .. width)`. After each ROWS_PER_SUM rows they are added to the thread's
   doubles, and in the end all threads' doubles are added to `total`, in the order of the threads. */
#define SUM_IN_PARALLEL(threads, rows, width, total, ADD)                                                              \
    {                                                                                                                  \
        double *partial = calloc((size_t)threads * (width), sizeof(double));                                          \
        if (!partial) return 1;                                                                                        \
        int failed = 0;                                                                                                \
        IN_PARALLEL(threads, rows, {                                                                                   \
            float *sums = malloc((width) * sizeof(float));                                                            \
            if (!sums) failed = 1;                                                                                     \
            for (int64_t block = begin; sums && block < end; block += ROWS_PER_SUM) {                                  \
                int64_t block_end = block + ROWS_PER_SUM < end ? block + ROWS_PER_SUM : end;                           \
                memset(sums, 0, (width) * sizeof(float));                                                              \
                for (int64_t row = block; row < block_end; row++) ADD;                                                 \
                for (int64_t i = 0; i < (width); i++) partial[thread * (width) + i] += sums[i];                        \
            }                                                                                                          \
            free(sums);                                                                                                \
        })                                                                                                             \
        for (int64_t i = 0; i < (width); i++) {                                                                        \
            total[i] = 0;                                                                                              \
            for (int64_t t = 0; t < threads; t++) total[i] += partial[t * (width) + i];                                \
        }                                                                                                              \
        free(partial);                                                                                                 \
        return failed;                                                                                                 \
    }

/* --- maxout alone --- */

INLINE void maximum_row(const value *restrict z, const int units, value *restrict out) {
    _Pragma("omp simd")
    for (int i = 0; i < units; i++) out[i] = load(z[units + i]) > load(z[i]) ? z[units + i] : z[i];
}

INLINE void maximum_gradient_row(const value *restrict z, const value *restrict g, const int units,
                                 value *restrict out) {
    _Pragma("omp simd")
    for (int i = 0; i < units; i++) {
        int second = load(z[units + i]) > load(z[i]);
        out[i] = second ? (value)0 : g[i];
        out[units + i] = second ? g[i] : (value)0;
    }
}

/* out (rows, units) = the larger piece of z (rows, 2 units). */
void maximum(const value *z, int64_t rows, int64_t units, int64_t threads, value *out) {
    IN_PARALLEL(threads, rows, WITH_CONSTANT(units, for (int64_t row = begin; row < end; row++)
        maximum_row(z + row * 2 * unit_count, unit_count, out + row * unit_count)))
}

/* out (rows, 2 units) = the gradient of `maximum` with respect to z, from its gradient g (rows, units). */
void maximum_gradient(const value *z, const value *g, int64_t rows, int64_t units, int64_t threads, value *out) {
    IN_PARALLEL(threads, rows, WITH_CONSTANT(units, for (int64_t row = begin; row < end; row++)
        maximum_gradient_row(z + row * 2 * unit_count, g + row * unit_count, unit_count, out + row * 2 * unit_count)))
}

/* --- batch normalisation, then maxout --- */

INLINE void moments_row(const value *restrict z, const float *restrict centre, const int channels,
                        float *restrict sums) {
    _Pragma("omp simd")
    for (int i = 0; i < channels; i++) {
        float d = load(z[i]) - centre[i];
        sums[i] += d;
        sums[channels + i] += d * d;
    }
}

/* total (2, 2 units) = for each channel the sums of z - centre and of its square. Returns 1 if memory runs out. */
int moments(const value *z, const float *centre, int64_t rows, int64_t units, int64_t threads, double *total) {
    const int64_t width = 4 * units;
    SUM_IN_PARALLEL(threads, rows, width, total,
        WITH_CONSTANT(units, moments_row(z + row * 2 * unit_count, centre, 2 * unit_count, sums)))
}

INLINE void normalised_row(const value *restrict z, const float *restrict scale, const float *restrict shift,
                           const int units, value *restrict out) {
    _Pragma("omp simd")
    for (int i = 0; i < units; i++) {
        float first = load(z[i]) * scale[i] + shift[i];
        float second = load(z[units + i]) * scale[units + i] + shift[units + i];
        out[i] = store(second > first ? second : first);
    }
}

/* out (rows, units) = the larger piece of z scale + shift. */
void normalised(const value *z, const float *scale, const float *shift, int64_t rows, int64_t units, int64_t threads,
                value *out) {
    IN_PARALLEL(threads, rows, WITH_CONSTANT(units, for (int64_t row = begin; row < end; row++)
        normalised_row(z + row * 2 * unit_count, scale, shift, unit_count, out + row * unit_count)))
}

INLINE void gradient_sums_row(const value *restrict z, const value *restrict g, const float *restrict scale,
                              const float *restrict shift, const float *restrict mean, const int units,
                              float *restrict sums) {
    _Pragma("omp simd")
    for (int i = 0; i < units; i++) {
        float z1 = load(z[i]), z2 = load(z[units + i]), d = load(g[i]);
        int second = z2 * scale[units + i] + shift[units + i] > z1 * scale[i] + shift[i];
        float d1 = second ? 0.0f : d, d2 = second ? d : 0.0f;
        sums[i] += d1;
        sums[units + i] += d2;
        sums[2 * units + i] += d1 * (z1 - mean[i]);
        sums[3 * units + i] += d2 * (z2 - mean[units + i]);
    }
}

/* total (2, 2 units) = for each channel the sums of the gradient that it gets, and of that times z - mean. Returns 1 if
   memory runs out. */
int gradient_sums(const value *z, const value *g, const float *scale, const float *shift, const float *mean,
                  int64_t rows, int64_t units, int64_t threads, double *total) {
    const int64_t width = 4 * units;
    SUM_IN_PARALLEL(threads, rows, width, total,
        WITH_CONSTANT(units, gradient_sums_row(z + row * 2 * unit_count, g + row * unit_count, scale, shift, mean,
                                               unit_count, sums)))
}

INLINE void gradient_row(const value *restrict z, const value *restrict g, const float *restrict scale,
                         const float *restrict shift, const float *restrict slope, const float *restrict offset,
                         const int units, value *restrict out) {
    _Pragma("omp simd")
    for (int i = 0; i < units; i++) {
        float z1 = load(z[i]), z2 = load(z[units + i]), d = load(g[i]);
        int second = z2 * scale[units + i] + shift[units + i] > z1 * scale[i] + shift[i];
        float d1 = second ? 0.0f : d, d2 = second ? d : 0.0f;
        out[i] = store(scale[i] * d1 + (slope[i] * z1 + offset[i]));
        out[units + i] = store(scale[units + i] * d2 + (slope[units + i] * z2 + offset[units + i]));
    }
}

/* out (rows, 2 units) = scale (the gradient that a channel gets) + slope z + offset. */
void gradient(const value *z, const value *g, const float *scale, const float *shift, const float *slope,
              const float *offset, int64_t rows, int64_t units, int64_t threads, value *out) {
    IN_PARALLEL(threads, rows, WITH_CONSTANT(units, for (int64_t row = begin; row < end; row++)
        gradient_row(z + row * 2 * unit_count, g + row * unit_count, scale, shift, slope, offset, unit_count,
                     out + row * 2 * unit_count)))
}
