// The type of Y, and the one rounding of a binary32 result to it: to nearest, ties to even. -0 becomes +0.
// OUT_BF16 and OUT_F16 choose the type as raw 16-bit words; without them it is float.
#pragma once

#if defined(OUT_BF16) || defined(OUT_F16)
typedef unsigned short output_t;
#else
typedef float output_t;
#endif

__device__ __forceinline__ output_t round_output(float y)
{
    y = __fadd_rn(y, 0.0f);
#if defined(OUT_BF16)
    unsigned int bits = __float_as_uint(y);
    // Infinities stay what they are; a NaN keeps a bit of its payload.
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (output_t)((bits >> 16) | 0x40u);
    }
    bits += 0x7fffu + ((bits >> 16) & 1u);
    bits >>= 16;
    // What rounded to -0.
    return (output_t)(bits == 0x8000u ? 0u : bits);
#elif defined(OUT_F16)
    unsigned int bits = __float_as_uint(y);
    const unsigned int sign = (bits >> 16) & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) {
        return (output_t)(sign | 0x7e00u);
    }
    unsigned int half;
    if (bits >= 0x477ff000u) {
        // 65520 and more.
        half = 0x7c00u;
    } else if (bits >= 0x38800000u) {
        const unsigned int rebased = bits - 0x38000000u;
        half = (rebased + 0x0fffu + ((rebased >> 13) & 1u)) >> 13;
    } else {
        // Subnormal: the sum's rounding leaves the significand, in units of 2^-24, in its last bits.
        half = __float_as_uint(__fadd_rn(__uint_as_float(bits), 0.5f)) - 0x3f000000u;
    }
    return (output_t)(half == 0u ? 0u : (sign | half));
#else
    return y;
#endif
}

// The value of what rounding left; exact.
__device__ __forceinline__ float widen(output_t x)
{
#if defined(OUT_BF16)
    return __uint_as_float((unsigned int)x << 16);
#elif defined(OUT_F16)
    // The exponent's bias is 112 less; infinities and NaN's, which no input has, keep theirs.
    const unsigned int magnitude = ((unsigned int)x & 0x7fffu) << 13;
    const unsigned int sign = ((unsigned int)x & 0x8000u) << 16;
    if (magnitude >= 0x0f800000u) {
        return __uint_as_float(sign | 0x70000000u | magnitude);
    }
    return __uint_as_float(sign | __float_as_uint(__fmul_rn(__uint_as_float(magnitude), 0x1p112f)));
#else
    return x;
#endif
}
