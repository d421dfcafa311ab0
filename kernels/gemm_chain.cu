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
// Block: CONSUMERS threads; where __CUDA_ARCH__ >= 900 and 32 PRODUCERS more, which only move data. The
// warps that compute rarely leave them an issue slot, so a step must cost them few instructions: one bulk
// copy of A, one tensor copy of V (with k lists, 16-byte copies of V).
// Order of accumulation: one fma chain per output, in registers; a tile shared by two workers hands
// the registers on.
//
// Compile-time choice (-D):
//   WARPS_M, WARPS_N  computing warps along rows and columns
//   LANES_M, LANES_N  lanes along rows and columns, 32 together
//   TM, TN            outputs of a thread, not 3 mod 4; BM = LANES_M TM WARPS_M, BN = LANES_N TN WARPS_N,
//                     at most 256; BN = 1 or a multiple of 4
//   BK                k of a step, at most 256; BK BM and BK BN multiples of 32
//   KU                k per register buffer; BK / KU must be even; BN = 1: a multiple of 4
//   UNROLL            pairs of buffers per turn of the inner loop, which must fit the instruction cache
//   STAGES            steps in flight (__CUDA_ARCH__ >= 900; elsewhere 2)
//   PRODUCERS         warps that move data; more than one pays with k lists only
//   CTAS              blocks per SM
//   CONSUMER_REGISTERS, PRODUCER_REGISTERS
//                     sm_90a, sm_100a, with PRODUCERS = 4: registers per thread after those who move data
//                     have given most of theirs to those who compute (multiples of 8)
//   OUT_BF16/OUT_F16  store Y rounded once, nearest even, instead of f32; again never -0
// Dynamic shared memory in bytes:
//   __CUDA_ARCH__ >= 900: 4608 + STAGES * 4 BK (BM + BN); elsewhere: 8 BK (BM + BN)
//
// Arguments (all pointers device):
//   v_map       by value; tensor map of V for __CUDA_ARCH__ >= 900, else unused: f32, 2-D, dimensions
//               {n, k}, row stride 4 ldv bytes, box {BN, BK}; BN = 1: {k, 1}, box {BK, 1}; no swizzle, no
//               interleave, zero beyond the bounds
//   a_packed    f32[steps of all row tiles * BK * BM], 16-byte aligned: per row tile [k][BM], k padded
//               with zeros to a multiple of BK, missing rows zero
//   v           f32[k * ldv], 16-byte aligned, ldv % 4 == 0; columns n.. of it are never used.
//               BN = 1: n = 1, any ldv with k lists, else ldv = 1
//   y           f32/bf16/f16 [m * ldy], 16-byte aligned, ldy % 8 == 0; columns 0..n of it are all written,
//               the others left alone
//   row_index   i32[row tiles * BM]: row of Y, -1 where the tile has no row
//   k_list      i32[a_packed's k] or null: the k of each packed column (padding: any valid k);
//               null: all row tiles hold k = 0, 1, 2, ...
//   first_step  i32[row tiles]: steps in a_packed before this row tile
//   segments    Segment[segment_begin[workers]]
//   segment_begin i32[workers + 1]
//   partials    f32[slots * BM * BN], 16-byte aligned
//   flags       u32[slots], zero before the first launch; zero again after each
//   dead_rows   i32[dead_count]: rows of Y to be written as +0
//   dead_count, k, n, ldv, ldy, col_tiles (= ceil(n / BN))
#include "segments.cuh"

#ifndef WARPS_M
#define WARPS_M 4
#define WARPS_N 2
#define TM 16
#define TN 8
#endif
#ifndef LANES_M
#define LANES_M 4
#define LANES_N 8
#endif
#ifndef BK
#define BK 16
#endif
#ifndef KU
#define KU 1
#endif
#ifndef UNROLL
#define UNROLL 1
#endif
#ifndef STAGES
#define STAGES 6
#endif
#ifndef PRODUCERS
#define PRODUCERS 1
#endif
#ifndef CTAS
#define CTAS 1
#endif

#define BM (WARPS_M * LANES_M * TM)
#define BN (WARPS_N * LANES_N * TN)
#define CONSUMERS (WARPS_M * WARPS_N * 32)
#define GROUPS (BK / KU)
// Floats per copy of V where no tensor map is used; copies per step.
#define PIECE (BN == 1 ? 1 : 4)
#define PIECES (BK * BN / PIECE)

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define BULK_COPIES 1
#define THREADS (CONSUMERS + 32 * PRODUCERS)
#else
#define BULK_COPIES 0
#define THREADS CONSUMERS
#endif

