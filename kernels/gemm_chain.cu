// Y = A V in the f32-chain arithmetic: y = +0; for k ascending: y = fma(a[k], v[k], y).
//
// A is packed by the host: live rows only, in row tiles of BM rows; each row tile may also leave out
// the k at which all of its rows are zero. Neither changes a bit of Y but the sign of a zero, and a
// stored -0 becomes +0.
//
// Grid: one-dimensional, `workers` blocks, all resident at once (CTAS per SM). A worker runs its list
// of segments (segments.cuh); output tile t is row tile t / col_tiles, column tile t % col_tiles, and
// step s of it covers BK consecutive entries of the row tile's k list. Dead rows are shared out evenly
// and written as +0 while the tiles are computed.
// Block: CONSUMERS threads; where __CUDA_ARCH__ >= 900 and 32 more (one warp that only moves data), or
// 128 more if CONSUMER_REGISTERS is given.
// Order of accumulation: one fma chain per output, in registers; a tile shared by two workers hands
// the registers on.
//
// Compile-time choice (-D):
//   WARPS_M, WARPS_N  computing warps along rows and columns
//   TM, TN            outputs of a thread, both even; BM = 4 TM WARPS_M, BN = 8 TN WARPS_N
//   BK                k of a step, at most 32
//   KU                k per register buffer; BK / KU must be even
//   STAGES            steps in flight (__CUDA_ARCH__ >= 900; elsewhere 2)
//   V_BULK            1: rows of V by bulk copies (wide tiles), 0: by 16-byte copies (narrow tiles)
//   CTAS              blocks per SM
//   CONSUMER_REGISTERS, PRODUCER_REGISTERS
//                     sm_90a, sm_100a: registers per thread after a warp group that moves data has given
//                     most of its own to those that compute (multiples of 8)
//   OUT_BF16/OUT_F16  store Y rounded once, nearest even, instead of f32; again never -0
// Dynamic shared memory in bytes:
//   __CUDA_ARCH__ >= 900: 4352 + STAGES * 4 BK (BM + BN); elsewhere: 8 BK (BM + BN)
//
// Arguments (all pointers device):
//   a_packed    f32[steps of all row tiles * BK * BM], 16-byte aligned: per row tile [k][BM], k padded
//               with zeros to a multiple of BK, missing rows zero
//   v           f32[k * ldv], 16-byte aligned, ldv % 4 == 0; columns n.. of it are never used
//   y           f32/bf16/f16 [m * n], 16-byte aligned, every element written
//   row_index   i32[row tiles * BM]: row of Y, -1 where the tile has no row
//   k_list      i32[a_packed's k] or null: the k of each packed column (padding: any valid k);
//               null: all row tiles hold k = 0, 1, 2, ...
//   first_step  i32[row tiles]: steps in a_packed before this row tile
//   segments    Segment[segment_begin[workers]]
//   segment_begin i32[workers + 1]
//   partials    f32[slots * BM * BN], 16-byte aligned
//   flags       u32[slots], zero before the first launch; zero again after each
//   dead_rows   i32[dead_count]: rows of Y to be written as +0
//   dead_count, k, n, ldv, col_tiles (= ceil(n / BN))
#include "segments.cuh"

#ifndef WARPS_M
#define WARPS_M 4
#define WARPS_N 2
#define TM 16
#define TN 8
#endif
#ifndef BK
#define BK 8
#endif
#ifndef KU
#define KU 1
#endif
#ifndef STAGES
#define STAGES 6
#endif
#ifndef V_BULK
#define V_BULK 1
#endif
#ifndef CTAS
#define CTAS 1
#endif

#define BM (WARPS_M * 4 * TM)
#define BN (WARPS_N * 8 * TN)
#define CONSUMERS (WARPS_M * WARPS_N * 32)

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define BULK_COPIES 1
#ifdef CONSUMER_REGISTERS
#define THREADS (CONSUMERS + 128)
#else
#define THREADS (CONSUMERS + 32)
#endif
#else
#define BULK_COPIES 0
#define THREADS CONSUMERS
#endif

