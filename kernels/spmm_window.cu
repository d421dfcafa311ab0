// Y = A V with unstructured sparse A, one fma chain per output; no branch in the inner loop.
//
//   y[i,j] = +0; for k ascending over the non-zeros of row i: y[i,j] = fma(a[i,k], v[k,j], y[i,j])
//   Y[i,j] = y[i,j] + (+0)                                                        (-0 becomes +0)
//
// A is m x k (packed, see below), V is k x n row-major, Y is m x n row-major. Padding entries have a = 0 and change no
// bit but the sign of a zero.
//
// Grid mapping. Rows are put together in *panels* of WARPS * GROUPS * 4 slots; a tile is (panel, block of BN = 8 COLS
// columns), number panel * col_blocks + block. Workers (thread blocks) are persistent and follow work lists
// (segments.cuh). A block is WARPS consumer warps and a producer warp.
//   Eight lanes hold COLS columns each of one row, so a warp works on four rows at a time, GROUPS times over, all in
// registers. Narrow column blocks buy two things: many rows share a pass over V, and long stretches of V fit in shared
// memory. The latter makes *windows* possible: rows need not keep step in k. All of V's rows in the last `window`
// chunks are resident, and in each round every row takes its own next entry, wherever in the window that is. So rounds
// are straight code, GROUPS independent loads deep, and rows of a warp (of similar population) waste few of them; a row
// without an entry in the window gets a padding entry, which loads nothing.
//
// Accumulation order: the packer gives a row's entries in ascending k; a tile split between workers is continued from
// the stored accumulators. So each output is one chain in ascending k.
//
// Variant (all by #define): WARPS (one less than a multiple of 4, or registers are lost), GROUPS, COLS (4 or 8);
// OUT_BF16 or OUT_F16 round the output once, to nearest even.
//
// Arguments (pointers are device pointers):
//   v_map        tensor map of V: f32, {n, k} elements, row pitch 4 ldv bytes, box {BN, bk}, no swizzle, zeros outside.
//                Read only where bulk copies exist (BULK).
//   V            k x ldv f32, 16-byte aligned; ldv >= n, a multiple of 4.
//   Y            f32 (or 16-bit), 16-byte aligned, row r at y_stride * r; columns n.. up to a multiple of 4 are
//                overwritten.
//   entries      u32, 16-byte aligned; one piece a chunk: a word for each warp {where its entries start in the
//                piece, in units of 16 bytes, | rounds << 16}, padded to 16 bytes, then the entries of a warp, round
//                after round, [group][row of 4] {byte offset of the V row in the ring = (chunk of panel % ring *
//                bk + row of chunk) * BN * 4, a}. Padding: offset 0x80000000, a = 0.
//   chunks       Chunk[chunks]: where the piece is, and the first of bk consecutive rows of V.
//   chunk_begin  i32[panels + 1], first chunk of a panel.
//   panel_groups i32[panels], groups in use: GROUPS or 1. A panel of few long rows uses one group.
//   row_index    i32[panels * WARPS * GROUPS * 4], row of Y of each slot (warp, group, row), or -1.
//   segments     Segment[], work lists (steps are chunks), and seg_begin i32[workers + 1]. A tile can be cut anywhere:
//                who continues it loads the window again.
//   partials     f32[slots * WARPS * 32 * GROUPS * COLS], and flags u32[slots], zero before the first launch.
//   k, n, ldv, y_stride (>= n, a multiple of 4), col_blocks = ceil(n / BN).
//   bk           rows of V in a chunk, at most 256, a multiple of 128 / BN.
//   ring         chunks in the ring, at most 32; window < ring of them are in use at a time (plain path: <= ring).
//   pieces       entry pieces in flight; piece_bytes, room for each, a multiple of 16.
// Launch: `workers` blocks of (WARPS + 1) * 32 threads, dynamic shared memory of
// ring * bk * BN * 4 + pieces * piece_bytes + (2 * ring + pieces) * 8 bytes.
#include "round.cuh"
#include "segments.cuh"

#ifndef KERNEL_NAME
#define KERNEL_NAME spmm_window
#endif
#ifndef WARPS
#define WARPS 11
#endif
#ifndef GROUPS
#define GROUPS 14
#endif
#ifndef COLS
#define COLS 8
#endif
#ifndef BATCH
#define BATCH 2 // groups whose loads are in flight together
#endif

#define LANES 8
#define BN (LANES * COLS)
#define ROUND_BYTES (GROUPS * 32)
#define ACCS (GROUPS * COLS)

#if !defined(__HIPCC__) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define BULK 1
#else
#define BULK 0
#endif