#ifdef __HIPCC__
#define GRID_CONSTANT
#else
#define GRID_CONSTANT __grid_constant__
#endif

#if defined(OUT_BF16) || defined(OUT_F16)
typedef unsigned short Output;
#else
typedef float Output;
#endif

struct alignas(64) TensorMap {
    unsigned long long opaque[16];
};

static_assert(TM % 4 != 3 && TN % 4 != 3, "fragments are loaded in fours, pairs or ones");
static_assert(LANES_M * LANES_N == 32, "a warp");
static_assert(BK <= 256 && BN <= 256 && (BN == 1 || BN % 4 == 0), "box of the tensor map");
static_assert(BK * BM % 32 == 0 && BK * BN % 32 == 0, "alignment of copies");
static_assert(BK % (2 * KU) == 0 && (BN > 1 || KU % 4 == 0), "register buffers alternate within a step");

#define STAGE_FLOATS (BK * (BM + BN))
// Shared memory: mbarriers, a row of zeros, stages of [BK][BM] of A and [BK][BN] of V.
#define ZERO_OFFSET 512
#define ZERO_BYTES 4096
#define STAGE_OFFSET (ZERO_OFFSET + ZERO_BYTES)
static_assert(STAGES * 16 <= ZERO_OFFSET, "mbarriers");
#define LAG (STAGES > 4 ? 2 : STAGES > 2 ? 1 : 0)
#ifdef CONSUMER_REGISTERS
static_assert(PRODUCERS == 4 && CONSUMERS % 128 == 0, "registers change hands between warp groups");
#endif


// Element i of a thread's T rows (or columns), counted from its warp's first: in fours across the
// LANES lanes, a remaining pair or one last, so that a warp's loads touch consecutive words.
template <int T, int LANES>
__device__ __forceinline__ int position(int i, int lane) {
    return i < T / 4 * 4 ? i / 4 * 4 * LANES + lane * 4 + i % 4 : T / 4 * 4 * LANES + lane * (T % 4) + i % 4;
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
__device__ __forceinline__ float load1(SharedFloats at) {
    float q;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(q) : "r"(at));
    return q;
}
#else
typedef const float *SharedFloats;
__device__ __forceinline__ SharedFloats advance(SharedFloats at, int floats) { return at + floats; }
__device__ __forceinline__ float4 load4(SharedFloats at) { return *reinterpret_cast<const float4 *>(at); }
__device__ __forceinline__ float2 load2(SharedFloats at) { return *reinterpret_cast<const float2 *>(at); }
__device__ __forceinline__ float load1(SharedFloats at) { return *at; }
#endif

// `fours` is the warp's first element plus 4 lane, `rest` plus T % 4 lane.
template <int T, int LANES>
__device__ __forceinline__ void load_fragment(float (&f)[T], SharedFloats fours, SharedFloats rest) {
#pragma unroll
    for (int i = 0; i + 4 <= T; i += 4) {
        const float4 q = load4(advance(fours, i * LANES));
        f[i] = q.x;
        f[i + 1] = q.y;
        f[i + 2] = q.z;
        f[i + 3] = q.w;
    }
    if constexpr (T % 4 == 2) {
        const float2 q = load2(advance(rest, T / 4 * 4 * LANES));
        f[T - 2] = q.x;
        f[T - 1] = q.y;
    }
    if constexpr (T % 4 == 1) f[T - 1] = load1(advance(rest, T / 4 * 4 * LANES));
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
    const int lane = thread & 31, warp = thread >> 5;
    Place p;
    p.thread = thread;
    if (LANES_M == 4) {
        // Lanes 2 x 8 to a half warp, neighbours first along rows: both A and V loads then pair lanes
        // with equal addresses, and a 16-byte load of a half warp takes one pass over the banks.
        p.lane_m = (lane & 1) | (lane >> 4 << 1);
        p.lane_n = lane >> 1 & 7;
    } else {
        // 8 x 4: neighbours along rows, whose loads of A are one line, and four at a time share one of V.
        p.lane_m = lane % LANES_M;
        p.lane_n = lane / LANES_M;
    }
    p.warp_row = warp / WARPS_N * (LANES_M * TM);
    p.warp_col = warp % WARPS_N * (LANES_N * TN);
    return p;
}

