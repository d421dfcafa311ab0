// Y = A V on Hopper tensor cores (wgmma, TMA, sm_90a): bf16 or f16 in, f32 accumulators.
//
//   Y[i][j] = sum over k of A[i][k] * V[k][j], dead rows of A give +0
//
// Order: every output is one chain of 16-wide tensor-core groups in ascending k, from +0. wgmma
// instructions of k = 16 run in ascending k into one accumulator; where a tile is shared by two
// workers the f32 accumulators are handed on unchanged (segments.cuh). Zero padding of A and of V
// and, with GROUPED, leaving out aligned groups whose A is all zero change no bit.
//
// Grid: persistent, one worker a block. Tile t is row tile t / column_tiles, column tile t % column_tiles,
// BM x BN outputs; a k-step is 64 k. A block has one warpgroup of helpers (warp 0: TMA loads; warp 1: raises the
// flag of a tile handed on; warp 2: zeros for the dead rows) and BM / 64 warpgroups that multiply, each
// 64 x BN outputs. The dead rows are divided among all blocks, blocks without tiles taking more of them, so
// launch as many blocks as there are SMs also when there are fewer tiles.
//
// Defines: BM (64, 128, 192), BN (64, 128, 256), STAGES, IN_BF16 or IN_F16, OUT_F32, OUT_BF16 or OUT_F16,
// GROUPED (0, 1), BULK_ZEROS (1: dead rows by bulk copies of shared zeros; 0: by stores).
// Launch: gridDim.x = workers, blockDim.x = 128 + 2 * BM,
// dynamic shared memory = 3072 + STAGES * (BM + BN) * 128 bytes (at most 232448).
// All blocks must be resident at once when segments are handed on.
//
// Arguments
//   v_map          CUtensorMap by value: V, k x n, 2-byte elements, dimensions {n, k}, row stride ldv * 2
//                  bytes (ldv a multiple of 8, V aligned to 16), box {64, 64} or, with GROUPED, {64, 16},
//                  swizzle 128B, no interleave, out of bounds = zeros. Any n and k >= 1.
//   a_packed       device, 16-byte aligned, u16[steps in all][BM][64]: for row tile t and its k-step s
//                  the image [step_base(t) + s]; row r is 128 bytes, its 16-byte chunk c (k 8c .. 8c+7 of
//                  the step) lies at chunk c ^ (r & 7). step_base(t) = t * k_steps without GROUPED. Zeros
//                  beyond k and in padding rows.
//   step_base      device, i32[row tiles], GROUPED only: first step of the row tile.
//   group_k        device, i32[steps in all * 4], GROUPED only: first k of each of a step's four groups,
//                  ascending within the row tile; padding groups (A all zero) say -16.
//   row_index      device, i32[row tiles * BM]: row of Y, or -1 for padding.
//   dead_rows      device, i32[dead_count]: rows of Y to fill with +0.
//   dead_count     i32
//   segments       device, Segment[]: work of worker w is segments[segment_begin[w] .. segment_begin[w + 1]).
//                  No segment is empty (a row tile without groups has dead rows only).
//   segment_begin  device, i32[workers + 1]
//   column_tiles   i32, ceil(n / BN)
//   k_steps        i32, ceil(k / 64)
//   n              i32
//   y_stride       i32, >= n: elements from a row of Y to the next
//   y              device, m rows of y_stride elements, every element of the m x n is written. With
//                  y_stride * size % 16 == 0 and y aligned to 16 the stores are 16 bytes wide and may reach
//                  beyond n in a row; otherwise nothing beyond n is written. Never -0.
//   partials       device, f32[slots][BM * BN], aligned to 16; contents do not matter
//   flags          device, u32[slots][BM / 64], zero before the first launch, zero again after each
#include "segments.cuh"

#ifndef BM
#define BM 128
#endif
#ifndef BN
#define BN 256
#endif
#ifndef STAGES
#define STAGES 4
#endif
#ifndef GROUPED
#define GROUPED 0
#endif
#ifndef BULK_ZEROS
#define BULK_ZEROS 1
#endif
// Time stamps for measurements.
#ifndef MARK
#define MARK(i)
#endif
#if !defined(IN_BF16) && !defined(IN_F16)
#define IN_BF16
#endif
#if !defined(OUT_F32) && !defined(OUT_BF16) && !defined(OUT_F16)
#define OUT_F32
#endif