typedef unsigned int u32;
struct __align__(64) TensorMap { unsigned long long opaque[16]; };
struct __align__(16) Chunk { u32 entry_begin, entry_size; int k_first, unused; }; // units of 16 bytes

#ifdef __HIPCC__
#define GRID_CONSTANT
#define LOAD_L2(p) (*(const volatile float *)(p))
#define STORE_L2(p, x) (*(volatile float *)(p) = (x))
#else
#define GRID_CONSTANT __grid_constant__
#define LOAD_L2(p) __ldcg(p)
#define STORE_L2(p, x) __stcg(p, x)
#endif

#if BULK
__device__ __forceinline__ u32 shared_address(const void *p) { return (u32)__cvta_generic_to_shared(p); }

__device__ __forceinline__ void barrier_wait(u32 bar, u32 parity) {
    asm volatile("{ .reg .pred p;\n"
                 "again: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
                 "@!p bra again; }" ::"r"(bar), "r"(parity) : "memory");
}

__device__ __forceinline__ void arrive(u32 bar) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}

// A box of V; the barrier counts the bytes.
__device__ __forceinline__ void load_box(u32 to, const TensorMap *map, int col, int row, u32 bar) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(to),
                 "l"(map), "r"(col), "r"(row), "r"(bar) : "memory");
}

// Only consumer warps meet here; the producer runs ahead.
// The barrier counts warps: lanes come together first.
#define CONSUMERS_MEET() \
    do { \
        __syncwarp(); \
        asm volatile("bar.sync 1, %0;" ::"n"(WARPS * 32) : "memory"); \
    } while (0)
#else
#define CONSUMERS_MEET() __syncthreads()
#endif

// The columns of an entry's V row, unless it is padding; then v keeps what was there, for products with a = 0.
__device__ __forceinline__ void load_columns(float (&v)[COLS], const char *columns, u32 offset) {
#if BULK
    // Not volatile, so that it can be scheduled: the offset comes from an entry read after the barrier. A predicate for
    // each load, or the compiler makes a branch of it.
    const u32 at = shared_address(columns) + offset;
#pragma unroll
    for (int j = 0; j < COLS / 4; ++j)
        asm("{ .reg .pred p;\n setp.ge.s32 p, %4, 0;\n @p ld.shared.v4.f32 {%0, %1, %2, %3}, [%4]; }"
            : "+f"(v[4 * j]), "+f"(v[4 * j + 1]), "+f"(v[4 * j + 2]), "+f"(v[4 * j + 3])
            : "r"(at + j * (LANES * 16)));
#else
    if ((int)offset < 0) return;
#pragma unroll
    for (int j = 0; j < COLS / 4; ++j) {
        const float4 x = *(const float4 *)(columns + offset + j * (LANES * 16));
        v[4 * j] = x.x, v[4 * j + 1] = x.y, v[4 * j + 2] = x.z, v[4 * j + 3] = x.w;
    }
#endif
}

// The rounds of a warp in one step. `columns` is the lane's place in the ring's V rows, `quad` which of four rows it has.
__device__ __forceinline__ void rounds(float (&acc)[GROUPS][COLS], float (&v)[2 * BATCH][COLS], const char *piece,
                                       const char *columns, int warp, int quad, bool shallow) {
    const u32 head = ((const u32 *)piece)[warp];
    const char *p = piece + (head & 0xffffu) * 16 + quad * 8;
    int left = (int)(head >> 16);
    if (shallow) {
        // One group: rounds take the place of groups.
#pragma unroll 1
        for (; left >= 2 * BATCH; left -= 2 * BATCH, p += 2 * BATCH * 32) {
            uint2 e[2 * BATCH];
#pragma unroll
            for (int i = 0; i < 2 * BATCH; ++i) e[i] = *(const uint2 *)(p + i * 32);
#pragma unroll
            for (int i = 0; i < 2 * BATCH; ++i) load_columns(v[i], columns, e[i].x);
#pragma unroll
            for (int i = 0; i < 2 * BATCH; ++i)
#pragma unroll
                for (int c = 0; c < COLS; ++c) acc[0][c] = __fmaf_rn(__uint_as_float(e[i].y), v[i][c], acc[0][c]);
        }
#pragma unroll 1
        for (; left > 0; --left, p += 32) {
            const uint2 e = *(const uint2 *)p;
            load_columns(v[0], columns, e.x);
#pragma unroll
            for (int c = 0; c < COLS; ++c) acc[0][c] = __fmaf_rn(__uint_as_float(e.y), v[0][c], acc[0][c]);
        }
    } else {
#pragma unroll 1
        for (; left > 0; --left, p += ROUND_BYTES) {
            // Loads of a batch before the products of the last one.
            uint2 e[GROUPS];
#pragma unroll
            for (int g = 0; g < GROUPS + BATCH; g += BATCH) {
#pragma unroll
                for (int i = g; i < g + BATCH; ++i)
                    if (i < GROUPS) {
                        e[i] = *(const uint2 *)(p + i * 32);
                        load_columns(v[i % (2 * BATCH)], columns, e[i].x);
                    }
#pragma unroll
                for (int i = g - BATCH; i < g; ++i)
                    if (i >= 0 && i < GROUPS)
#pragma unroll
                        for (int c = 0; c < COLS; ++c)
                            acc[i][c] = __fmaf_rn(__uint_as_float(e[i].y), v[i % (2 * BATCH)][c], acc[i][c]);
            }
        }
    }
}