// In fours where they come out even.
#define PARTIALS_IN_FOURS (TM * TN % 4 == 0)

__device__ __forceinline__ void load_partials(float (&acc)[TM][TN], const float *slot, int thread) {
#pragma unroll
    for (int i = 0; i < TM * TN; i += PARTIALS_IN_FOURS ? 4 : 1) {
        if (PARTIALS_IN_FOURS) {
            const float4 q = *reinterpret_cast<const float4 *>(slot + i * CONSUMERS + thread * 4);
            acc[i / TN][i % TN] = q.x;
            acc[(i + 1) / TN % TM][(i + 1) % TN] = q.y;
            acc[(i + 2) / TN % TM][(i + 2) % TN] = q.z;
            acc[(i + 3) / TN % TM][(i + 3) % TN] = q.w;
        } else {
            acc[i / TN][i % TN] = slot[i * CONSUMERS + thread];
        }
    }
}

__device__ __forceinline__ void store_partials(const float (&acc)[TM][TN], float *slot, int thread) {
#pragma unroll
    for (int i = 0; i < TM * TN; i += PARTIALS_IN_FOURS ? 4 : 1) {
        if (PARTIALS_IN_FOURS)
            *reinterpret_cast<float4 *>(slot + i * CONSUMERS + thread * 4) =
                make_float4(acc[i / TN][i % TN], acc[(i + 1) / TN % TM][(i + 1) % TN], acc[(i + 2) / TN % TM][(i + 2) % TN],
                            acc[(i + 3) / TN % TM][(i + 3) % TN]);
        else
            slot[i * CONSUMERS + thread] = acc[i / TN][i % TN];
    }
}

__device__ __forceinline__ void store_tile(const float (&acc)[TM][TN], const Place &p, Output *y, const int *row_index,
                                           int row_tile, int col_tile, int n, int ldy) {
    const int *rows = row_index + row_tile * BM + p.warp_row;
    const int col = col_tile * BN + p.warp_col;
    const bool vectors = TN > 1 && n % 4 == 0;
#pragma unroll
    for (int i = 0; i < TM; i++) {
        const int row = rows[position<TM, LANES_M>(i, p.lane_m)];
        if (row < 0) continue;
        Output *out = y + (size_t)row * ldy;
        if (vectors) {
#pragma unroll
            for (int j = 0; j + 4 <= TN; j += 4) {
                const int c = col + position<TN, LANES_N>(j, p.lane_n);
                if (c < n) store_vector<4>(out + c, &acc[i][j]);
            }
            if (TN % 4 == 2) {
                const int c = col + position<TN, LANES_N>(TN - 2, p.lane_n);
                if (c < n) store_vector<2>(out + c, &acc[i][TN > 1 ? TN - 2 : 0]);
            }
            if (TN % 4 == 1) {
                const int c = col + position<TN, LANES_N>(TN - 1, p.lane_n);
                if (c < n) out[c] = to_output(acc[i][TN - 1]);
            }
        } else {
#pragma unroll
            for (int j = 0; j < TN; j++) {
                const int c = col + position<TN, LANES_N>(j, p.lane_n);
                if (c < n) out[c] = to_output(acc[i][j]);
            }
        }
    }
}

// Writes dead rows as +0: all computing threads, several rows at a time where they are short.
__device__ __forceinline__ void write_dead_rows(Output *y, const int *dead_rows, int begin, int end, int n, int ldy) {
    int width = 1;
    while (width < n && 2 * width <= CONSUMERS) width *= 2;
    for (int i = begin + (int)threadIdx.x / width; i < end; i += CONSUMERS / width)
        for (int c = (int)threadIdx.x % width; c < n; c += width) y[(size_t)dead_rows[i] * ldy + c] = 0;
}

// All computing threads, and only they.
__device__ __forceinline__ void consumer_barrier() {
#if BULK_COPIES
    // A warp's lanes must come together: one of them may be behind, and the barrier counts warps.
    __syncwarp();
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
        wait_for_flag(flags + s.from);
    }
    consumer_barrier();
    load_partials(acc, partials + (size_t)s.from * (BM * BN), thread);
    consumer_barrier();
    if (thread == 0) lower_flag(flags + s.from);
}