struct __align__(64) TensorMap {
    unsigned long long opaque[16];
};

// Other architectures have no such entry; gemm_mma_sync.cu serves them.
#if !defined(__HIPCC__) && (!defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL))

#define GROUPS (BM / 64)
#define CONSUMER_WARPS (BM / 16)
#define THREADS (128 + 2 * BM)
#define A_BYTES (BM * 128)
#define V_BLOCKS (BN / 64)
#define V_BYTES (V_BLOCKS * 8192)
#define STAGE_BYTES (A_BYTES + V_BYTES)
// Shared zeros, the source of bulk copies to dead rows.
#define ZERO_BYTES 2048
// Shares of the dead rows that a block without tiles takes; a block with tiles takes one.
#define IDLE_SHARES 4
// Registers of a helper and of a multiplying thread: 128 * (HELPER + GROUPS * MULTIPLIER) <= 65536.
#if GROUPS == 3
#define HELPER_REGISTERS "32"
#define MULTIPLIER_REGISTERS "160"
#else
#define HELPER_REGISTERS "40"
#define MULTIPLIER_REGISTERS "232"
#endif

#if (BM != 64 && BM != 128 && BM != 192) || (BN != 64 && BN != 128 && BN != 256)
#error "tile not supported"
#endif
#ifdef IN_F16
#define WGMMA_TYPE "f16.f16"
#else
#define WGMMA_TYPE "bf16.bf16"
#endif

static __device__ __forceinline__ unsigned shared_address(const void *p) {
    return (unsigned)__cvta_generic_to_shared(p);
}

static __device__ __forceinline__ void barrier_init(unsigned bar, unsigned count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(count) : "memory");
}

static __device__ __forceinline__ bool barrier_try(unsigned bar, unsigned parity) {
    unsigned done;
    asm volatile("{\n.reg .pred p;\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(bar), "r"(parity)
                 : "memory");
    return done != 0;
}

static __device__ __forceinline__ void barrier_wait(unsigned bar, unsigned parity) {
    while (!barrier_try(bar, parity)) {
    }
}

static __device__ __forceinline__ void barrier_expect(unsigned bar, unsigned bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes)
                 : "memory");
}

static __device__ __forceinline__ void barrier_arrive(unsigned bar) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}

static __device__ __forceinline__ void group_sync(int group) {
    // The barrier counts warps: lanes come together first.
    __syncwarp();
    asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
}

static __device__ __forceinline__ void load_a(unsigned dst, const void *src, unsigned bar) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(dst),
                 "l"(src), "r"(A_BYTES), "r"(bar)
                 : "memory");
}

static __device__ __forceinline__ void load_v(unsigned dst, const TensorMap *map, int column, int k, unsigned bar) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 " [%0], [%1, {%2, %3}], [%4];" ::"r"(dst),
                 "l"(map), "r"(column), "r"(k), "r"(bar)
                 : "memory");
}

// Shared-memory operand of wgmma: 128-byte swizzle. A is K-major: 8-row atoms of 1024 bytes (stride
// field), the leading field is not used. V is N-major: the leading field is the distance of 64-column
// blocks, the stride field that of groups of 8 k.
#define DESCRIPTOR(leading, stride)                                                                    \
    ((1ull << 62) | ((unsigned long long)((stride) >> 4) << 32) | ((unsigned long long)((leading) >> 4) << 16))
#define A_DESCRIPTOR DESCRIPTOR(16, 1024)
#define V_DESCRIPTOR DESCRIPTOR(8192, 1024)

// The address field has 14 bits.
static __device__ __forceinline__ unsigned descriptor_address(unsigned address) { return (address & 0x3ffff) >> 4; }

#define ACC8(i)                                                                                        \
    "+f"(acc[i]), "+f"(acc[i + 1]), "+f"(acc[i + 2]), "+f"(acc[i + 3]), "+f"(acc[i + 4]),              \
        "+f"(acc[i + 5]), "+f"(acc[i + 6]), "+f"(acc[i + 7])
