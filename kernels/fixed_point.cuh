// The rule of fixed-point-24 (VERIFY.md, section 4): the power of two of a row of A or a column of V, an element's integer,
// and the one rounding of an exact sum.
#pragma once

// The power of a row or a column of which a value is not finite: its outputs are no number.
#define NOT_FINITE (1 << 20)

// 2^e as binary32, e from -126 to 127.
__device__ __forceinline__ float power_of_two(int e) { return __uint_as_float((unsigned int)(e + 127) << 23); }

// A magnitude's bits, which are ordered as the magnitudes are; 0x7f800000 and more are not finite.
__device__ __forceinline__ unsigned int magnitude_bits(float x) { return __float_as_uint(x) & 0x7fffffffu; }

// The largest e for which the magnitude times 2^e, rounded to an integer, is at most 0x7f7f7f: from -106 to 171.
__device__ __forceinline__ int log2_scale(unsigned int largest)
{
    if (largest == 0) {
        return 0;
    }
    if (largest >= 0x7f800000u) {
        return NOT_FINITE;
    }
    unsigned int significand = largest & 0x7fffffu;
    int exponent = (int)(largest >> 23);
    if (exponent == 0) {
        const int up = __clzll(significand) - 40;
        significand <<= up;
        exponent = 1 - up;
    } else {
        significand |= 0x800000u;
    }
    // The magnitude is significand * 2^(exponent - 150), and half of 0xfefeff is a tie that goes up to 0x7f7f80.
    return 149 - exponent - (significand > 0xfefefeu ? 1 : 0);
}

// 2^e in two factors, of which each product is exact or too small for its integer to be other than 0.
struct Scale {
    float first;
    float second;
};

__device__ __forceinline__ Scale scale_of(int e)
{
    const int first = e < 127 ? e : 127;
    const int second = e == NOT_FINITE ? 0 : e - first;
    return {power_of_two(first), power_of_two(second)};
}

__device__ __forceinline__ int integer_of(float x, Scale scale)
{
    return __float2int_rn(__fmul_rn(__fmul_rn(x, scale.first), scale.second));
}

// The three digits of 8 bits with a sign of an integer d0 2^16 + d1 2^8 + d2: d2 is byte 0.
__device__ __forceinline__ unsigned int digits_of(int integer) { return (unsigned int)(integer + 0x808080) ^ 0x808080u; }

// sum * 2^exponent, rounded once to binary32; |sum| is at most 2^63, the exponent from -342 to 212.
__device__ __forceinline__ float scaled(long long sum, int exponent)
{
    unsigned long long magnitude = sum < 0 ? 0ull - (unsigned long long)sum : (unsigned long long)sum;
    if (magnitude >> 53) {
        // Rounded to odd: of 44 bits and more, the last one says whether anything lies below, far from where binary32 ends.
        magnitude = (magnitude >> 10) | ((magnitude & 0x3ffu) != 0 ? 1u : 0u);
        exponent += 10;
    }
    const double y = (double)magnitude * __longlong_as_double((long long)(exponent + 1023) << 52);
    const float rounded = (float)y;
    return sum < 0 ? -rounded : rounded;
}

// The output of a row and a column of such powers.
__device__ __forceinline__ float output_of(long long sum, int row, int column)
{
    if (row == NOT_FINITE || column == NOT_FINITE) {
        return __uint_as_float(0x7fc00000u);
    }
    return scaled(sum, -(row + column));
}
