// Y = A V under f32-sliced: per output one chain of fused multiply-adds per slice, each in ascending k,
// and the slices' sums added in ascending slice order. One slice is f32-chain.
//
// Grid (m, ceil(n / blockDim.x)): a thread an output. Any shape, no alignment beyond an element's.
//
// slice_offsets: m * slices + 1 ints, device; row i's slice s holds entries
//     slice_offsets[i * slices + s] to slice_offsets[i * slices + s + 1].
// col_indices: nnz ints, device, ascending within a slice. values: nnz floats, device.
// v: k rows of n floats, row r at v + r * v_stride. y: m rows of n elements, row r at y + r * y_stride,
//     of the type that OUT_BF16 or OUT_F16 says, f32 without.

#include "round.cuh"

extern "C" __global__ void spmm_sliced(
    const int *__restrict__ slice_offsets, const int *__restrict__ col_indices,
    const float *__restrict__ values, const float *__restrict__ v, output_t *__restrict__ y,
    int n, int slices, int v_stride, int y_stride)
{
    const int row = blockIdx.x;
    const int col = blockIdx.y * blockDim.x + threadIdx.x;
    if (col >= n) {
        return;
    }
    const int *offsets = slice_offsets + (long long)row * slices;
    float total = 0.0f;
    for (int s = 0; s < slices; ++s) {
        float sum = 0.0f;
        for (int e = offsets[s]; e < offsets[s + 1]; ++e) {
            sum = __fmaf_rn(values[e], v[(long long)col_indices[e] * v_stride + col], sum);
        }
        total = s == 0 ? sum : __fadd_rn(total, sum);
    }
    y[(long long)row * y_stride + col] = round_output(total);
}
