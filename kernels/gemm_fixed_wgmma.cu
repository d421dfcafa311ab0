// Y = A V in fixed-point-24 on Hopper's int8 tensor cores (wgmma, sm_90a): nine products of digits, summed exactly.
//
//   Y[i][j] = (sum over k of A'[i][k] * V'[k][j]) * 2^-(row_scale[i] + column_scale[j]), dead rows of A give +0
//
// An integer is d0 2^16 + d1 2^8 + d2, digits from -128 to 127. The products of digits p of A and q of V are summed for each
// p + q in 32 bits, of which there are five; a segment is short enough that none overflows (3 * 2^14 * 43690 < 2^31). The five
// make 64 bits, and parts of a tile are added in 64 bits: nothing is rounded before the one conversion at the end, and the
// order is free.
//
// Grid: persistent, one worker a block, 384 threads: one warpgroup of helpers (warp 0 loads, warp 1 makes dead rows zero) and
// two that multiply, each 64 x BN outputs of a tile of 128 x BN. A goes to the tensor cores from registers, V from shared
// memory. Where a tile is shared, all workers but one leave their sums in slots and raise flags; the one waits for workers of
// lower index, or for itself. Blocks must be resident at once. It may be
// started before the kernel ends that makes V's digits, if that one was started after all that used `y`, `partials` and `flags`.
//
// Defines: BN (8, 32, 64), STAGES, OUT_F32 (default), OUT_BF16 or OUT_F16.
// Launch: gridDim.x = workers; dynamic shared memory = 1024 + ZERO_BYTES + STAGES * (49152 + 384 * BN) bytes.
//
// a_images       device, 16-byte aligned, bytes[images][8 warps][4][3 digits][32 lanes][16]: an image is 128 rows by 128 k; a
//                lane's 16 bytes are rows lane / 4 (+ 8 for words 1 and 3) of the warp's 16 and four k from
//                32 * quarter + 4 * (lane % 4) (+ 16 for words 2 and 3) on
// v_images       device, of fixed_digits.cu, [column tiles][v_steps]
// v_step         device, i32[images]: V's step of each image; null: those of a segment follow each other
// row_index      device, i32[row tiles * 128]: row of Y, or -1 for padding
// row_scale      device, i32[row tiles * 128]
// column_scale   device, 8-byte aligned, i32[column tiles * BN]
// dead_rows      device, i32[dead_count]
// segments       device, 16-byte aligned, Part[]: those of worker w are segment_begin[w] .. segment_begin[w + 1]
// y              device, row r at y + r * y_stride; never -0. With y_stride * size % 16 == 0 and y aligned to 16, dead rows
//                may be written beyond n in a row
// partials       device, i64[slots][2][BN / 2][128]; contents do not matter
// flags          device, u32[slots][2], zero before the first launch, zero again after each
// dead_count, v_steps, n, y_stride  i32

#include "fixed_point.cuh"
#include "round.cuh"
#include "segments.cuh"

#ifndef BN
#define BN 64
#endif
#ifndef STAGES
#define STAGES 3
#endif

// Some steps of one tile, for one worker.
struct __align__(16) Part {
    int row_tile;
    int column_tile;
    // The first image of A and the first step of V.
    int image;
    int step;
    int steps;
    // The slot to leave sums in, or -1 to finish the tile.
    int to;
    // Slots to add, where it is finished.
    int from;
    int from_count;
};

// Other architectures have no such entry; gemm_fixed_point.cu serves them.
#if !defined(__HIPCC__) && (!defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL))

#define THREADS 384
#define A_BYTES 49152
#define V_BYTES (384 * BN)
#define STAGE_BYTES (A_BYTES + V_BYTES)
// Shared zeros, the source of bulk copies to dead rows.
#define ZERO_BYTES 2048
// Accumulators of a thread for one p + q.
#define R (BN / 2)
// 128 * 40 + 256 * 232 <= 65536
#define HELPER_REGISTERS "40"
#define MULTIPLIER_REGISTERS "232"

static __device__ __forceinline__ unsigned shared_address(const void *p) { return (unsigned)__cvta_generic_to_shared(p); }

static __device__ __forceinline__ void barrier_init(unsigned bar, unsigned count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(count) : "memory");
}

static __device__ __forceinline__ void barrier_wait(unsigned bar, unsigned parity)
{
    unsigned done;
    do {
        asm volatile("{\n.reg .pred p;\n"
                     "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, p;\n}"
                     : "=r"(done)
                     : "r"(bar), "r"(parity)
                     : "memory");
    } while (done == 0);
}

static __device__ __forceinline__ void barrier_expect(unsigned bar, unsigned bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
}

