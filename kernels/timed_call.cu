// Inputs of timed calls, drawn where they are needed, and elements of outputs, brought together where they are.
//
//   draw_values:   element e of the stream (VERIFY.md sections 1 and 2), e row-major in rows x cols, goes to its place
//                  in the matrix; with `differing`, the matrix is compared with the stream instead, and not written
//   gather_values: out[i, j] = m[lines[i], columns[j]]
//
// A word is word 16 b + w of block b of ChaCha8 (D. J. Bernstein, 8 rounds, 64-bit counter b, stream 0) under a key of
// 32 bytes. An element takes one word or two; the first word of a tensor is even, so that no pair of words lies in two
// blocks.
//
// Defines: OUT_BF16 or OUT_F16, the type whose values the elements are (round.cuh); STORE_F32, elements are held as
// binary32 whatever they are; GATHER, gather_values instead of draw_values.
//
// Grid: draw_values    x = ceil(blocks of the stream / blockDim.x), a thread a block of 16 words
//       gather_values  x = ceil(line_count * column_count / blockDim.x), a thread an element
//
// Arguments: no alignment beyond an element's
//   matrix          rows x cols elements; element (i, j) at i * stride + j, or with `column_major` at j * stride + i
//   differing       u32, one that counts; or null
//   first_word      u64, even
//   values          0 uniform, 1 heavy-tailed, 2 binomial, 3 ternary
//   lines           line_count rows; 0xffffffff is a row of zeros. Null: all of 0, 1, 2, ...
//   columns         column_count columns
#include "round.cuh"

#if defined(STORE_F32)
typedef float stored_t;
#else
typedef output_t stored_t;
#endif

struct Key {
    unsigned int words[8];
};

#if !defined(GATHER)
__device__ __forceinline__ float value(unsigned int values, unsigned int w0, unsigned int w1)
{
    switch (values) {
    case 0:
        return __fmul_rn((float)((int)(w0 >> 8) - (1 << 23)), 0x1p-23f);
    case 1: {
        const float significand = (float)((int)(w0 >> 8) - (1 << 23));
        // The set bit stands for the 16 trailing zeros of an empty half-word.
        const unsigned int lowest = (w1 & 0xffffu) | 0x10000u;
        const int tail = __popc(~lowest & (lowest - 1u)) / 2;
        const int spread = __popc(w1 >> 16);
        return __fmul_rn(significand, __uint_as_float((unsigned int)(tail - spread - 19 + 127) << 23));
    }
    case 2:
        return (float)(__popc(w0) + __popc(w1) - 32);
    default:
        return (float)(__popc(w0 & 3u) - 1);
    }
}

__device__ __forceinline__ void quarter(unsigned int *x, int a, int b, int c, int d)
{
#define TURN(u, v, w, by)                                                                                              \
    x[u] += x[v];                                                                                                      \
    x[w] ^= x[u];                                                                                                      \
    x[w] = (x[w] << by) | (x[w] >> (32 - by))
    TURN(a, b, d, 16);
    TURN(c, d, b, 12);
    TURN(a, b, d, 8);
    TURN(c, d, b, 7);
#undef TURN
}

extern "C" __global__ void draw_values(
    stored_t *__restrict__ matrix, unsigned int *__restrict__ differing, Key key, unsigned long long first_word,
    unsigned int rows, unsigned int cols, unsigned int stride, unsigned int column_major, unsigned int values)
{
    const unsigned int words_each = values == 1u || values == 2u ? 2u : 1u;
    const unsigned int count = rows * cols;
    const unsigned long long block =
        first_word / 16u + (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x;
    // Elements of the tensor before this block, by the first word of it that is an element's.
    const unsigned long long start = block * 16u;
    if (start >= first_word + (unsigned long long)count * words_each) {
        return;
    }
    unsigned int initial[16] = {0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u};
#pragma unroll
    for (int w = 0; w < 8; ++w) {
        initial[4 + w] = key.words[w];
    }
    initial[12] = (unsigned int)block;
    initial[13] = (unsigned int)(block >> 32);
    initial[14] = initial[15] = 0u;
    unsigned int x[16];
#pragma unroll
    for (int w = 0; w < 16; ++w) {
        x[w] = initial[w];
    }
#pragma unroll
    for (int twice = 0; twice < 4; ++twice) {
        quarter(x, 0, 4, 8, 12);
        quarter(x, 1, 5, 9, 13);
        quarter(x, 2, 6, 10, 14);
        quarter(x, 3, 7, 11, 15);
        quarter(x, 0, 5, 10, 15);
        quarter(x, 1, 6, 11, 12);
        quarter(x, 2, 7, 8, 13);
        quarter(x, 3, 4, 9, 14);
    }
    unsigned int different = 0u;
#pragma unroll
    for (int w = 0; w < 16; ++w) {
        const unsigned long long word = start + w;
        if (word < first_word || (words_each == 2u && w % 2 == 1)) {
            continue;
        }
        const unsigned long long element = (word - first_word) / words_each;
        if (element >= count) {
            continue;
        }
        const unsigned int row = (unsigned int)element / cols, column = (unsigned int)element % cols;
        const unsigned int next = w + 1 < 16 ? x[(w + 1) % 16] + initial[(w + 1) % 16] : 0u;
        const output_t drawn = round_output(value(values, x[w] + initial[w], next));
#if defined(STORE_F32)
        const stored_t wanted = widen(drawn);
#else
        const stored_t wanted = drawn;
#endif
        const unsigned long long at = column_major != 0u ? (unsigned long long)column * stride + row
                                                         : (unsigned long long)row * stride + column;
        if (differing != 0) {
            // No value is a NaN, and none is -0.
            different += matrix[at] == wanted ? 0u : 1u;
        } else {
            matrix[at] = wanted;
        }
    }
    if (different != 0u) {
        atomicAdd(differing, different);
    }
}
#else

extern "C" __global__ void gather_values(
    const stored_t *__restrict__ matrix, unsigned int stride, unsigned int column_major,
    const unsigned int *__restrict__ lines, unsigned int line_count, const unsigned int *__restrict__ columns,
    unsigned int column_count, float *__restrict__ out)
{
    const unsigned int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= line_count * column_count) {
        return;
    }
    const unsigned int i = at / column_count;
    const unsigned int row = lines != 0 ? lines[i] : i, column = columns[at % column_count];
    if (row == 0xffffffffu) {
        out[at] = 0.0f;
        return;
    }
    const unsigned long long from = column_major != 0u ? (unsigned long long)column * stride + row
                                                       : (unsigned long long)row * stride + column;
#if defined(STORE_F32)
    out[at] = matrix[from];
#else
    out[at] = widen(matrix[from]);
#endif
}
#endif