__device__ __forceinline__ void end_tile(const float (&acc)[TM][TN], const Segment &s, const Place &p, float *partials, unsigned int *flags,
                                         Output *y, const int *row_index, int n, int ldy, int col_tiles) {
    if (s.to < 0) {
        store_tile(acc, p, y, row_index, s.tile / col_tiles, s.tile % col_tiles, n, ldy);
        return;
    }
    store_partials(acc, partials + (size_t)s.to * (BM * BN), p.thread);
    consumer_barrier();
    if (p.thread == 0) raise_flag(flags + s.to);
}

// Where a thread reads: its first four rows (columns) and the rest, see load_fragment.
struct Sources {
    SharedFloats a4, a_rest, v4, v_rest;
};

__device__ __forceinline__ Sources sources_of(const Place &p, SharedFloats stages) {
    const SharedFloats a = advance(stages, p.warp_row), v = advance(stages, BK * BM + p.warp_col);
    return {advance(a, p.lane_m * 4), advance(a, p.lane_m * (TM % 4)), advance(v, p.lane_n * 4), advance(v, p.lane_n * (TN % 4))};
}

__device__ __forceinline__ Sources advance(const Sources &s, int a_floats, int v_floats) {
    return {advance(s.a4, a_floats), advance(s.a_rest, a_floats), advance(s.v4, v_floats), advance(s.v_rest, v_floats)};
}

__device__ __forceinline__ Sources advance_k(const Sources &s, int k) { return advance(s, k * BM, k * BN); }

// One register buffer: KU k's of the thread's rows of A and columns of V.
__device__ __forceinline__ void load_group(float (&a)[KU][TM], float (&v)[KU][TN], const Sources &from) {
#pragma unroll
    for (int u = 0; u < KU; u++) {
        load_fragment<TM, LANES_M>(a[u], advance(from.a4, u * BM), advance(from.a_rest, u * BM));
        if (BN > 1) {
            load_fragment<TN, LANES_N>(v[u], advance(from.v4, u * BN), advance(from.v_rest, u * BN));
        } else if (u % 4 == 0) {
            const float4 q = load4(advance(from.v4, u));
            v[u][0] = q.x;
            v[(u + 1) % KU][0] = q.y;
            v[(u + 2) % KU][0] = q.z;
            v[(u + 3) % KU][0] = q.w;
        }
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

// Pairs of groups while the next group is read; `from` is left at the last pair, its first group in
// registers.
__device__ __forceinline__ void multiply_pairs(float (&acc)[TM][TN], float (&a)[2][KU][TM], float (&v)[2][KU][TN], Sources &from) {
    constexpr int TURN = UNROLL;
#pragma unroll TURN
    for (int pair = 1; pair < GROUPS / 2; pair++) {
        load_group(a[1], v[1], advance_k(from, KU));
        multiply(acc, a[0], v[0]);
        from = advance_k(from, 2 * KU);
        load_group(a[0], v[0], from);
        multiply(acc, a[1], v[1]);
    }
}


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

__device__ __forceinline__ bool barrier_passed(unsigned int barrier, unsigned int parity) {
    unsigned int done;
    asm volatile(
        "{\n .reg .pred p;\n mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n selp.u32 %0, 1, 0, p;\n}"
        : "=r"(done)
        : "r"(barrier), "r"(parity)
        : "memory");
    return done != 0;
}

__device__ __forceinline__ void barrier_wait(unsigned int barrier, unsigned int parity) {
    if (barrier_passed(barrier, parity)) return;
    while (!barrier_passed(barrier, parity)) {}
}

__device__ __forceinline__ void bulk_load(unsigned int to, const void *from, unsigned int bytes, unsigned int barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to), "l"(from), "r"(bytes),
                 "r"(barrier)
                 : "memory");
}

__device__ __forceinline__ void tensor_load(unsigned int to, const TensorMap *map, int x, int y, unsigned int barrier) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(to), "l"(map),
                 "r"(x), "r"(y), "r"(barrier)
                 : "memory");
}

// The ring of stages, from either side. Stage i: full barrier at 16 i, empty barrier at 16 i + 8.
struct Ring {
    unsigned int barriers;
    unsigned int stage;
    unsigned int parity;