#define ACC32(i) ACC8(i), ACC8(i + 8), ACC8(i + 16), ACC8(i + 24)
#if BN == 64
#define ACC_NAMES \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define ACC_OPERANDS ACC32(0)
#define WGMMA_TAIL "%32, %33, p, 1, 1, 0, 1;\n}"
#elif BN == 128
#define ACC_NAMES \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define ACC_OPERANDS ACC32(0), ACC32(32)
#define WGMMA_TAIL "%64, %65, p, 1, 1, 0, 1;\n}"
#else
#define ACC_NAMES \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
    "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
    "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
    "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
    "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define ACC_OPERANDS ACC32(0), ACC32(32), ACC32(64), ACC32(96)
#define WGMMA_TAIL "%128, %129, p, 1, 1, 0, 1;\n}"
#endif
#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)

// acc += A (64 x 16, K-major) V (16 x BN, N-major)
static __device__ __forceinline__ void wgmma_k16(float (&acc)[BN / 2], unsigned long long a, unsigned long long v) {
    asm volatile("{\n.reg .pred p;\nsetp.eq.u32 p, 0, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n" TEXT(BN) "k16.f32." WGMMA_TYPE " {" ACC_NAMES "}, " WGMMA_TAIL
                 : ACC_OPERANDS
                 : "l"(a), "l"(v));
}

static __device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
// Keeps other uses of the accumulators on their side of this point.
static __device__ __forceinline__ void fence_operands(float (&acc)[BN / 2]) {
#pragma unroll
    for (int i = 0; i < BN / 2; i++) asm volatile("" : "+f"(acc[i])::"memory");
}
static __device__ __forceinline__ void wgmma_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int PENDING> static __device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

static __device__ __forceinline__ void store16(void *p, unsigned a, unsigned b, unsigned c, unsigned d) {
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}

#ifdef OUT_F32
typedef float Out;
#else
typedef unsigned short Out;

// Two values, each rounded once to nearest even; a zero loses its sign after rounding.
static __device__ __forceinline__ unsigned round_pair(float low, float high) {
    unsigned x;
#ifdef OUT_F16
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(x) : "f"(high), "f"(low));
#else
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(x) : "f"(high), "f"(low));
#endif
    const unsigned magnitude = x & 0x7fff7fffu;
    return magnitude | (x & (magnitude + 0x7fff7fffu) & 0x80008000u);
}
#endif

// This thread's fragment: rows `row_a` (acc 0, 1 of each four) and `row_b` (acc 2, 3), columns
// 8 i + 2 (lane % 4) + {0, 1}. The four lanes of a row exchange values so that each stores 16 bytes.
template <bool FAST>
static __device__ __forceinline__ void store_tile(const float (&acc)[BN / 2], Out *y, int row_a, int row_b, int column,
                                                  int n, int y_stride) {
    const int q = threadIdx.x & 3;
#ifdef OUT_F32
#pragma unroll
    for (int i = 0; i < BN / 8; i += 2) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int row = half ? row_b : row_a;
            float a0 = acc[4 * i + 2 * half] + 0.0f, a1 = acc[4 * i + 2 * half + 1] + 0.0f;
            float b0 = acc[4 * i + 4 + 2 * half] + 0.0f, b1 = acc[4 * i + 4 + 2 * half + 1] + 0.0f;
            const bool odd = q & 1;
            const float r0 = __shfl_xor_sync(0xffffffffu, odd ? a0 : b0, 1);
            const float r1 = __shfl_xor_sync(0xffffffffu, odd ? a1 : b1, 1);
            if (odd) {
                a0 = r0, a1 = r1;
            } else {
                b0 = r0, b1 = r1;
            }
            const int col = column + 8 * (i + (q & 1)) + 2 * (q & 2);
            if (row < 0) continue;
            float *out = y + (size_t)row * y_stride + col;
            if (FAST) {
                if (col < n)
                    store16(out, __float_as_uint(a0), __float_as_uint(a1), __float_as_uint(b0), __float_as_uint(b1));
            } else {
                if (col < n) out[0] = a0;
                if (col + 1 < n) out[1] = a1;
                if (col + 2 < n) out[2] = b0;
                if (col + 3 < n) out[3] = b1;
            }
        }
    }