static __device__ __forceinline__ void barrier_arrive(unsigned bar)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}

// Waits for the kernel before, where this one was started while that one still ran.
static __device__ __forceinline__ void wait_for_digits() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

// The barrier counts warps: lanes come together first.
static __device__ __forceinline__ void group_sync(int group) {
    __syncwarp();
    asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
}

static __device__ __forceinline__ void load(unsigned to, const void *from, unsigned bytes, unsigned bar)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(bar)
                 : "memory");
}

// Shared-memory operand of wgmma, K-major with the 128-byte swizzle: 8 columns of 128 k are 1024 bytes.
#define V_DESCRIPTOR ((1ull << 62) | (64ull << 32) | (1ull << 16))
static __device__ __forceinline__ unsigned descriptor_address(unsigned address) { return (address & 0x3ffff) >> 4; }

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)
#define ACC4(i) "+r"(acc[i]), "+r"(acc[i + 1]), "+r"(acc[i + 2]), "+r"(acc[i + 3])
#define ACC16(i) ACC4(i), ACC4(i + 4), ACC4(i + 8), ACC4(i + 12)
#if BN == 8
#define ACC_NAMES "%0, %1, %2, %3"
#define ACC_OPERANDS ACC4(0)
#define TAIL "{%4, %5, %6, %7}, %8, p;\n}"
#elif BN == 32
#define ACC_NAMES "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define ACC_OPERANDS ACC16(0)
#define TAIL "{%16, %17, %18, %19}, %20, p;\n}"
#elif BN == 64
#define ACC_NAMES                                                                                                      \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                           \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define ACC_OPERANDS ACC16(0), ACC16(16)
#define TAIL "{%32, %33, %34, %35}, %36, p;\n}"
#else
#error "tile not supported"
#endif

// acc += A (64 x 32, in registers) V (32 x BN, K-major)
static __device__ __forceinline__ void wgmma_k32(int (&acc)[R], const uint4 &a, unsigned long long v)
{
    asm volatile("{\n.reg .pred p;\nsetp.eq.u32 p, 0, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n" TEXT(BN) "k32.s32.s8.s8 {" ACC_NAMES "}, " TAIL
                 : ACC_OPERANDS
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "l"(v));
}

// Keeps other uses of the accumulators on their side of this point.
static __device__ __forceinline__ void fence_operands(int (&acc)[5][R])
{
#pragma unroll
    for (int d = 0; d < 5; ++d) {
#pragma unroll
        for (int i = 0; i < R; ++i) {
            asm volatile("" : "+r"(acc[d][i])::"memory");
        }
    }
}

static __device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
static __device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int PENDING> static __device__ __forceinline__ void wgmma_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

// One warp: this block's share of the dead rows becomes +0.
static __device__ __forceinline__ void fill_dead_rows(output_t *y, const int *dead_rows, int dead_count, int n, int y_stride,
                                                      unsigned zeros)
{
    const int lane = threadIdx.x & 31;
    const int begin = (int)((long long)dead_count * blockIdx.x / gridDim.x);
    const int end = (int)((long long)dead_count * (blockIdx.x + 1) / gridDim.x);
    if ((((unsigned long long)y | (unsigned long long)y_stride * sizeof(output_t)) & 15) != 0) {
        for (int at = begin; at < end; ++at) {
            output_t *row = y + (long long)dead_rows[at] * y_stride;
            for (int j = lane; j < n; j += 32) {
                row[j] = (output_t)0;
            }
        }
        return;
    }
    for (int i = lane * 16; i < ZERO_BYTES; i += 512) {
        asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(zeros + i), "r"(0) : "memory");
    }
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncwarp();
    unsigned long long policy;
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    // Up to the next 16 bytes, which are still within the stride.
    const unsigned bytes = ((unsigned)n * (unsigned)sizeof(output_t) + 15) & ~15u;
    for (int at = begin + lane; at < end; at += 32) {
        char *row = (char *)(y + (long long)dead_rows[at] * y_stride);
        for (unsigned i = 0; i < bytes; i += ZERO_BYTES) {
            asm volatile("cp.async.bulk.global.shared::cta.bulk_group.L2::cache_hint [%0], [%1], %2, %3;" ::"l"(row + i),
                         "r"(zeros), "r"(bytes - i < ZERO_BYTES ? bytes - i : ZERO_BYTES), "l"(policy)
                         : "memory");
        }
        // At most 32 rows in flight, so that loads do not queue behind all of them.
        asm volatile("cp.async.bulk.commit_group;\ncp.async.bulk.wait_group.read 0;" ::: "memory");
    }
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

// Two outputs beside each other.
struct __align__(2 * sizeof(output_t)) Pair {
    output_t first;
    output_t second;
};