    __device__ __forceinline__ unsigned int full() const { return barriers + 16 * stage; }
    __device__ __forceinline__ unsigned int empty() const { return barriers + 16 * stage + 8; }
    __device__ __forceinline__ void next() {
        if (++stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
};

// A warp's: all lanes have read.
__device__ __forceinline__ void give_back(unsigned int empty, bool first_lane) {
    __syncwarp();
    if (first_lane) barrier_arrive(empty);
}

// This worker's share of the dead rows, written as +0 by one thread where rows are multiples of 16
// bytes, else by all that compute.
struct DeadRows {
    const int *rows;
    int next;
    int end;
    int row;

    __device__ __forceinline__ DeadRows(const int *rows, int begin, int end) : rows(rows), next(begin), end(end), row(begin < end ? rows[begin] : 0) {}

    __device__ __forceinline__ void write(int count, Output *y, int n, int ldy, unsigned int zeros) {
        const unsigned int row_bytes = n * (unsigned int)sizeof(Output);
        for (; count > 0 && next < end; count--) {
            unsigned char *out = reinterpret_cast<unsigned char *>(y + (size_t)row * ldy);
            // Read ahead, so that the next call does not wait for it.
            if (++next < end) row = rows[next];
            for (unsigned int at = 0; at < row_bytes; at += ZERO_BYTES) {
                const unsigned int bytes = row_bytes - at < ZERO_BYTES ? row_bytes - at : ZERO_BYTES;
                asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(out + at), "r"(zeros), "r"(bytes) : "memory");
            }
            asm volatile("cp.async.bulk.commit_group;" ::: "memory");
        }
    }
};

// One thread moves all data: k in its natural order.
__device__ __forceinline__ void produce(Ring &ring, const TensorMap *map, const float *a_packed, const int *first_step, const Segment *segments,
                                        int segment_begin, int segment_end, int col_tiles, DeadRows &dead, int quota, Output *y, int n,
                                        int ldy, unsigned int zeros) {
    for (int i = segment_begin; i < segment_end; i++) {
        const Segment s = segments[i];
        const int col = s.tile % col_tiles * BN;
        const float *a_from = a_packed + ((size_t)first_step[s.tile / col_tiles] + s.step_begin) * (BK * BM);
        int k = s.step_begin * BK;
        for (int steps = s.step_end - s.step_begin; steps > 0; steps--) {
            const unsigned int to = ring.barriers + STAGE_OFFSET + ring.stage * (STAGE_FLOATS * 4), full = ring.full();
            barrier_wait(ring.empty(), ring.parity ^ 1);
            barrier_arrive_expect(full, STAGE_FLOATS * 4);
            bulk_load(to, a_from, BK * BM * 4, full);
            tensor_load(to + BK * BM * 4, map, BN == 1 ? k : col, BN == 1 ? 0 : k, full);
            a_from += BK * BM;
            k += BK;
            ring.next();
            dead.write(quota, y, n, ldy, zeros);
        }
    }
}

// All producers: rows of V by k lists, in pieces. Thread t of them takes pieces t, t + 32 PRODUCERS, ...
__device__ __forceinline__ void produce_listed(Ring &ring, const float *v, int k, int ldv, const int *k_list, const float *a_packed,
                                               const int *first_step, const Segment *segments, int segment_begin, int segment_end, int col_tiles,
                                               DeadRows &dead, int quota, Output *y, int n, int ldy, unsigned int zeros) {
    constexpr int ROUNDS = (PIECES + 32 * PRODUCERS - 1) / (32 * PRODUCERS);
    const int thread = threadIdx.x - CONSUMERS;
    // A thread's pieces of a stage are announced once those of LAG later stages are asked for.
    Ring landed = ring;
    int underway = 0;
    for (int i = segment_begin; i < segment_end; i++) {
        const Segment s = segments[i];
        const int col = s.tile % col_tiles * BN;
        size_t step = (size_t)first_step[s.tile / col_tiles] + s.step_begin;
        // The k of the pieces, read one step ahead.
        int row[ROUNDS];
        auto read_list = [&]() {
#pragma unroll
            for (int r = 0; r < ROUNDS; r++) {
                const int piece = r * 32 * PRODUCERS + thread;
                row[r] = PIECES % (32 * PRODUCERS) == 0 || piece < PIECES ? k_list[step * BK + piece / (BN / PIECE)] : 0;
            }
        };
        read_list();
        for (int steps = s.step_end - s.step_begin; steps > 0; steps--) {
            const unsigned int to = ring.barriers + STAGE_OFFSET + ring.stage * (STAGE_FLOATS * 4), full = ring.full();
            barrier_wait(ring.empty(), ring.parity ^ 1);
            if (thread == 0) {
                barrier_arrive_expect(full, BK * BM * 4);
                bulk_load(to, a_packed + step * (BK * BM), BK * BM * 4, full);
            }
#pragma unroll
            for (int r = 0; r < ROUNDS; r++) {
                const int piece = r * 32 * PRODUCERS + thread, at = col + piece % (BN / PIECE) * PIECE;
                if ((PIECES % (32 * PRODUCERS) == 0 || piece < PIECES) && at < ldv) {
                    const unsigned int there = to + (BK * BM + piece * PIECE) * 4;
                    const float *from = v + (size_t)row[r] * ldv + at;
                    if (PIECE == 4)
                        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(there), "l"(from) : "memory");
                    else
                        asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(there), "l"(from) : "memory");
                }
            }
            asm volatile("cp.async.commit_group;" ::: "memory");
            if (underway == LAG) {
                asm volatile("cp.async.wait_group %0;" ::"n"(LAG) : "memory");
                barrier_arrive(landed.full());
                landed.next();
            } else {
                underway++;
            }
            ring.next();
            step++;
            if (steps > 1) read_list();
            if (thread == 0) dead.write(quota, y, n, ldy, zeros);
        }
    }
    asm volatile("cp.async.wait_all;" ::: "memory");
    for (; underway > 0; underway--) {
        barrier_arrive(landed.full());
        landed.next();
    }
}