#else
#pragma unroll
    for (int i = 0; i < BN / 8; i += 4) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int row = half ? row_b : row_a;
            unsigned w[4];
#pragma unroll
            for (int j = 0; j < 4; j++)
                w[j] = round_pair(acc[4 * (i + j) + 2 * half], acc[4 * (i + j) + 2 * half + 1]);
            // 4 x 4 transpose among the four lanes: word j of lane q becomes word q of lane j.
#pragma unroll
            for (int j = 0; j < 4; j += 2) {
                const unsigned r = __shfl_xor_sync(0xffffffffu, (q & 1) ? w[j] : w[j + 1], 1);
                w[j] = (q & 1) ? r : w[j];
                w[j + 1] = (q & 1) ? w[j + 1] : r;
            }
#pragma unroll
            for (int j = 0; j < 2; j++) {
                const unsigned r = __shfl_xor_sync(0xffffffffu, (q & 2) ? w[j] : w[j + 2], 2);
                w[j] = (q & 2) ? r : w[j];
                w[j + 2] = (q & 2) ? w[j + 2] : r;
            }
            const int col = column + 8 * (i + q);
            if (row < 0) continue;
            Out *out = y + (size_t)row * y_stride + col;
            if (FAST) {
                if (col < n) store16(out, w[0], w[1], w[2], w[3]);
            } else {
#pragma unroll
                for (int j = 0; j < 8; j++)
                    if (col + j < n) out[j] = (Out)(w[j / 2] >> (16 * (j & 1)));
            }
        }
    }
#endif
}

static __device__ __forceinline__ bool fast_rows(const Out *y, int y_stride) {
    return (((unsigned long long)y | ((unsigned long long)y_stride * sizeof(Out))) & 15) == 0;
}

// One warp: this block's share of the dead rows, a contiguous stretch of the list, becomes +0. Each lane reads
// an index and the next one ahead: a read a row would cost the latency of L2 each time.
static __device__ __forceinline__ void fill_dead_rows(Out *y, const int *dead_rows, int dead_count,
                                                      const int *segment_begin, int n, int y_stride, unsigned zeros) {
    const int lane = threadIdx.x & 31, blocks = gridDim.x, block = blockIdx.x;
    const bool fast = fast_rows(y, y_stride);
    int before = 0, mine = 0, all = 0;
    for (int first = 0; first < blocks; first += 32) {
        const int b = first + lane;
        int shares = 0;
        if (b < blocks) shares = segment_begin[b] < segment_begin[b + 1] ? 1 : IDLE_SHARES;
        all += shares;
        if (b < block) before += shares;
        if (b == block) mine = shares;
    }
    before = __reduce_add_sync(0xffffffffu, before);
    mine = __reduce_add_sync(0xffffffffu, mine);
    all = __reduce_add_sync(0xffffffffu, all);
    const int begin = (int)((long long)dead_count * before / all);
    const int end = (int)((long long)dead_count * (before + mine) / all);

    if (BULK_ZEROS && fast) {
        for (int i = lane * 16; i < ZERO_BYTES; i += 512)
            asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(zeros + i), "r"(0) : "memory");
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        __syncwarp();
    }
    int next = begin + lane < end ? dead_rows[begin + lane] : 0;
    for (int at = begin; at < end; at += 32) {
        const int row = next, count = min(32, end - at);
        next = at + 32 + lane < end ? dead_rows[at + 32 + lane] : 0;
        if (BULK_ZEROS && fast) {
            if (lane < count) {
                // Up to the next 16 bytes, which are still within the stride.
                const unsigned bytes = ((unsigned)n * sizeof(Out) + 15) & ~15u;
                char *out = (char *)(y + (size_t)row * y_stride);
                for (unsigned i = 0; i < bytes; i += ZERO_BYTES)
                    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(out + i), "r"(zeros),
                                 "r"(min(bytes - i, (unsigned)ZERO_BYTES))
                                 : "memory");
            }
            // At most 32 rows in flight, so that loads do not queue behind all of them.
            asm volatile("cp.async.bulk.commit_group;\ncp.async.bulk.wait_group.read 0;" ::: "memory");
            __syncwarp();
            continue;
        }
        for (int i = 0; i < count; i++) {
            Out *out = y + (size_t)__shfl_sync(0xffffffffu, row, i) * y_stride;
            if (fast) {
                const int step = 16 / sizeof(Out);
                for (int j = lane * step; j < n; j += 32 * step) store16(out + j, 0, 0, 0, 0);
            } else {
                for (int j = lane; j < n; j += 32) out[j] = (Out)0;
            }
        }
    }
    if (BULK_ZEROS && fast) asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