#if defined(OUT_BF16) || defined(OUT_F16)
typedef unsigned short Output;
#else
typedef float Output;
#endif

static_assert(TM % 2 == 0 && TN % 2 == 0, "fragments are loaded in pairs or fours");
static_assert(BK <= 32 && BK % (2 * KU) == 0, "register buffers alternate within a step");

#define STAGE_FLOATS (BK * (BM + BN))
// Shared memory: mbarriers, a row of zeros, stages of [BK][BM] of A and [BK][BN] of V.
#define ZERO_OFFSET 256
#define ZERO_BYTES 4096
#define STAGE_OFFSET (ZERO_OFFSET + ZERO_BYTES)

#ifdef DEBUG_TIMEOUT
// Bounded waits, to find a hang without hanging.
__device__ __forceinline__ void count_wait(unsigned int &spins) {
    if (++spins > (1u << 23)) __trap();
}
#endif

// Element i of a thread's T rows (or columns), counted from its warp's first: in fours across the
// LANES lanes, a remaining pair last, so that a warp's loads touch consecutive words.
template <int T, int LANES>
__device__ __forceinline__ int position(int i, int lane) {
    return i < T / 4 * 4 ? i / 4 * 4 * LANES + lane * 4 + i % 4 : T / 4 * 4 * LANES + lane * 2 + i % 4;
}

// Where a thread reads in shared memory. As an address rather than a pointer, the compiler cannot
// derive it anew at each use.
#if BULK_COPIES
typedef unsigned int SharedFloats;
__device__ __forceinline__ SharedFloats advance(SharedFloats at, int floats) { return at + floats * 4; }
__device__ __forceinline__ float4 load4(SharedFloats at) {
    float4 q;
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(q.x), "=f"(q.y), "=f"(q.z), "=f"(q.w) : "r"(at));
    return q;
}
__device__ __forceinline__ float2 load2(SharedFloats at) {
    float2 q;
    asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(q.x), "=f"(q.y) : "r"(at));
    return q;
}
#else
typedef const float *SharedFloats;
__device__ __forceinline__ SharedFloats advance(SharedFloats at, int floats) { return at + floats; }
__device__ __forceinline__ float4 load4(SharedFloats at) { return *reinterpret_cast<const float4 *>(at); }
__device__ __forceinline__ float2 load2(SharedFloats at) { return *reinterpret_cast<const float2 *>(at); }
#endif

// `fours` is the warp's first element plus 4 lane, `pairs` plus 2 lane.
template <int T, int LANES>
__device__ __forceinline__ void load_fragment(float (&f)[T], SharedFloats fours, SharedFloats pairs) {
#pragma unroll
    for (int i = 0; i + 4 <= T; i += 4) {
        const float4 q = load4(advance(fours, i * LANES));
        f[i] = q.x;
        f[i + 1] = q.y;
        f[i + 2] = q.z;
        f[i + 3] = q.w;
    }
    if (T % 4 == 2) {
        const float2 q = load2(advance(pairs, T / 4 * 4 * LANES));
        f[T - 2] = q.x;
        f[T - 1] = q.y;
    }
}

// Rounds to the output type; -0, also where it comes from rounding, becomes +0.
__device__ __forceinline__ Output to_output(float y) {
#if defined(OUT_BF16)
    const unsigned int bits = __float_as_uint(y);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    const unsigned int rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return rounded == 0x8000u ? 0 : (unsigned short)rounded;
#elif defined(OUT_F16)
    unsigned short rounded;
#if defined(__CUDA_ARCH__)
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(rounded) : "f"(y));
#else
    const _Float16 half = (_Float16)y;
    __builtin_memcpy(&rounded, &half, 2);
#endif
    return rounded == 0x8000u ? 0 : rounded;
#else
    return __fadd_rn(y, 0.0f);
#endif
}