#endif

extern "C" __global__ void __launch_bounds__(THREADS, CTAS)
    gemm_chain(const GRID_CONSTANT TensorMap v_map, const float *__restrict__ a_packed, const float *__restrict__ v, Output *__restrict__ y,
               const int *__restrict__ row_index, const int *__restrict__ k_list, const int *__restrict__ first_step,
               const Segment *__restrict__ segments, const int *__restrict__ segment_begin, float *partials, unsigned int *flags,
               const int *__restrict__ dead_rows, int dead_count, int k, int n, int ldv, int ldy, int col_tiles) {
    extern __shared__ __align__(128) unsigned char shared[];
    const int worker = blockIdx.x, workers = gridDim.x;
    const int first_segment = segment_begin[worker], segment_end = segment_begin[worker + 1];
    const int dead_begin = (int)((long long)dead_count * worker / workers);
    const int dead_end = (int)((long long)dead_count * (worker + 1) / workers);

#if BULK_COPIES
    // Exchanged, so that the compiler does not derive the address anew at each use.
    const unsigned int barriers = __shfl_sync(0xffffffffu, shared_address(shared), 0);
    const bool bulk_rows = n * (unsigned int)sizeof(Output) % 16 == 0;
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            barrier_init(barriers + 16 * i, k_list ? 1 + 32 * PRODUCERS : 1);
            barrier_init(barriers + 16 * i + 8, CONSUMERS / 32);
        }
    }
    for (int i = threadIdx.x; i < ZERO_BYTES / 16; i += THREADS)
        reinterpret_cast<float4 *>(shared + ZERO_OFFSET)[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    // The bulk copies see the barriers and the zeros.
    asm volatile("fence.proxy.async;" ::: "memory");
    __syncthreads();

    Ring ring = {barriers, 0, 0};
    if (threadIdx.x >= CONSUMERS) {
        const int thread = threadIdx.x - CONSUMERS;
#ifdef CONSUMER_REGISTERS
        asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(PRODUCER_REGISTERS));
#endif
        if (!k_list && thread != 0) return;
        int steps = 0;
        for (int i = first_segment; i < segment_end; i++) steps += segments[i].step_end - segments[i].step_begin;
        const int quota = steps > 0 ? (dead_end - dead_begin + steps - 1) / steps : 0;
        DeadRows dead(dead_rows, dead_begin, bulk_rows ? dead_end : dead_begin);
        const unsigned int zeros = barriers + ZERO_OFFSET;

        if (k_list)
            produce_listed(ring, v, k, ldv, k_list, a_packed, first_step, segments, first_segment, segment_end, col_tiles, dead, quota, y, n, ldy, zeros);
        else
            produce(ring, &v_map, a_packed, first_step, segments, first_segment, segment_end, col_tiles, dead, quota, y, n, ldy, zeros);
        if (first_segment != segment_end) {
            // Those who compute read ahead by one stage: let them have an empty one.
            barrier_wait(ring.empty(), ring.parity ^ 1);
            barrier_arrive(ring.full());
            if (k_list && thread == 0) barrier_arrive(ring.full());
        }
        if (thread == 0) {
            dead.write(dead_end - dead_begin, y, n, ldy, zeros);
            // The zeros must outlive the copies that read them.
            asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
        }
        return;
    }