struct __align__(sizeof(output_t) * 4) Out4 { output_t x[4]; };

extern "C" __global__ void __launch_bounds__((WARPS + 1) * 32, 1)
KERNEL_NAME(const GRID_CONSTANT TensorMap v_map, const float *__restrict__ V, output_t *__restrict__ Y,
            const u32 *__restrict__ entries, const Chunk *__restrict__ chunks, const int *__restrict__ chunk_begin,
            const int *__restrict__ panel_groups, const int *__restrict__ row_index, const Segment *__restrict__ segments,
            const int *__restrict__ seg_begin, float *partials, u32 *flags, int k, int n, int ldv, int y_stride,
            int col_blocks, int bk, int ring, int window, int pieces, int piece_bytes) {
    extern __shared__ __align__(128) char smem[];
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    const int seg_first = seg_begin[blockIdx.x], seg_last = seg_begin[blockIdx.x + 1];
    const int chunk_bytes = bk * (BN * 4);
    char *const piece_ring = smem + ring * chunk_bytes;

#if BULK
    const u32 full = shared_address(piece_ring) + pieces * piece_bytes, empty = full + ring * 8, drained = empty + ring * 8;
    if (threadIdx.x == 0) {
        for (int s = 0; s < ring; ++s) {
            asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(full + s * 8) : "memory");
            asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(empty + s * 8), "r"(WARPS * 32) : "memory");
        }
        for (int s = 0; s < pieces; ++s)
            asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(drained + s * 8), "r"(WARPS * 32) : "memory");
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    // Chunk c of a panel is always in place c % ring, so a tile may leave out places of the ring: each has its own parity.
    u32 parity = 0, piece_parity = 0;
    int at_piece = 0;

    if (warp == WARPS) {
        for (int s = seg_first; s < seg_last; ++s) {
            const Segment seg = segments[s];
            const int panel = seg.tile / col_blocks, col = seg.tile % col_blocks * BN;
            const Chunk *list = chunks + chunk_begin[panel];
            const int c0 = max(0, seg.step_begin - window + 1);
            int place = c0 % ring;
            for (int batch = c0; batch < seg.step_end; batch += 32) {
                // What 32 chunks are, a lane each: the latency is paid once.
                Chunk mine = {0, 0, 0, 0};
                if (batch + lane < seg.step_end) mine = list[batch + lane];
                const int count = min(32, seg.step_end - batch);
                for (int i = 0; i < count; ++i) {
                    const u32 entry_begin = __shfl_sync(~0u, mine.entry_begin, i);
                    const u32 entry_size = __shfl_sync(~0u, mine.entry_size, i);
                    const int k_first = __shfl_sync(~0u, mine.k_first, i);
                    const bool with_entries = batch + i >= seg.step_begin;
                    const u32 bar = full + place * 8;
                    barrier_wait(empty + place * 8, (parity >> place & 1) ^ 1);
                    if (with_entries) barrier_wait(drained + at_piece * 8, piece_parity ^ 1);
                    if (lane == 0) {
                        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar),
                                     "r"(chunk_bytes + (with_entries ? entry_size * 16 : 0)) : "memory");
                        if (with_entries)
                            asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                                             shared_address(piece_ring) + at_piece * piece_bytes),
                                         "l"(entries + (size_t)entry_begin * 4), "r"(entry_size * 16), "r"(bar) : "memory");
                        load_box(shared_address(smem) + place * chunk_bytes, &v_map, col, k_first, bar);
                    }
                    __syncwarp();
                    parity ^= 1u << place;
                    if (++place == ring) place = 0;
                    if (with_entries && ++at_piece == pieces) at_piece = 0, piece_parity ^= 1;
                }
            }
        }
    } else