// PLAIN: the power of two is one of binary32's normal numbers, so that a product with it is exact, or overflows as it should.
template <bool PLAIN> static __device__ __forceinline__ output_t rounded(long long sum, int e, int f)
{
    if (PLAIN) {
        return round_output(__fmul_rn(__ll2float_rn(sum), power_of_two(-(e + f))));
    }
    return round_output(output_of(sum, e, f));
}

// This thread's outputs: rows `row` (negative: none), columns 8 i + {0, 1} from `column` on, which is even.
template <bool PLAIN>
static __device__ __forceinline__ void store_tile(const long long (&sum)[R], const int (&row)[2], const int (&e)[2],
                                                  const int *scales, output_t *y, int column, int n, int y_stride)
{
    const bool paired = (((unsigned long long)y | (unsigned long long)y_stride * sizeof(output_t)) & (sizeof(Pair) - 1)) == 0;
#pragma unroll
    for (int i = 0; i < BN / 8; ++i) {
        const int2 f = *(const int2 *)(scales + 8 * i);
        const int at = column + 8 * i;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            if (row[half] < 0 || at >= n) {
                continue;
            }
            const output_t first = rounded<PLAIN>(sum[4 * i + 2 * half], e[half], f.x);
            const output_t second = rounded<PLAIN>(sum[4 * i + 2 * half + 1], e[half], f.y);
            output_t *to = y + (long long)row[half] * y_stride + at;
            if (paired && at + 1 < n) {
                *(Pair *)to = {first, second};
                continue;
            }
            to[0] = first;
            if (at + 1 < n) to[1] = second;
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
gemm_fixed_wgmma(const unsigned char *__restrict__ a_images, const unsigned char *v_images,
                 const int *__restrict__ v_step, const int *__restrict__ row_index, const int *__restrict__ row_scale,
                 const int *column_scale, const int *__restrict__ dead_rows, const Part *__restrict__ segments,
                 const int *__restrict__ segment_begin, output_t *__restrict__ y, long long *partials, unsigned int *flags,
                 int dead_count, int v_steps, int n, int y_stride)
{
    // Barriers, zeros, then the stages, each A | V. V is aligned to 1024 bytes.
    extern __shared__ __align__(1024) unsigned char shared[];
    const unsigned base = shared_address(shared);
    const unsigned full = base, empty = base + 8 * STAGES, zeros = base + 1024, stages = zeros + ZERO_BYTES;
    // Through a shuffle, so that the compiler knows it to be the same in a warp.
    const int warp = __shfl_sync(0xffffffffu, threadIdx.x >> 5, 0), lane = threadIdx.x & 31;
    const int first = segment_begin[blockIdx.x], last = segment_begin[blockIdx.x + 1];
    if (threadIdx.x == 0) {
        if (base & 1023) asm volatile("trap;");
        for (int s = 0; s < STAGES; ++s) {
            barrier_init(full + 8 * s, 1);
            barrier_init(empty + 8 * s, 8);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();

    if (warp < 4) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 " HELPER_REGISTERS ";");
        if (warp == 1) {
            fill_dead_rows(y, dead_rows, dead_count, n, y_stride, zeros);
        } else if (warp == 0 && lane == 0) {
            // A's first stages do not wait for V's digits.
            int early = 0;
            if (first < last) {
                const Part part = segments[first];
                const unsigned char *a = a_images + (long long)part.image * A_BYTES;
                for (; early < min(part.steps, STAGES); ++early) {
                    barrier_expect(full + 8 * early, STAGE_BYTES);
                    load(stages + early * STAGE_BYTES, a + early * A_BYTES, A_BYTES, full + 8 * early);
                }
            }
            wait_for_digits();
            int stage = 0;
            unsigned phase = 0;
            for (int at = first; at < last; ++at) {
                const Part part = segments[at];
                const unsigned char *a = a_images + (long long)part.image * A_BYTES;
                const unsigned char *v = v_images + (long long)part.column_tile * v_steps * V_BYTES;
                for (int i = 0; i < part.steps; ++i) {
                    const int step = v_step == 0 ? part.step + i : v_step[part.image + i];
                    const unsigned bar = full + 8 * stage, to = stages + stage * STAGE_BYTES;
                    if (early > 0) {
                        --early;
                    } else {
                        barrier_wait(empty + 8 * stage, phase ^ 1);
                        barrier_expect(bar, STAGE_BYTES);
                        load(to, a, A_BYTES, bar);
                    }
                    load(to + A_BYTES, v + (long long)step * V_BYTES, V_BYTES, bar);
                    a += A_BYTES;
                    if (++stage == STAGES) stage = 0, phase ^= 1;
                }
            }
        }
        return;
    }

    asm volatile("setmaxnreg.inc.sync.aligned.u32 " MULTIPLIER_REGISTERS ";");
    const int group = (warp >> 2) - 1, thread = threadIdx.x & 127;
    const unsigned char *a_first = shared + 1024 + ZERO_BYTES + (warp - 4) * 6144 + lane * 16;
    wait_for_digits();
    const unsigned long long v_first = V_DESCRIPTOR | descriptor_address(stages + A_BYTES);
    int stage = 0;
    unsigned phase = 0;
    for (int at = first; at < last; ++at) {
        const Part part = segments[at];
        int acc[5][R];
#pragma unroll
        for (int d = 0; d < 5; ++d) {
#pragma unroll
            for (int i = 0; i < R; ++i) acc[d][i] = 0;
        }
        fence_operands(acc);
        int previous = -1;
        for (int left = part.steps; left > 0; --left) {
            barrier_wait(full + 8 * stage, phase);
            const unsigned char *of_a = a_first + stage * STAGE_BYTES;
            const unsigned long long v = v_first + stage * (STAGE_BYTES >> 4);
            uint4 a[2][3];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
#pragma unroll
                for (int d = 0; d < 3; ++d) a[i & 1][d] = *(const uint4 *)(of_a + (i * 3 + d) * 512);
                wgmma_fence();
                // 32 k are 32 bytes of each column; a digit of V is BN * 128 bytes.
#define PRODUCT(p, q) wgmma_k32(acc[p + q], a[i & 1][p], v + q * (BN * 8) + i * 2)
                PRODUCT(0, 0), PRODUCT(0, 1), PRODUCT(0, 2), PRODUCT(1, 2), PRODUCT(2, 2);
                PRODUCT(1, 0), PRODUCT(1, 1), PRODUCT(2, 1), PRODUCT(2, 0);
                wgmma_commit();
                // All but the newest have been read: a stage is given back when the next one's first are under way.
                wgmma_wait<1>();
                if (i == 0 && previous >= 0 && lane == 0) barrier_arrive(empty + 8 * previous);
            }
            previous = stage;
            if (++stage == STAGES) stage = 0, phase ^= 1;
        }
        wgmma_wait<0>();
        fence_operands(acc);
        if (lane == 0) barrier_arrive(empty + 8 * previous);

        long long sum[R];
#pragma unroll
        for (int i = 0; i < R; ++i) {
            const long long high = (long long)acc[1][i] * 256 + acc[2][i];
            const long long low = (long long)acc[3][i] * 256 + acc[4][i];
            sum[i] = (((long long)acc[0][i] << 32) + (high << 16)) + low;
        }
        if (part.to >= 0) {
            long long *to = partials + ((long long)part.to * 2 + group) * (R * 128) + thread;
#pragma unroll
            for (int i = 0; i < R; ++i) __stcg(to + i * 128, sum[i]);
            // Every thread's stores are seen by the device before the one raises the flag.
            __threadfence();
            group_sync(group);
            if (thread == 0) raise_flag(flags + (long long)part.to * 2 + group);
            continue;
        }
        if (part.from_count > 0) {
            for (int i = thread; i < part.from_count; i += 128) {
                unsigned int *flag = flags + ((long long)part.from + i) * 2 + group;
                wait_for_flag(flag);
                lower_flag(flag);
            }
            group_sync(group);
            for (int s = 0; s < part.from_count; ++s) {
                const long long *from = partials + ((long long)(part.from + s) * 2 + group) * (R * 128) + thread;
#pragma unroll
                // From L2: another block has written it.
                for (int i = 0; i < R; ++i) sum[i] += __ldcg(from + i * 128);
            }
        }
        const long long place = (long long)part.row_tile * 128 + group * 64 + (warp & 3) * 16 + (lane >> 2);
        const int row[2] = {row_index[place], row_index[place + 8]};
        const int e[2] = {row_scale[place], row_scale[place + 8]};
        const int column = part.column_tile * BN + 2 * (lane & 3);
        const int *scales = column_scale + column;
        bool plain = true;
#pragma unroll
        for (int i = 0; i < BN / 8; ++i) {
            const int2 f = *(const int2 *)(scales + 8 * i);
            const int least = min(e[0], e[1]) + min(f.x, f.y), most = max(e[0], e[1]) + max(f.x, f.y);
            plain = plain && least >= -127 && most <= 126;
        }
        if (plain)
            store_tile<true>(sum, row, e, scales, y, column, n, y_stride);
        else
            store_tile<false>(sum, row, e, scales, y, column, n, y_stride);
    }
}

#endif
