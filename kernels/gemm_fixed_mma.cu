// Y = A V in fixed-point-24 on int8 tensor cores by mma.sync, from compute capability 7.5 on: nine products of digits, summed
// exactly. Made for correctness on any of them; gemm_fixed_wgmma.cu is the fast one, on Hopper.
//
//   Y[i][j] = (sum over k of A'[i][k] * V'[k][j]) * 2^-(row_scale[i] + column_scale[j]), dead rows of A give +0
//
// An integer is d0 2^16 + d1 2^8 + d2, digits from -128 to 127. The products of digits p of A and q of V are summed for each
// p + q in 32 bits, of which there are five; after STEPS_MAX steps, before any can overflow (3 * 2^14 * 43690 < 2^31), the five
// go to 64 bits. Nothing is rounded before the one conversion at the end.
//
// Order: there is none.
//
// Grid: x = row tiles * column tiles, the columns of a row tile side by side, so that they read A from the cache; then
// ceil(dead_count / 128) blocks that make dead rows zero. 256 threads: warp w has 16 x 32 outputs, from row 16 w of the tile on.
// Each warp reads A for itself, a quarter of a step ahead; a step of V is copied to shared memory while the one before it is
// multiplied.
//
// Defines: OUT_F32 (default), OUT_BF16 or OUT_F16. K16: products of 16 k as Turing has them, on later devices too.
//
// a_images      device, 16-byte aligned, bytes[images][8 warps][4][3 digits][32 lanes][16]: an image is 128 rows by 128 k; a
//               lane's 16 bytes are rows lane / 4 (+ 8 for words 1 and 3) of the warp's 16 and four k from
//               32 * quarter + 4 * (lane % 4) (+ 16 for words 2 and 3) on
// first_image   device, i32[row tiles + 1]
// v_images      device, 16-byte aligned, of fixed_fragments.cu, [column tiles][v_steps]
// v_step        device, i32[images]: V's step of each image; null: those of a row tile are 0, 1, ...
// row_index     device, i32[row tiles * 128]: row of Y, or -1 for padding
// row_scale     device, i32[row tiles * 128]: e of the row, or NOT_FINITE
// column_scale  device, i32[n]: f of the column, or NOT_FINITE
// dead_rows     device, i32[dead_count]: rows of Y that become +0
// y             device, row r at y + r * y_stride; never -0
// tiles, column_tiles, dead_count, v_steps, n, y_stride  i32; tiles = row tiles * column tiles

#include "fixed_point.cuh"
#include "round.cuh"

// Earlier architectures have no such entry; gemm_fixed_point.cu serves them.
#if !defined(__HIPCC__) && (!defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 750)

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define TURING
#ifndef K16
#define K16
#endif
#endif

#define BM 128
#define BN 32
#define STEP 128
#define STEPS_MAX 341
#define THREADS 256
#define GROUPS (BN / 8)
#define A_BYTES (3 * BM * STEP)
#define V_BYTES (3 * BN * STEP)

static_assert(3ll * (1 << 14) * STEP * STEPS_MAX < 1ll << 31, "sums of digits' products fit 32 bits");

// acc += A (16 x 32) V (32 x 8). A lane's outputs: row lane / 4 (+ 8 for 2 and 3), column 2 * (lane % 4) (+ 1 for 1 and 3).
static __device__ __forceinline__ void mma_k32(int (&acc)[4], const uint4 &a, const uint2 &v)
{
#ifdef K16
    // Eight rows and 16 k at a time: words x and z of A are the upper rows, x and y the lower k.
#define MMA(first, second, of_a, of_v)                                                                                 \
    asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"                      \
                 : "+r"(first), "+r"(second)                                                                           \
                 : "r"(of_a), "r"(of_v))
    MMA(acc[0], acc[1], a.x, v.x);
    MMA(acc[2], acc[3], a.y, v.x);
    MMA(acc[0], acc[1], a.z, v.y);
    MMA(acc[2], acc[3], a.w, v.y);
#undef MMA
#else
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+r"(acc[0]), "+r"(acc[1]), "+r"(acc[2]), "+r"(acc[3])
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(v.x), "r"(v.y));
#endif
}

// 16 bytes to shared memory; they are there after `wait_for_copies` and a barrier.
static __device__ __forceinline__ void copy_16(void *to, const void *from)
{
#ifdef TURING
    *(uint4 *)to = *(const uint4 *)from;
#else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((unsigned int)__cvta_generic_to_shared(to)), "l"(from)
                 : "memory");
#endif
}

