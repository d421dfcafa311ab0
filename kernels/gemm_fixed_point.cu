// Y = A V in fixed-point-24 on any device: exact sums of integers in 64 bits, one rounding. Made for correctness at any
// shape; gemm_fixed_wgmma.cu is the fast one.
//
//   Y[i][j] = (sum over k of A'[i][k] * V'[k][j]) * 2^-(row_scale[i] + column_scale[j])
//
// Order: there is none. V's integers are made where they are loaded.
//
// Grid: x = row tiles, then ceil(dead_count / BM) blocks of dead rows; y = ceil(n / BN). 256 threads, each 4 x 4 outputs.
//
// a_packed      device, 16-byte aligned, i32[steps in all][BK][BM]: for row tile t from step first_step[t] on, the integers of
//               each of its k, of all its rows; zeros in padding rows and for padding k
// first_step    device, i32[row tiles + 1]
// k_list        device, i32[steps in all * BK]: k of each packed k; -1 for padding
// row_index     device, i32[row tiles * BM]: row of Y, or -1 for padding
// row_scale     device, i32[row tiles * BM]: e of the row, or NOT_FINITE
// dead_rows     device, i32[dead_count]: rows of Y that become +0
// v             device, floats, row r at v + r * v_stride; only rows of k_list are read
// column_scale  device, i32[n]: f of the column, or NOT_FINITE
// y             device, row r at y + r * y_stride, of the type that OUT_BF16 or OUT_F16 says; never -0
// row_tiles, dead_count, n, v_stride, y_stride  i32

#include "fixed_point.cuh"
#include "round.cuh"

#define BM 64
#define BN 64
#define BK 16
#define THREADS 256

extern "C" __global__ void __launch_bounds__(THREADS)
gemm_fixed_point(const int *__restrict__ a_packed, const int *__restrict__ first_step, const int *__restrict__ k_list,
                 const int *__restrict__ row_index, const int *__restrict__ row_scale, const int *__restrict__ dead_rows,
                 const float *__restrict__ v, const int *__restrict__ column_scale, output_t *__restrict__ y, int row_tiles,
                 int dead_count, int n, int v_stride, int y_stride)
{
    __shared__ __align__(16) int shared_a[BK][BM];
    __shared__ int shared_v[BK][BN];
    const int t = threadIdx.x, tile = blockIdx.x, first_column = blockIdx.y * BN;
    // The column that this thread loads.
    const int column = first_column + t % BN;
    if (tile >= row_tiles) {
        const int first = (tile - row_tiles) * BM;
        const int last = min(first + BM, dead_count);
        for (int i = first + t / BN; i < last && column < n; i += THREADS / BN) {
            y[(long long)dead_rows[i] * y_stride + column] = round_output(0.0f);
        }
        return;
    }
    const Scale scale = scale_of(column < n ? column_scale[column] : 0);
    const int tx = t % 16, ty = t / 16;
    long long sum[4][4] = {};
    for (int step = first_step[tile]; step < first_step[tile + 1]; ++step) {
        const int4 *from = (const int4 *)(a_packed + (long long)step * (BK * BM));
        ((int4 *)shared_a)[t] = from[t];
#pragma unroll
        for (int i = t / BN; i < BK; i += THREADS / BN) {
            const int k = k_list[(long long)step * BK + i];
            shared_v[i][t % BN] = k >= 0 && column < n ? integer_of(v[(long long)k * v_stride + column], scale) : 0;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < BK; ++k) {
            int a[4], b[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                a[i] = shared_a[k][ty * 4 + i];
                b[i] = shared_v[k][tx + 16 * i];
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) {
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    sum[i][j] += (long long)a[i] * b[j];
                }
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int row = row_index[(long long)tile * BM + ty * 4 + i];
        if (row < 0) {
            continue;
        }
        const int e = row_scale[(long long)tile * BM + ty * 4 + i];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const int at = first_column + tx + 16 * j;
            if (at < n) {
                y[(long long)row * y_stride + at] = round_output(output_of(sum[i][j], e, column_scale[at]));
            }
        }
    }
}
