// The step between two products of a stack (VERIFY.md section 15).
//
//   column_max:  largest[j] = the greatest magnitude in column j, as the bits of a binary32
//   add_scaled:  sum[i, j] = N(feed)[i mod m, j], or that added to what is there
//   finish:      v[i, j] = N(sum)[i, j], rounded to the dtype of the case
//
// N(x)[i, j] is x[i, j] times the power of two that brings the greatest magnitude of column j into [1, 2); what is below
// 2^-60 then is +0. A column whose greatest magnitude is below 2^-60 becomes zeros. Both factors' product is exact wherever it
// is kept.
//
// Defines: OUT_BF16 or OUT_F16, the type of the feed's elements or, in finish, the type that V is rounded to (round.cuh);
// STORE_F32, what is rounded is held as binary32.
//
// Grid: column_max          x = ceil(rows / ROWS), y = ceil(n / blockDim.x), a thread a column of ROWS rows
//       add_scaled, finish  x = rows, y = ceil(n / blockDim.x), a thread an element
//
// Arguments: row-major, no alignment beyond an element's
//   feed      row i at i * stride
//   largest   n words, zeros before column_max
//   place     for each of m rows of the feed the row where it lies, or -1 for a row of zeros; null: each at its own
//   sum       rows x n, without gaps
#include "round.cuh"

#define ROWS 64u
// 2^-60.
#define MAGNITUDE_MIN 0x1p-60f

#if defined(STORE_F32)
typedef float stored_t;
#else
typedef output_t stored_t;
#endif

// 2^-e of a magnitude from 2^e up to 2^(e + 1); 0 of a magnitude that counts as nothing.
__device__ __forceinline__ float scale_of(unsigned int magnitude)
{
    if (__uint_as_float(magnitude) < MAGNITUDE_MIN) {
        return 0.0f;
    }
    const unsigned int exponent = 254u - (magnitude >> 23);
    // 2^-127 is subnormal.
    return __uint_as_float(exponent == 0u ? 1u << 22 : exponent << 23);
}

__device__ __forceinline__ float normalised(float x, float scale)
{
    const float scaled = __fmul_rn(x, scale);
    const float magnitude = __uint_as_float(__float_as_uint(scaled) & 0x7fffffffu);
    return magnitude < MAGNITUDE_MIN ? 0.0f : scaled;
}

extern "C" __global__ void column_max(
    const output_t *__restrict__ feed, unsigned int stride, unsigned int rows, unsigned int n,
    unsigned int *__restrict__ largest)
{
    const unsigned int j = blockIdx.y * blockDim.x + threadIdx.x;
    if (j >= n) {
        return;
    }
    const unsigned int first = blockIdx.x * ROWS;
    const unsigned int last = first + ROWS < rows ? first + ROWS : rows;
    unsigned int most = 0u;
    for (unsigned int i = first; i < last; ++i) {
        // As integers, magnitudes have the order of their values.
        const unsigned int magnitude = __float_as_uint(widen(feed[(unsigned long long)i * stride + j])) & 0x7fffffffu;
        most = magnitude > most ? magnitude : most;
    }
    if (most != 0u) {
        atomicMax(largest + j, most);
    }
}

extern "C" __global__ void add_scaled(
    const output_t *__restrict__ feed, unsigned int stride, unsigned int m, const int *__restrict__ place,
    const unsigned int *__restrict__ largest, unsigned int n, unsigned int is_first, float *__restrict__ sum)
{
    const unsigned int j = blockIdx.y * blockDim.x + threadIdx.x;
    if (j >= n) {
        return;
    }
    const unsigned int i = blockIdx.x % m;
    const int row = place != 0 ? place[i] : (int)i;
    float term = 0.0f;
    if (row >= 0) {
        term = normalised(widen(feed[(unsigned long long)row * stride + j]), scale_of(largest[j]));
    }
    const unsigned long long at = (unsigned long long)blockIdx.x * n + j;
    sum[at] = is_first != 0u ? term : __fadd_rn(sum[at], term);
}

extern "C" __global__ void finish(
    const float *__restrict__ sum, const unsigned int *__restrict__ largest, unsigned int n, stored_t *__restrict__ v,
    unsigned int stride)
{
    const unsigned int j = blockIdx.y * blockDim.x + threadIdx.x;
    if (j >= n) {
        return;
    }
    const float x = normalised(sum[(unsigned long long)blockIdx.x * n + j], scale_of(largest[j]));
    const output_t rounded = round_output(x);
#if defined(STORE_F32)
    v[(unsigned long long)blockIdx.x * stride + j] = widen(rounded);
#else
    v[(unsigned long long)blockIdx.x * stride + j] = rounded;
#endif
}
