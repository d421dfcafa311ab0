// Y = A V under a tensor core's rule, followed with integers: for architectures other than the device's own, and
// to compare its tensor cores with.
//
// Per group of GROUP products in ascending k: exact products, exponents added and not renormalised; the
// accumulator and the products are aligned to the largest exponent E among those that are not zero, each magnitude
// truncated to a multiple of 2^(E - FRACTION_BITS); the exact sum, truncated to 24 bits, is the next
// accumulator. A group without non-zeros of A may be left out: it changes no bit for FRACTION_BITS >= 23.
//
// Defines: GROUP, FRACTION_BITS, EXPONENT_MIN (of an operand), EXPONENT_FLOOR (E is at least this),
// ROUND_TF32 (operands are rounded to 11 bits).
// Grid (m, ceil(n / blockDim.x)): a thread an output. Any shape, no alignment beyond an element's.
//
// group_offsets: m + 1 ints, device; row i has groups group_offsets[i] to group_offsets[i + 1].
// groups: ints, device: index g of a group that holds k from g * GROUP on; ascending in a row.
// values: GROUP floats a group, device; zeros beyond k. v: k rows of n floats, row r at v + r * v_stride.
// y: m rows of n elements, row r at y + r * y_stride, of the type that OUT_BF16 or OUT_F16 says.

#include "round.cuh"

// Fraction bits of an exact product of two significands.
#define PRODUCT_FRACTION_BITS 46

__device__ __forceinline__ float round_operand(float x)
{
#ifdef ROUND_TF32
    const unsigned int bits = __float_as_uint(x);
    return __uint_as_float((bits + 0x0fffu + ((bits >> 13) & 1u)) & ~0x1fffu);
#else
    return x;
#endif
}

// x = significand * 2^(exponent - 23), the exponent at least exponent_min.
__device__ __forceinline__ long long split(float x, int exponent_min, int *exponent)
{
    const unsigned int bits = __float_as_uint(x);
    const int field = (bits >> 23) & 0xff;
    long long significand = (bits & 0x7fffffu) | (field > 0 ? 0x800000u : 0u);
    int e = (field > 0 ? field : 1) - 127;
    if (e < exponent_min) {
        significand >>= exponent_min - e;
        e = exponent_min;
    }
    *exponent = e;
    return (bits >> 31) ? -significand : significand;
}

__device__ __forceinline__ long long align(long long value, int exponent, int top)
{
    int shift = PRODUCT_FRACTION_BITS - FRACTION_BITS + top - exponent;
    shift = shift > 63 ? 63 : shift;
    const long long magnitude = (value < 0 ? -value : value) >> shift;
    return value < 0 ? -magnitude : magnitude;
}

// magnitude * 2^scale, truncated to 24 bits and to a multiple of 2^-149.
__device__ __forceinline__ float truncate(long long sum, int scale)
{
    unsigned long long magnitude = sum < 0 ? -sum : sum;
    if (magnitude == 0) {
        return 0.0f;
    }
    const unsigned int sign = sum < 0 ? 0x80000000u : 0u;
    const int top = 63 - __clzll(magnitude);
    int drop = top > 23 ? top - 23 : 0;
    const int coarser = -149 - scale;
    drop = coarser > drop ? coarser : drop;
    if (drop > 63) {
        return __uint_as_float(sign);
    }
    magnitude >>= drop;
    const int exponent = scale + drop;
    if (magnitude == 0) {
        return __uint_as_float(sign);
    }
    // magnitude < 2^24, and the result is magnitude * 2^exponent with exponent >= -149.
    const int leading = 63 - __clzll(magnitude);
    if (leading + exponent > 127) {
        return __uint_as_float(sign | 0x7f800000u);
    }
    if (leading + exponent < -126) {
        return __uint_as_float(sign | (unsigned int)(magnitude << (exponent + 149)));
    }
    const unsigned int fraction = (unsigned int)(magnitude << (23 - leading)) & 0x7fffffu;
    return __uint_as_float(sign | ((unsigned int)(leading + exponent + 127) << 23) | fraction);
}

__device__ __forceinline__ bool is_finite(float x)
{
    return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u;
}

extern "C" __global__ void tensor_core_model(
    const int *__restrict__ group_offsets, const int *__restrict__ groups,
    const float *__restrict__ values, const float *__restrict__ v, output_t *__restrict__ y,
    int k, int n, int v_stride, int y_stride)
{
    const int row = blockIdx.x;
    const int col = blockIdx.y * blockDim.x + threadIdx.x;
    if (col >= n) {
        return;
    }
    float c = 0.0f;
    for (int at = group_offsets[row]; at < group_offsets[row + 1]; ++at) {
        if (!is_finite(c)) {
            break;
        }
        const int first = groups[at] * GROUP;
        long long product[GROUP];
        int exponent[GROUP];
        int top = EXPONENT_FLOOR;
        float overflow = 0.0f;
        bool overflows = false;
        for (int i = 0; i < GROUP; ++i) {
            const float a = round_operand(values[(long long)at * GROUP + i]);
            const float b = first + i < k ? round_operand(v[(long long)(first + i) * v_stride + col]) : 0.0f;
            product[i] = 0;
            exponent[i] = 0;
            if (a == 0.0f || b == 0.0f) {
                continue;
            }
            if (!is_finite(a) || !is_finite(b)) {
                overflow = overflows ? __fadd_rn(overflow, __fmul_rn(a, b)) : __fmul_rn(a, b);
                overflows = true;
                continue;
            }
            int ea, eb;
            product[i] = split(a, EXPONENT_MIN, &ea) * split(b, EXPONENT_MIN, &eb);
            exponent[i] = ea + eb;
            top = exponent[i] > top ? exponent[i] : top;
        }
        if (overflows) {
            c = overflow;
            continue;
        }
        long long accumulator = 0;
        int c_exponent = 0;
        if (c != 0.0f) {
            accumulator = split(c, -126, &c_exponent) * (1ll << 23);
            top = c_exponent > top ? c_exponent : top;
        }
        long long sum = accumulator == 0 ? 0 : align(accumulator, c_exponent, top);
        for (int i = 0; i < GROUP; ++i) {
            if (product[i] != 0) {
                sum += align(product[i], exponent[i], top);
            }
        }
        c = truncate(sum, top - FRACTION_BITS);
    }
    y[(long long)row * y_stride + col] = round_output(c);
}