template <int COUNT>
__device__ __forceinline__ void store_vector(Output *to, const float *y) {
#if defined(OUT_BF16) || defined(OUT_F16)
    unsigned int word[COUNT / 2];
#pragma unroll
    for (int i = 0; i < COUNT / 2; i++)
        word[i] = to_output(y[2 * i]) | ((unsigned int)to_output(y[2 * i + 1]) << 16);
    if (COUNT == 4)
        *reinterpret_cast<uint2 *>(to) = make_uint2(word[0], word[COUNT / 2 - 1]);
    else
        *reinterpret_cast<unsigned int *>(to) = word[0];
#else
    if (COUNT == 4)
        *reinterpret_cast<float4 *>(to) = make_float4(to_output(y[0]), to_output(y[1]), to_output(y[COUNT - 2]), to_output(y[COUNT - 1]));
    else
        *reinterpret_cast<float2 *>(to) = make_float2(to_output(y[0]), to_output(y[1]));
#endif
}

// The accumulators of one thread and where they belong.
struct Place {
    int thread;
    int lane_m;
    int lane_n;
    int warp_row;
    int warp_col;
};

__device__ __forceinline__ Place place_of(int thread) {
    // Lanes 2 x 8 to a half warp, neighbours first along rows: both A and V loads then pair lanes
    // with equal addresses, and a 16-byte load of a half warp takes one pass over the banks.
    const int lane = thread & 31, warp = thread >> 5;
    Place p;
    p.thread = thread;
    p.lane_m = (lane & 1) | (lane >> 4 << 1);
    p.lane_n = lane >> 1 & 7;
    p.warp_row = warp / WARPS_N * (4 * TM);
    p.warp_col = warp % WARPS_N * (8 * TN);
    return p;
}

__device__ __forceinline__ void load_partials(float (&acc)[TM][TN], const float *slot, int thread) {
#pragma unroll
    for (int i = 0; i < TM * TN; i += 4) {
        const float4 q = *reinterpret_cast<const float4 *>(slot + i * CONSUMERS + thread * 4);
        acc[i / TN][i % TN] = q.x;
        acc[(i + 1) / TN][(i + 1) % TN] = q.y;
        acc[(i + 2) / TN][(i + 2) % TN] = q.z;
        acc[(i + 3) / TN][(i + 3) % TN] = q.w;
    }
}

__device__ __forceinline__ void store_partials(const float (&acc)[TM][TN], float *slot, int thread) {
#pragma unroll
    for (int i = 0; i < TM * TN; i += 4)
        *reinterpret_cast<float4 *>(slot + i * CONSUMERS + thread * 4) =
            make_float4(acc[i / TN][i % TN], acc[(i + 1) / TN][(i + 1) % TN], acc[(i + 2) / TN][(i + 2) % TN], acc[(i + 3) / TN][(i + 3) % TN]);
}

__device__ __forceinline__ void store_tile(const float (&acc)[TM][TN], const Place &p, Output *y, const int *row_index,
                                           int row_tile, int col_tile, int n) {
    const int *rows = row_index + row_tile * BM + p.warp_row;
    const int col = col_tile * BN + p.warp_col;
    const bool vectors = n % 4 == 0;
#pragma unroll
    for (int i = 0; i < TM; i++) {
        const int row = rows[position<TM, 4>(i, p.lane_m)];
        if (row < 0) continue;
        Output *out = y + (size_t)row * n;
        if (vectors) {
#pragma unroll
            for (int j = 0; j + 4 <= TN; j += 4) {
                const int c = col + position<TN, 8>(j, p.lane_n);
                if (c < n) store_vector<4>(out + c, &acc[i][j]);
            }
            if (TN % 4 == 2) {
                const int c = col + position<TN, 8>(TN - 2, p.lane_n);
                if (c < n) store_vector<2>(out + c, &acc[i][TN - 2]);
            }
        } else {
#pragma unroll
            for (int j = 0; j < TN; j++) {
                const int c = col + position<TN, 8>(j, p.lane_n);
                if (c < n) out[c] = to_output(acc[i][j]);
            }
        }
    }
}

// All computing threads, and only they.
__device__ __forceinline__ void consumer_barrier() {
#if BULK_COPIES
    asm volatile("bar.sync 1, %0;" ::"n"(CONSUMERS) : "memory");
#else
    __syncthreads();
#endif
}