#endif
    {
        const bool consumer = warp < WARPS;
        const int quad = lane / LANES;
        const char *columns = smem + lane % LANES * 16;
        float v[2 * BATCH][COLS];
#pragma unroll
        for (int i = 0; i < 2 * BATCH * COLS; ++i) v[i / COLS][i % COLS] = 0.0f;
        for (int s = seg_first; s < seg_last; ++s) {
            const Segment seg = segments[s];
            const int panel = seg.tile / col_blocks, col = seg.tile % col_blocks * BN;
            const bool shallow = panel_groups[panel] == 1;
            float acc[GROUPS][COLS];
#pragma unroll
            for (int i = 0; i < ACCS; ++i) acc[i / COLS][i % COLS] = 0.0f;
            if (seg.from >= 0) {
                u32 *flag = flags + seg.from;
                if (threadIdx.x == 0) wait_for_flag(flag);
                CONSUMERS_MEET();
                const float *in = partials + (size_t)seg.from * (ACCS * WARPS * 32) + threadIdx.x;
                if (consumer)
#pragma unroll
                    for (int i = 0; i < ACCS; ++i) acc[i / COLS][i % COLS] = LOAD_L2(in + i * (WARPS * 32));
                CONSUMERS_MEET();
                if (threadIdx.x == 0) lower_flag(flag);
            }
            const int c0 = max(0, seg.step_begin - window + 1);
            int place = c0 % ring;
#if BULK
            int oldest = c0, oldest_place = place;
#pragma unroll 1
            for (int c = c0; c < seg.step_end; ++c) {
                barrier_wait(full + place * 8, parity >> place & 1);
                parity ^= 1u << place;
                if (++place == ring) place = 0;
                if (c < seg.step_begin) continue;
                rounds(acc, v, piece_ring + at_piece * piece_bytes, columns, warp, quad, shallow);
                // Each lane for its own reads, as in spmm_chain.cu.
                arrive(drained + at_piece * 8);
                if (++at_piece == pieces) at_piece = 0;
                if (c - oldest >= window - 1) {
                    arrive(empty + oldest_place * 8);
                    ++oldest;
                    if (++oldest_place == ring) oldest_place = 0;
                }
            }
            for (; oldest < seg.step_end; ++oldest) {
                arrive(empty + oldest_place * 8);
                if (++oldest_place == ring) oldest_place = 0;
            }
#else
            // Plain path: all threads fill one place of the ring, then all compute.
            for (int c = c0; c < seg.step_end; ++c) {
                const Chunk chunk = chunks[chunk_begin[panel] + c];
                __syncthreads();
                for (int i = (int)threadIdx.x; i < chunk_bytes / 16; i += (WARPS + 1) * 32) {
                    const int row = chunk.k_first + i / (BN / 4), at = col + i % (BN / 4) * 4;
                    if (row < k && at < ldv)
                        ((float4 *)(smem + place * chunk_bytes))[i] = *(const float4 *)(V + (size_t)row * ldv + at);
                }
                if (c >= seg.step_begin)
                    for (u32 i = threadIdx.x; i < chunk.entry_size; i += (WARPS + 1) * 32)
                        ((uint4 *)piece_ring)[i] = ((const uint4 *)entries)[chunk.entry_begin + i];
                __syncthreads();
                if (consumer && c >= seg.step_begin) rounds(acc, v, piece_ring, columns, warp, quad, shallow);
                if (++place == ring) place = 0;
            }
#endif
            if (seg.to >= 0) {
                float *out = partials + (size_t)seg.to * (ACCS * WARPS * 32) + threadIdx.x;
                if (consumer)
#pragma unroll
                    for (int i = 0; i < ACCS; ++i) STORE_L2(out + i * (WARPS * 32), acc[i / COLS][i % COLS]);
                CONSUMERS_MEET();
                if (threadIdx.x == 0) raise_flag(flags + seg.to);
            } else if (consumer) {
                const int *slots = row_index + ((size_t)panel * WARPS + warp) * (GROUPS * 4) + quad;
#pragma unroll
                for (int g = 0; g < GROUPS; ++g) {
                    const int row = slots[g * 4];
                    if (row < 0) continue;
#pragma unroll
                    for (int j = 0; j < COLS / 4; ++j) {
                        const int at = col + j * (LANES * 4) + lane % LANES * 4;
                        if (at >= n) continue;
                        Out4 o;
#pragma unroll
                        for (int c = 0; c < 4; ++c) o.x[c] = round_output(acc[g][j * 4 + c]);
                        *(Out4 *)(Y + (size_t)row * y_stride + at) = o;
                    }
                }
            }
        }
    }
}