#ifdef CONSUMER_REGISTERS
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(CONSUMER_REGISTERS));
#endif
    if (!bulk_rows) write_dead_rows(y, dead_rows, dead_begin, dead_end, n, ldy);
    if (first_segment == segment_end) return;
    const Place p = place_of(threadIdx.x);
    const bool first_lane = (threadIdx.x & 31) == 0;
    Sources base = sources_of(p, barriers + STAGE_OFFSET);
    const int lane = threadIdx.x & 31;
    base.a4 = __shfl_sync(0xffffffffu, base.a4, lane);
    base.a_rest = __shfl_sync(0xffffffffu, base.a_rest, lane);
    base.v4 = __shfl_sync(0xffffffffu, base.v4, lane);
    base.v_rest = __shfl_sync(0xffffffffu, base.v_rest, lane);
    float acc[TM][TN], a[2][KU][TM], b[2][KU][TN];
    barrier_wait(ring.full(), 0);
    Sources from = base;
    load_group(a[0], b[0], from);
    for (int i = first_segment; i < segment_end; i++) {
        const Segment s = segments[i];
        begin_tile(acc, s, partials, flags, p.thread);
        // The empty barrier of the stage before, once all that was read from it is multiplied: a read that was issued is
        // no read that was made. It may wait behind the stores of other warps for longer than the next copy to the stage
        // takes, and reads that then. The turn of the loop keeps the compiler from giving back before it multiplies.
        unsigned int read = 0;
#pragma unroll 1
        for (int steps = s.step_end - s.step_begin; steps > 0; steps--) {
            if (read != 0) give_back(read, first_lane);
            multiply_pairs(acc, a, b, from);
            load_group(a[1], b[1], advance_k(from, KU));
            multiply(acc, a[0], b[0]);
            // Read ahead from the next stage, which may belong to the next segment.
            read = ring.empty();
            ring.next();
            barrier_wait(ring.full(), ring.parity);
            from = advance(base, ring.stage * STAGE_FLOATS, ring.stage * STAGE_FLOATS);
            load_group(a[0], b[0], from);
            multiply(acc, a[1], b[1]);
        }
        give_back(read, first_lane);
        end_tile(acc, s, p, partials, flags, y, row_index, n, ldy, col_tiles);
    }

#else
    float *stages = reinterpret_cast<float *>(shared);
    write_dead_rows(y, dead_rows, dead_begin, dead_end, n, ldy);
    const Place p = place_of(threadIdx.x);
    const Sources base = sources_of(p, stages);
    float acc[TM][TN], a[2][KU][TM], b[2][KU][TN];
    for (int i = first_segment; i < segment_end; i++) {
        const Segment s = segments[i];
        const int col = s.tile % col_tiles * BN;
        const size_t first = first_step[s.tile / col_tiles];
        begin_tile(acc, s, partials, flags, p.thread);

        // Pieces of 16 bytes (4, if BN = 1, of V): the stage's A is one block, of V each row is its own.
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
            for (int c = threadIdx.x; c < PIECES; c += THREADS) {
                const int r = c / (BN / PIECE), at = c % (BN / PIECE) * PIECE;
                int row = k_list ? k_list[(first + step) * BK + r] : step * BK + r;
                // Past the last k, A is zero: any row of V will do.
                row = row < k ? row : k - 1;
                if (col + at < ldv) {
                    const float *v_from = v + (size_t)row * ldv + col + at;
                    if (PIECE == 4)
                        copy(to + BK * BM + c * PIECE, v_from);
                    else
                        to[BK * BM + c] = *v_from;
                }
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
            Sources from = advance(base, (step & 1) * STAGE_FLOATS, (step & 1) * STAGE_FLOATS);
            load_group(a[0], b[0], from);
            multiply_pairs(acc, a, b, from);
            load_group(a[1], b[1], advance_k(from, KU));
            multiply(acc, a[0], b[0]);
            multiply(acc, a[1], b[1]);
        }
        __syncthreads();
        end_tile(acc, s, p, partials, flags, y, row_index, n, ldy, col_tiles);
    }
#endif
}
