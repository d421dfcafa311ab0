// V in fixed-point-24 as three digits of 8 bits with a sign, in fragments for gemm_fixed_mma.cu. The powers of two of its
// columns are those of fixed_columns.cu.
//
// Grid: x = column tiles * steps, the steps of a tile side by side; 256 threads: a warp has the 32 columns of a tile, and
// every eighth group of four k of a step.
//
// v       device, k x n floats, row r at v + r * v_stride
// k_list  device, i32[steps * 128]: k of each packed k, or -1; null: all k in place, then zeros
// scales  device, i32[n]
// images  device, words of 32 bits [column tiles][steps][4 quarters][3 digits][4 groups][32 lanes][2], every word is written: a
//         lane's words are column 8 * group + lane / 4 and four k from 32 * quarter + 4 * (lane % 4) (+ 16 for word 1) on
// k, n, v_stride, steps  i32

#include "fixed_point.cuh"

#define BN 32
#define STEP 128
#define SHARES 8

extern "C" __global__ void __launch_bounds__(BN * SHARES)
fixed_fragments(const float *__restrict__ v, const int *__restrict__ k_list, const int *__restrict__ scales,
                unsigned int *__restrict__ images, int k, int n, int v_stride, int steps)
{
    const int x = threadIdx.x % BN, share = threadIdx.x / BN;
    const int first = (int)(blockIdx.x % (unsigned int)steps) * STEP;
    const int column = (int)(blockIdx.x / (unsigned int)steps) * BN + x;
    const bool is_column = column < n;
    const Scale scale = scale_of(is_column ? scales[column] : 0);
    unsigned int *image = images + (long long)blockIdx.x * (3 * BN * STEP / 4);
#pragma unroll
    for (int i = share; i < STEP / 4; i += SHARES) {
        float values[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            int row = first + 4 * i + j;
            if (k_list != 0) {
                row = k_list[row];
            } else if (row >= k) {
                row = -1;
            }
            values[j] = is_column && row >= 0 ? v[(long long)row * v_stride + column] : 0.0f;
        }
        unsigned int words[3] = {0, 0, 0};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const unsigned int digits = digits_of(integer_of(values[j], scale));
#pragma unroll
            for (int d = 0; d < 3; ++d) {
                // Digit 0, the greatest, is byte 2.
                words[d] |= ((digits >> (8 * (2 - d))) & 0xffu) << (8 * j);
            }
        }
        const int quarter = i / 8, word = i / 4 % 2, lane = x % 8 * 4 + i % 4;
#pragma unroll
        for (int d = 0; d < 3; ++d) {
            image[(((quarter * 3 + d) * (BN / 8) + x / 8) * 32 + lane) * 2 + word] = words[d];
        }
    }
}