__device__ __forceinline__ void begin_tile(float (&acc)[TM][TN], const Segment &s, const float *partials, unsigned int *flags, int thread) {
    if (s.from < 0) {
#pragma unroll
        for (int i = 0; i < TM * TN; i++) acc[i / TN][i % TN] = 0.0f;
        return;
    }
    if (thread == 0) {
#ifdef DEBUG_TIMEOUT
        for (unsigned int spins = 0; *(volatile unsigned int *)(flags + s.from) == 0;) count_wait(spins);
#endif
        wait_for_flag(flags + s.from);
    }
    consumer_barrier();
    load_partials(acc, partials + (size_t)s.from * (BM * BN), thread);
    consumer_barrier();
    if (thread == 0) lower_flag(flags + s.from);
}

__device__ __forceinline__ void end_tile(const float (&acc)[TM][TN], const Segment &s, const Place &p, float *partials, unsigned int *flags,
                                         Output *y, const int *row_index, int n, int col_tiles) {
    if (s.to < 0) {
        store_tile(acc, p, y, row_index, s.tile / col_tiles, s.tile % col_tiles, n);
        return;
    }
    store_partials(acc, partials + (size_t)s.to * (BM * BN), p.thread);
    consumer_barrier();
    if (p.thread == 0) raise_flag(flags + s.to);
}

// A thread's places in the first stage.
struct Sources {
    SharedFloats a4, a2, v4, v2;
};

__device__ __forceinline__ Sources sources_of(const Place &p, SharedFloats stages) {
    const SharedFloats a = advance(stages, p.warp_row), v = advance(stages, BK * BM + p.warp_col);
    return {advance(a, p.lane_m * 4), advance(a, p.lane_m * 2), advance(v, p.lane_n * 4), advance(v, p.lane_n * 2)};
}

// One register buffer: KU k's of the thread's rows of A and columns of V.
__device__ __forceinline__ void load_group(float (&a)[KU][TM], float (&v)[KU][TN], const Sources &from, int stage_floats, int group) {
#pragma unroll
    for (int u = 0; u < KU; u++) {
        const int k = group * KU + u;
        load_fragment<TM, 4>(a[u], advance(advance(from.a4, stage_floats), k * BM), advance(advance(from.a2, stage_floats), k * BM));
        load_fragment<TN, 8>(v[u], advance(advance(from.v4, stage_floats), k * BN), advance(advance(from.v2, stage_floats), k * BN));
    }
}

__device__ __forceinline__ void multiply(float (&acc)[TM][TN], const float (&a)[KU][TM], const float (&v)[KU][TN]) {
#pragma unroll
    for (int u = 0; u < KU; u++)
#pragma unroll
        for (int i = 0; i < TM; i++)
#pragma unroll
            for (int j = 0; j < TN; j++) acc[i][j] = __fmaf_rn(a[u][i], v[u][j], acc[i][j]);
}

#ifdef CLOCK_PROBE
extern "C" __device__ long long clock_probe[2];
__device__ long long clock_probe[2];
#endif

#if BULK_COPIES

__device__ __forceinline__ unsigned int shared_address(const void *p) { return (unsigned int)__cvta_generic_to_shared(p); }

__device__ __forceinline__ void barrier_init(unsigned int barrier, unsigned int count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}

__device__ __forceinline__ void barrier_arrive(unsigned int barrier) {
    asm volatile("{\n .reg .b64 state;\n mbarrier.arrive.shared::cta.b64 state, [%0];\n}" ::"r"(barrier) : "memory");
}

__device__ __forceinline__ void barrier_arrive_expect(unsigned int barrier, unsigned int bytes) {
    asm volatile("{\n .reg .b64 state;\n mbarrier.arrive.expect_tx.shared::cta.b64 state, [%0], %1;\n}" ::"r"(barrier), "r"(bytes) : "memory");
}

