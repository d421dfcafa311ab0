// The powers of two of V's columns in fixed-point-24, from their largest magnitudes.
//
// Grid: x = ceil(n / 32), 1024 threads: 32 columns by 32 shares of k.
//
// v       device, k x n floats, row r at v + r * v_stride
// scales  device, i32[n], every element is written: from -106 to 171, or NOT_FINITE
// k, n, v_stride  i32, v_stride >= n

#include "fixed_point.cuh"

#define COLUMNS 32
#define SHARES 32

extern "C" __global__ void __launch_bounds__(COLUMNS * SHARES)
fixed_columns(const float *__restrict__ v, int *__restrict__ scales, int k, int n, int v_stride)
{
    __shared__ unsigned int shared[SHARES][COLUMNS];
    const int x = threadIdx.x % COLUMNS, share = threadIdx.x / COLUMNS;
    const int column = blockIdx.x * COLUMNS + x;
    unsigned int largest = 0;
    if (column < n) {
#pragma unroll 8
        for (int at = share; at < k; at += SHARES) {
            const unsigned int bits = magnitude_bits(v[(long long)at * v_stride + column]);
            largest = bits > largest ? bits : largest;
        }
    }
    shared[share][x] = largest;
    __syncthreads();
    if (share == 0 && column < n) {
        for (int i = 1; i < SHARES; ++i) {
            largest = shared[i][x] > largest ? shared[i][x] : largest;
        }
        scales[column] = log2_scale(largest);
    }
}