gemm_tensor_core(const __grid_constant__ TensorMap v_map, const unsigned short *__restrict__ a_packed,
                 const int *__restrict__ step_base, const int *__restrict__ group_k,
                 const int *__restrict__ row_index, const int *__restrict__ dead_rows, int dead_count,
                 const Segment *__restrict__ segments, const int *__restrict__ segment_begin, int column_tiles,
                 int k_steps, int n, int y_stride, Out *__restrict__ y, float *partials, unsigned int *flags) {
    // Barriers, zeros, then the stages, each A | V.
    extern __shared__ __align__(1024) unsigned char shared[];
    const unsigned base = shared_address(shared);
    const unsigned full = base, empty = base + 8 * STAGES, handed_on = base + 16 * STAGES;
    const unsigned zeros = base + 1024, stages = zeros + ZERO_BYTES;

    MARK(0);
    // Through a shuffle, so that the compiler knows it to be the same in a warp.
    const int warp = __shfl_sync(0xffffffffu, threadIdx.x >> 5, 0), lane = threadIdx.x & 31;
    const int first = segment_begin[blockIdx.x], last = segment_begin[blockIdx.x + 1];

    if (threadIdx.x == 0) {
        asm volatile("prefetch.tensormap [%0];" ::"l"(&v_map) : "memory");
        if (base & 1023) asm volatile("trap;");
        for (int s = 0; s < STAGES; s++) {
            barrier_init(full + 8 * s, 1);
            barrier_init(empty + 8 * s, CONSUMER_WARPS);
        }
        barrier_init(handed_on, CONSUMER_WARPS);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    Segment segment = {0, 0, 0, -1, -1};
    if (first < last) segment = segments[first];
    __syncthreads();
    MARK(1);

    if (warp < 4) {
#if GROUPS > 1
        asm volatile("setmaxnreg.dec.sync.aligned.u32 " HELPER_REGISTERS ";");
#endif
        if (warp == 2) {
            fill_dead_rows(y, dead_rows, dead_count, segment_begin, n, y_stride, zeros);
        } else if (warp == 1) {
            // The first tile handed on: the fence waits for the stores of the multiplying warps in their stead.
            for (int at = first; at < last; at++) {
                const int to = segments[at].to;
                if (to < 0) continue;
                barrier_wait(handed_on, 0);
                if (lane < GROUPS) raise_flag(flags + (size_t)to * GROUPS + lane);
                break;
            }
        } else if (warp == 0 && lane == 0) {
            int stage = 0;
            unsigned phase = 0;
            for (int at = first; at < last; at++) {
                if (at > first) segment = segments[at];
                const int row_tile = segment.tile / column_tiles;
                const int column = segment.tile % column_tiles * BN;
#if GROUPED
                const long long tile_base = step_base[row_tile];
#else
                const long long tile_base = (long long)row_tile * k_steps;
#endif
                for (int step = segment.step_begin; step < segment.step_end; step++) {
                    const unsigned bar = full + 8 * stage;
                    const unsigned a_dst = stages + stage * STAGE_BYTES, v_dst = a_dst + A_BYTES;
                    barrier_wait(empty + 8 * stage, phase ^ 1);
                    barrier_expect(bar, STAGE_BYTES);
                    load_a(a_dst, a_packed + (tile_base + step) * (BM * 64), bar);
#pragma unroll
                    for (int i = 0; i < V_BLOCKS; i++) {
#if GROUPED
#pragma unroll
                        for (int g = 0; g < 4; g++)
                            load_v(v_dst + i * 8192 + g * 2048, &v_map, column + i * 64,
                                   group_k[(tile_base + step) * 4 + g], bar);
#else
                        load_v(v_dst + i * 8192, &v_map, column + i * 64, step * 64, bar);
#endif
                    }
                    if (++stage == STAGES) stage = 0, phase ^= 1;
                }
            }
        }
    } else {
#if GROUPS > 1
        asm volatile("setmaxnreg.inc.sync.aligned.u32 " MULTIPLIER_REGISTERS ";");
#endif
        const int group = (warp >> 2) - 1, thread = threadIdx.x & 127;
        const unsigned long long a_first = A_DESCRIPTOR | descriptor_address(stages + group * 8192);
        const unsigned long long v_first = V_DESCRIPTOR | descriptor_address(stages + A_BYTES);
        float acc[BN / 2];
        int stage = 0;
        unsigned phase = 0;
        bool handed = false;
        for (int at = first; at < last; at++) {
            const int tile = segment.tile, from = segment.from, to = segment.to;
            const int row_tile = tile / column_tiles;
            int left = segment.step_end - segment.step_begin;
            // Asked for early: these would otherwise be waited for between two tiles and at the end.
            const int *rows = row_index + row_tile * BM + group * 64 + (thread >> 5) * 16 + (lane >> 2);
            const int row_a = rows[0], row_b = rows[8];
            if (at + 1 < last) segment = segments[at + 1];
            if (from >= 0) {
                const size_t slot = from;
                if (thread == 0) {
                    unsigned int *flag = flags + slot * GROUPS + group;
                    wait_for_flag(flag);
                    lower_flag(flag);
                }
                group_sync(group);
                const float4 *source = (const float4 *)(partials + slot * (BM * BN) + group * (64 * BN)) + thread;
#pragma unroll
                for (int i = 0; i < BN / 8; i++) {
                    // From L2: another block has written it.
                    const float4 x = __ldcg(source + i * 128);
                    acc[4 * i] = x.x, acc[4 * i + 1] = x.y, acc[4 * i + 2] = x.z, acc[4 * i + 3] = x.w;
                }
            } else {
#pragma unroll
                for (int i = 0; i < BN / 2; i++) acc[i] = 0.0f;
            }

            fence_operands(acc);
            int previous = -1;
            do {
                barrier_wait(full + 8 * stage, phase);
                if (at == first && previous < 0) MARK(2);
                const unsigned long long a = a_first + stage * (STAGE_BYTES >> 4);
                const unsigned long long v = v_first + stage * (STAGE_BYTES >> 4);
                wgmma_fence();
#pragma unroll
                for (int i = 0; i < 4; i++) wgmma_k16(acc, a + 2 * i, v + 128 * i);
                wgmma_commit();
                // All but the newest step have been read: give their stage back to the loader.
                wgmma_wait<1>();
                if (previous >= 0 && lane == 0) barrier_arrive(empty + 8 * previous);
                previous = stage;
                if (++stage == STAGES) stage = 0, phase ^= 1;
            } while (--left > 0);
            wgmma_wait<0>();
            fence_operands(acc);
            if (lane == 0) barrier_arrive(empty + 8 * previous);
            if (at + 1 == last) MARK(3);

            if (to >= 0) {
                const size_t slot = to;
                float4 *target = (float4 *)(partials + slot * (BM * BN) + group * (64 * BN)) + thread;
#pragma unroll
                for (int i = 0; i < BN / 8; i++)
                    __stcg(target + i * 128, make_float4(acc[4 * i], acc[4 * i + 1], acc[4 * i + 2], acc[4 * i + 3]));
                if (!handed) {
                    __syncwarp();
                    if (lane == 0) barrier_arrive(handed_on);
                } else {
                    group_sync(group);
                    if (thread == 0) raise_flag(flags + slot * GROUPS + group);
                }
                handed = true;
            } else {
                const int column = tile % column_tiles * BN;
                if (fast_rows(y, y_stride))
                    store_tile<true>(acc, y, row_a, row_b, column, n, y_stride);
                else
                    store_tile<false>(acc, y, row_a, row_b, column, n, y_stride);
            }
        }
        MARK(4);
    }
}

#endif