static __device__ __forceinline__ void wait_for_copies()
{
#ifndef TURING
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// A step of V.
static __device__ __forceinline__ void copy_step(unsigned char *to, const unsigned char *from)
{
#pragma unroll
    for (int i = threadIdx.x * 16; i < V_BYTES; i += THREADS * 16) {
        copy_16(to + i, from + i);
    }
}

// The five sums of each output, which start anew, go to its one.
static __device__ __forceinline__ void join(long long (&sum)[GROUPS][4], int (&acc)[5][GROUPS][4])
{
#pragma unroll
    for (int g = 0; g < GROUPS; ++g) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const long long high = (long long)acc[1][g][i] * 256 + acc[2][g][i];
            const long long low = (long long)acc[3][g][i] * 256 + acc[4][g][i];
            // A product, since what is negative is not shifted to the left.
            sum[g][i] += (long long)acc[0][g][i] * (1ll << 32) + high * (1ll << 16) + low;
#pragma unroll
            for (int d = 0; d < 5; ++d) acc[d][g][i] = 0;
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
gemm_fixed_mma(const unsigned char *__restrict__ a_images, const int *__restrict__ first_image,
               const unsigned char *__restrict__ v_images, const int *__restrict__ v_step,
               const int *__restrict__ row_index, const int *__restrict__ row_scale,
               const int *__restrict__ column_scale, const int *__restrict__ dead_rows, output_t *__restrict__ y, int tiles,
               int column_tiles, int dead_count, int v_steps, int n, int y_stride)
{
    __shared__ __align__(16) unsigned char shared[2][V_BYTES];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (blockIdx.x >= (unsigned int)tiles) {
        const int first = (int)(blockIdx.x - tiles) * BM, last = min(first + BM, dead_count);
        for (int i = first + warp; i < last; i += THREADS / 32) {
            output_t *row = y + (long long)dead_rows[i] * y_stride;
            for (int j = lane; j < n; j += 32) row[j] = round_output(0.0f);
        }
        return;
    }
    const int row_tile = blockIdx.x / column_tiles, column_tile = blockIdx.x % column_tiles;
    const int first = first_image[row_tile], end = first_image[row_tile + 1];
    const unsigned char *v = v_images + (long long)column_tile * v_steps * V_BYTES;
#define STEP_OF(image) (v + (long long)(v_step == 0 ? (image) - first : v_step[image]) * V_BYTES)
    // This lane's part of a digit of a quarter: quarters are 96 words of 16 bytes apart, digits 32.
    const uint4 *a = (const uint4 *)(a_images + (long long)first * A_BYTES) + warp * (4 * 96) + lane;

    long long sum[GROUPS][4] = {};
    int acc[5][GROUPS][4] = {};
    uint4 next[3] = {};
    if (first < end) {
        copy_step(shared[0], STEP_OF(first));
#pragma unroll
        for (int d = 0; d < 3; ++d) next[d] = a[d * 32];
    }
    for (int image = first; image < end; ++image) {
        // This step is there for all, and all have read the other half.
        wait_for_copies();
        __syncthreads();
        const int half = (image - first) & 1;
        const bool is_last = image + 1 == end;
        if (!is_last) copy_step(shared[half ^ 1], STEP_OF(image + 1));
#pragma unroll
        for (int quarter = 0; quarter < 4; ++quarter) {
            const uint4 digits[3] = {next[0], next[1], next[2]};
            if (quarter < 3 || !is_last) {
                const uint4 *from = quarter < 3 ? a + (quarter + 1) * 96 : a + A_BYTES / 16;
#pragma unroll
                for (int d = 0; d < 3; ++d) next[d] = from[d * 32];
            }
            const uint2 *of_v = (const uint2 *)shared[half] + quarter * (3 * GROUPS * 32) + lane;
#pragma unroll
            for (int g = 0; g < GROUPS; ++g) {
                uint2 other[3];
#pragma unroll
                for (int d = 0; d < 3; ++d) other[d] = of_v[(d * GROUPS + g) * 32];
                // Sums of which one follows another late.
#define PRODUCT(p, q) mma_k32(acc[p + q][g], digits[p], other[q])
                PRODUCT(0, 0), PRODUCT(0, 1), PRODUCT(0, 2), PRODUCT(1, 2), PRODUCT(2, 2);
                PRODUCT(1, 0), PRODUCT(1, 1), PRODUCT(2, 1), PRODUCT(2, 0);
#undef PRODUCT
            }
        }
        a += A_BYTES / 16;
        if ((image - first) % STEPS_MAX == STEPS_MAX - 1) join(sum, acc);
    }
    join(sum, acc);

#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const long long place = (long long)row_tile * BM + warp * 16 + lane / 4 + 8 * half;
        const int row = row_index[place];
        if (row < 0) continue;
        const int e = row_scale[place];
#pragma unroll
        for (int g = 0; g < GROUPS; ++g) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const int column = column_tile * BN + 8 * g + 2 * (lane % 4) + i;
                if (column < n) {
                    y[(long long)row * y_stride + column] =
                        round_output(output_of(sum[g][2 * half + i], e, column_scale[column]));
                }
            }
        }
    }
}

#endif