__device__ __forceinline__ void barrier_wait(unsigned int barrier, unsigned int parity) {
    unsigned int done;
#ifdef DEBUG_TIMEOUT
    unsigned int spins = 0;
#endif
    do {
        asm volatile(
            "{\n .reg .pred p;\n mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n selp.u32 %0, 1, 0, p;\n}"
            : "=r"(done)
            : "r"(barrier), "r"(parity)
            : "memory");
#ifdef DEBUG_TIMEOUT
        count_wait(spins);
#endif
    } while (!done);
}

__device__ __forceinline__ void bulk_load(unsigned int to, const void *from, unsigned int bytes, unsigned int barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to), "l"(from), "r"(bytes),
                 "r"(barrier)
                 : "memory");
}

// Writes +0 to this worker's share of the dead rows, some at each step. All lanes call.
struct DeadRows {
    const int *rows;
    int next;
    int end;
    int batch;

    __device__ __forceinline__ void write(int count, Output *y, int n, unsigned int zeros, int lane) {
        const unsigned int row_bytes = n * (unsigned int)sizeof(Output);
        for (; count > 0 && next < end; count--, next++) {
            // `end` stays fixed: batches of 32 are counted back from it.
            const int slot = (end - 1 - next) & 31;
            if (slot == 31 || batch < 0) {
                const int i = next + slot - lane;
                batch = i >= next && i < end ? rows[i] : 0;
            }
            const int row = __shfl_sync(0xffffffffu, batch, slot);
            unsigned char *out = reinterpret_cast<unsigned char *>(y + (size_t)row * n);
            if (row_bytes % 16 != 0) {
                Output *elements = reinterpret_cast<Output *>(out);
                for (int c = lane; c < n; c += 32) elements[c] = 0;
            } else if (lane == 0) {
                for (unsigned int at = 0; at < row_bytes; at += ZERO_BYTES) {
                    const unsigned int bytes = row_bytes - at < ZERO_BYTES ? row_bytes - at : ZERO_BYTES;
                    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(out + at), "r"(zeros), "r"(bytes) : "memory");
                }
                asm volatile("cp.async.bulk.commit_group;" ::: "memory");
            }
        }
    }
};

#endif

extern "C" __global__ void __launch_bounds__(THREADS, CTAS)
    gemm_chain(const float *__restrict__ a_packed, const float *__restrict__ v, Output *__restrict__ y, const int *__restrict__ row_index,
               const int *__restrict__ k_list, const int *__restrict__ first_step, const Segment *__restrict__ segments,
               const int *__restrict__ segment_begin, float *partials, unsigned int *flags, const int *__restrict__ dead_rows, int dead_count,
               int k, int n, int ldv, int col_tiles) {
    extern __shared__ __align__(128) unsigned char shared[];
    const int worker = blockIdx.x, workers = gridDim.x;
    const int segment_end = segment_begin[worker + 1];
    const int dead_begin = (int)((long long)dead_count * worker / workers);
    const int dead_end = (int)((long long)dead_count * (worker + 1) / workers);

#if BULK_COPIES
    // Stage i: full barrier at 16 i, empty barrier at 16 i + 8.
    const unsigned int barriers = shared_address(shared);
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            barrier_init(barriers + 16 * i, V_BULK ? 1 : 33);
            barrier_init(barriers + 16 * i + 8, CONSUMERS / 32);
        }
    }
    for (int i = threadIdx.x; i < ZERO_BYTES / 16; i += THREADS)
        reinterpret_cast<float4 *>(shared + ZERO_OFFSET)[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    // The bulk copies see the barriers and the zeros.
    asm volatile("fence.proxy.async;" ::: "memory");
    __syncthreads();

    unsigned int stage = 0, parity = 0;
    if (threadIdx.x >= CONSUMERS) {
#ifdef CONSUMER_REGISTERS
        asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(PRODUCER_REGISTERS));
        if (threadIdx.x >= CONSUMERS + 32) return;
#endif
        const int lane = threadIdx.x & 31;
#ifdef CLOCK_PROBE
        long long clocks = clock64(), time;
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(time));
#endif
        int steps = 0;
        for (int i = segment_begin[worker]; i < segment_end; i++) steps += segments[i].step_end - segments[i].step_begin;
        const int quota = steps > 0 ? (dead_end - dead_begin + steps - 1) / steps : 0;
        DeadRows dead = {dead_rows, dead_begin, dead_end, -1};
        const unsigned int zeros = barriers + ZERO_OFFSET;

        for (int i = segment_begin[worker]; i < segment_end; i++) {
            const Segment s = segments[i];
            const int row_tile = s.tile / col_tiles, col = s.tile % col_tiles * BN;
            const int cols = ldv - col < BN ? ldv - col : BN;
            const size_t first = first_step[row_tile];
            const int *list = k_list ? k_list + first * BK + (lane < BK ? lane : 0) : nullptr;
            // Lane i holds the k of row i of the step, read one step ahead.
            int row_next = list ? list[(size_t)s.step_begin * BK] : 0;
            for (int step = s.step_begin; step < s.step_end; step++) {
                int row = list ? row_next : step * BK + lane;
                if (list && step + 1 < s.step_end) row_next = list[(size_t)(step + 1) * BK];
                // Past the last k, A is zero: any row of V will do.
                row = row < k ? row : k - 1;

                const unsigned int full = barriers + 16 * stage;
                const unsigned int a_to = barriers + STAGE_OFFSET + stage * (STAGE_FLOATS * 4), v_to = a_to + BK * BM * 4;
                barrier_wait(full + 8, parity ^ 1);
                if (lane == 0) {
                    barrier_arrive_expect(full, BK * BM * 4 + (V_BULK ? BK * cols * 4 : 0));
                    bulk_load(a_to, a_packed + (first + step) * (BK * BM), BK * BM * 4, full);
                }
#if V_BULK
#pragma unroll 4
                for (int r = 0; r < BK; r++) {
                    const int from = __shfl_sync(0xffffffffu, row, r);
                    if (lane == 0) bulk_load(v_to + r * (BN * 4), v + (size_t)from * ldv + col, cols * 4, full);
                }
#else
#pragma unroll 4
                for (int c = 0; c < BK * BN / 4; c += 32) {
                    const int r = (c + lane) / (BN / 4), at = (c + lane) % (BN / 4) * 4;
                    const int from = __shfl_sync(0xffffffffu, row, r & 31);
                    if (r < BK && at < cols)
                        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(v_to + (r * BN + at) * 4), "l"(v + (size_t)from * ldv + col + at)
                                     : "memory");
                }
                asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(full) : "memory");
#endif
                if (++stage == STAGES) {
                    stage = 0;
                    parity ^= 1;
                }
                dead.write(quota, y, n, zeros, lane);
            }
        }
        if (segment_begin[worker] != segment_end) {
            // Those who compute read ahead by one stage: let them have an empty one.
            const unsigned int full = barriers + 16 * stage;
            barrier_wait(full + 8, parity ^ 1);
            if (!V_BULK) barrier_arrive(full);
            if (lane == 0) barrier_arrive(full);
        }
        dead.write(dead_end - dead_begin, y, n, zeros, lane);
        // The zeros must outlive the copies that read them.
        asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
#ifdef CLOCK_PROBE
        if (worker == 0 && lane == 0) {
            long long now;
            asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
            clock_probe[0] = clock64() - clocks;
            clock_probe[1] = now - time;
        }
#endif
        return;
    }

#ifdef CONSUMER_REGISTERS
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(CONSUMER_REGISTERS));
#endif
    if (segment_begin[worker] == segment_end) return;
    const Place p = place_of(threadIdx.x);
    const bool first_lane = (threadIdx.x & 31) == 0;
    // Exchanged with oneself, so that the compiler keeps the sums instead of the terms.
    Sources from = sources_of(p, barriers + STAGE_OFFSET);
    from.a4 = __shfl_sync(0xffffffffu, from.a4, threadIdx.x & 31);
    from.v4 = __shfl_sync(0xffffffffu, from.v4, threadIdx.x & 31);
    const unsigned int kept_barriers = __shfl_sync(0xffffffffu, barriers, 0);
    float acc[TM][TN], a[2][KU][TM], b[2][KU][TN];
    barrier_wait(kept_barriers, 0);
    load_group(a[0], b[0], from, 0, 0);
    for (int i = segment_begin[worker]; i < segment_end; i++) {
        const Segment s = segments[i];
        begin_tile(acc, s, partials, flags, p.thread);
        for (int steps = s.step_end - s.step_begin; steps > 0; steps--) {
#pragma unroll
            for (int g = 0; g < BK / KU; g++) {
                if (g + 1 < BK / KU) {
                    load_group(a[(g + 1) & 1], b[(g + 1) & 1], from, stage * STAGE_FLOATS, g + 1);
                } else {
                    // All reads of this stage are issued: give it back, then read ahead from the next,
                    // which may belong to the next segment.
                    __syncwarp();
                    if (first_lane) barrier_arrive(kept_barriers + 16 * stage + 8);
                    if (++stage == STAGES) {
                        stage = 0;
                        parity ^= 1;
                    }
                    barrier_wait(kept_barriers + 16 * stage, parity);
                    load_group(a[0], b[0], from, stage * STAGE_FLOATS, 0);
                }
                multiply(acc, a[g & 1], b[g & 1]);
            }
        }
        end_tile(acc, s, p, partials, flags, y, row_index, n, col_tiles);
    }

#else
    float *stages = reinterpret_cast<float *>(shared);
    for (int i = dead_begin; i < dead_end; i++) {
        Output *out = y + (size_t)dead_rows[i] * n;
        for (int c = threadIdx.x; c < n; c += THREADS) out[c] = 0;
    }
    const Place p = place_of(threadIdx.x);
    const Sources from = sources_of(p, stages);
    float acc[TM][TN], a[2][KU][TM], b[2][KU][TN];
    for (int i = segment_begin[worker]; i < segment_end; i++) {
        const Segment s = segments[i];
        const int col = s.tile % col_tiles * BN;
        const size_t first = first_step[s.tile / col_tiles];
        begin_tile(acc, s, partials, flags, p.thread);

        // Pieces of 16 bytes: the stage's A is one block, of V each row is its own.
        auto load_step = [&](int step) {
            float *to = stages + (step & 1) * STAGE_FLOATS;
            auto copy = [](float *to, const float *from) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
                asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((unsigned int)__cvta_generic_to_shared(to)), "l"(from) : "memory");
#else
                *reinterpret_cast<float4 *>(to) = *reinterpret_cast<const float4 *>(from);
#endif
            };
            const float *a_from = a_packed + (first + step) * (BK * BM);
            for (int c = threadIdx.x; c < BK * BM / 4; c += THREADS) copy(to + c * 4, a_from + c * 4);
            for (int c = threadIdx.x; c < BK * BN / 4; c += THREADS) {
                const int r = c / (BN / 4), at = c % (BN / 4) * 4;
                int row = k_list ? k_list[(first + step) * BK + r] : step * BK + r;
                row = row < k ? row : k - 1;
                if (col + at < ldv) copy(to + BK * BM + c * 4, v + (size_t)row * ldv + col + at);
            }
        };
        load_step(s.step_begin);
        for (int step = s.step_begin; step < s.step_end; step++) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
            asm volatile("cp.async.wait_all;" ::: "memory");
#endif
            // This step's copies are seen by all, and all have left the buffer that is filled next.
            __syncthreads();
            if (step + 1 < s.step_end) load_step(step + 1);
            const int stage = (step & 1) * STAGE_FLOATS;
            load_group(a[0], b[0], from, stage, 0);
#pragma unroll
            for (int g = 0; g < BK / KU; g++) {
                if (g + 1 < BK / KU) load_group(a[(g + 1) & 1], b[(g + 1) & 1], from, stage, g + 1);
                multiply(acc, a[g & 1], b[g & 1]);
            }
        }
        __syncthreads();
        end_tile(acc, s, p, partials, flags, y, row_index, n, col_tiles);
    }
#endif
}
