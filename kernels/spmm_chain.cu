// Y = A V with unstructured sparse A, one fma chain per output.
//
//   y[i,j] = +0; for k ascending over the non-zeros of row i: y[i,j] = fma(a[i,k], v[k,j], y[i,j])
//   Y[i,j] = y[i,j] + (+0)                                                        (-0 becomes +0)
//
// A is m x k (packed, see below), V is k x n row-major, Y is m x n row-major. Products with a = 0 that the packing
// adds (several rows share an entry) change no bit but the sign of a zero.
//
// Grid mapping. The packer puts rows of similar population together in *panels* of WARPS * GROUPS * ROWS slots; a
// tile is (panel, block of BN = 32 COLS columns), number panel * col_blocks + block. Workers (thread blocks) are
// persistent and follow work lists (segments.cuh). A block is WARPS consumer warps and one producer warp.
//   The accumulators of a warp, GROUPS groups of ROWS rows by 32 lanes of COLS columns, never leave registers inside a
// segment. The steps of a tile are *chunks*: at most BK rows of V in runs of RUN, ascending; rows that the panel does not
// need are left out where that saves a run. The producer streams chunk by chunk into a ring of STAGES: the V rows by a
// tensor copy a run (a copy a row was limited by the rate of issue), and the entries by one more. Full and empty barriers
// (mbarrier) order the ring.
//   Every lane of a warp reads the same entry (broadcast) and its own columns of the V row the entry names. Shared
// memory gives 128 bytes a clock, a quarter of what the fma units could use. With ROWS = 3 one entry has three
// coefficients, so that a V row serves three rows of A, at the cost of products with zeros.
//
// Accumulation order: chunks ascend in k, entries of a group ascend in k; a tile split between workers is continued
// from the stored accumulators. So each output is one chain in ascending k.
//
// Variant (all by #define): WARPS (one less than a multiple of 4, or registers are lost), GROUPS, ROWS (1 or 3),
// COLS (4, 8 or 16), BK, STAGES, ECAP (bytes of a stage for entries, a multiple of 16), UNROLL (entries in flight:
// 1, 2 or 4); OUT_BF16 or OUT_F16 round the output once, to nearest even.
//
// Arguments (pointers are device pointers):
//   v_map        tensor map of V: f32, {n, k} elements, row pitch 4 ldv bytes, box {BN, RUN}, no swizzle, zeros outside.
//                Read only where bulk copies exist (BULK).
//   V            k x ldv f32, 16-byte aligned; ldv >= n, a multiple of 4.
//   Y            f32 (or 16-bit), 16-byte aligned, row r at y_stride * r; columns n.. up to a multiple of 4 are
//                overwritten.
//   entries      u32, 16-byte aligned. One piece a chunk: a header of HEAD words for each warp
//                {begin, end of group 0, end of group 1, ...} (byte offsets in the piece), then the entries {byte
//                offset of the V row in the stage = slot * BN * 4, a of ROWS rows}, groups in order, k ascending.
//   entry_begin  u32[chunks + 1], where the pieces start, in units of 16 bytes.
//   k_runs       i32, first rows of the runs, chunk after chunk; run i fills slots RUN * i on of its stage.
//   k_begin      i32[chunks + 1], where a chunk's part of k_runs starts.
//   chunk_begin  i32[panels + 1], first chunk of a panel.
//   row_index    i32[panels * WARPS * GROUPS * ROWS], row of Y of each slot (warp, group, row), or -1.
//   segments     Segment[], work lists, and seg_begin i32[workers + 1], where a worker's list starts.
//   partials     f32[slots * WARPS * 32 * GROUPS * ROWS * COLS], and flags u32[slots], zero before the first
//                launch.
//   k, n, ldv, y_stride (>= n, a multiple of 4), col_blocks = ceil(n / BN).
// Launch: `workers` blocks of (WARPS + 1) * 32 threads, SMEM_BYTES of dynamic shared memory; without Hopper's bulk
// copies (BULK = 0) V_BYTES + ECAP suffice.
#include "round.cuh"
#include "segments.cuh"

#ifndef KERNEL_NAME
#define KERNEL_NAME spmm_chain
#endif
#ifndef WARPS
#define WARPS 12
#endif
#ifndef GROUPS
#define GROUPS 4
#endif
#ifndef ROWS
#define ROWS 3
#endif
#ifndef COLS
#define COLS 8
#endif
#ifndef BK
#define BK 48
#endif
#ifndef STAGES
#define STAGES 3
#endif
#ifndef ECAP
#define ECAP 20480
#endif
#ifndef UNROLL
#define UNROLL 2
#endif

#ifndef RUN
#define RUN 8
#endif
#define BN (32 * COLS)
#define ENTRY_BYTES (4 * (ROWS + 1))
#define HEAD ((GROUPS + 4) / 4 * 4)
#define V_BYTES (BK * BN * 4)
#define BAR_OFFSET (STAGES * (V_BYTES + ECAP))
#define SMEM_BYTES (BAR_OFFSET + 2 * STAGES * 8)
#define ACCS (GROUPS * ROWS * COLS)

#if !defined(__HIPCC__) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define BULK 1
#else
#define BULK 0
#endif

typedef unsigned int u32;
struct __align__(64) TensorMap { unsigned long long opaque[16]; };

#ifdef __HIPCC__
#define GRID_CONSTANT
#define LOAD_L2(p) (*(const volatile float *)(p))
#define STORE_L2(p, x) (*(volatile float *)(p) = (x))
#else
#define GRID_CONSTANT __grid_constant__
#define LOAD_L2(p) __ldcg(p)
#define STORE_L2(p, x) __stcg(p, x)
#endif

#if ROWS == 1
struct __align__(8) Entry { u32 v; float a[1]; };
#else
struct __align__(16) Entry { u32 v; float a[ROWS]; };
#endif

#if BULK
__device__ __forceinline__ u32 shared_address(const void *p) { return (u32)__cvta_generic_to_shared(p); }

__device__ __forceinline__ void barrier_wait(u32 bar, u32 parity) {
    asm volatile("{ .reg .pred p;\n"
                 "again: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
                 "@!p bra again; }" ::"r"(bar), "r"(parity) : "memory");
}

// Bytes must be a multiple of 16, both addresses 16-byte aligned.
__device__ __forceinline__ void bulk_copy(u32 to, const void *from, u32 bytes, u32 bar) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(bar) : "memory");
}

// A box of V; the barrier counts its bytes.
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

__device__ __forceinline__ void load_columns(float (&v)[COLS], const char *p) {
#pragma unroll
    for (int j = 0; j < COLS / 4; ++j) {
        float4 x = *(const float4 *)(p + j * 512);
        v[4 * j] = x.x, v[4 * j + 1] = x.y, v[4 * j + 2] = x.z, v[4 * j + 3] = x.w;
    }
}

// COUNT entries from p on: all loads first, so that their latencies overlap.
#define ENTRIES(COUNT)                                                              \
    {                                                                               \
        Entry entry[COUNT];                                                         \
        float v[COUNT][COLS];                                                          \
        _Pragma("unroll") for (int i = 0; i < COUNT; ++i)                           \
            entry[i] = load_entry(piece + p + i * ENTRY_BYTES);                     \
        _Pragma("unroll") for (int i = 0; i < COUNT; ++i)                           \
            load_columns(v[i], columns + entry[i].v);                               \
        _Pragma("unroll") for (int i = 0; i < COUNT; ++i)                           \
            _Pragma("unroll") for (int r = 0; r < ROWS; ++r)                           \
                _Pragma("unroll") for (int c = 0; c < COLS; ++c)                       \
                    acc[g][r][c] = __fmaf_rn(entry[i].a[r], v[i][c], acc[g][r][c]); \
    }

// One wide load (8 or 16 bytes) where the entry allows it.
__device__ __forceinline__ Entry load_entry(const char *p) {
    Entry e;
#if ROWS == 1
    uint2 x = *(const uint2 *)p;
    e.v = x.x, e.a[0] = __uint_as_float(x.y);
#else
    uint4 x = *(const uint4 *)p;
    e.v = x.x, e.a[0] = __uint_as_float(x.y), e.a[1] = __uint_as_float(x.z), e.a[2] = __uint_as_float(x.w);
#endif
    return e;
}

// One warp, one chunk. `columns` is the lane's place in the stage's V rows.
__device__ __forceinline__ void chunk_products(float (&acc)[GROUPS][ROWS][COLS], const char *piece, const char *columns, int warp) {
    const uint4 *head = (const uint4 *)piece + warp * (HEAD / 4);
    uint4 ends = head[0];
    u32 p = ends.x;
#pragma unroll
    for (int g = 0; g < GROUPS; ++g) {
        if (g % 4 == 3) ends = head[g / 4 + 1];
        const u32 end = g % 4 == 0 ? ends.y : g % 4 == 1 ? ends.z : g % 4 == 2 ? ends.w : ends.x;
#pragma unroll 1
        for (; (int)(end - p) >= UNROLL * ENTRY_BYTES; p += UNROLL * ENTRY_BYTES) ENTRIES(UNROLL)
#if UNROLL >= 4
        if ((end - p) & (2 * ENTRY_BYTES)) {
            ENTRIES(2)
            p += 2 * ENTRY_BYTES;
        }
#endif
#if UNROLL >= 2
        if (p != end) ENTRIES(1)
#endif
        p = end;
    }
}

struct __align__(sizeof(output_t) * 4) Out4 { output_t x[4]; };

extern "C" __global__ void __launch_bounds__((WARPS + 1) * 32, 1)
KERNEL_NAME(const GRID_CONSTANT TensorMap v_map, const float *__restrict__ V, output_t *__restrict__ Y, const u32 *__restrict__ entries,
            const u32 *__restrict__ entry_begin, const int *__restrict__ k_runs, const int *__restrict__ k_begin,
            const int *__restrict__ chunk_begin, const int *__restrict__ row_index, const Segment *__restrict__ segments,
            const int *__restrict__ seg_begin, float *partials, u32 *flags, int k, int n, int ldv, int y_stride,
            int col_blocks) {
    extern __shared__ __align__(128) char smem[];
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    const int seg_first = seg_begin[blockIdx.x], seg_last = seg_begin[blockIdx.x + 1];

#if BULK
    const u32 full = shared_address(smem + BAR_OFFSET), empty = full + STAGES * 8;
    if (threadIdx.x == 0) {
        for (int s = 0; s < STAGES; ++s) {
            asm volatile("mbarrier.init.shared::cta.b64 [%0], 32;" ::"r"(full + s * 8) : "memory");
            asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(empty + s * 8), "r"(WARPS * 32) : "memory");
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    int stage = 0;
    u32 phase = 0;

    if (warp == WARPS) {
        for (int s = seg_first; s < seg_last; ++s) {
            const Segment seg = segments[s];
            const int panel = seg.tile / col_blocks, col = seg.tile % col_blocks * BN;
            const int first = chunk_begin[panel];
            for (int q = first + seg.step_begin; q < first + seg.step_end; ++q) {
                const int k0 = k_begin[q], count = k_begin[q + 1] - k0;
                const u32 e0 = entry_begin[q], e1 = entry_begin[q + 1];
                // Before the wait, which hides the latency.
                const int row = lane < count ? k_runs[k0 + lane] : 0;
                const u32 bar = full + stage * 8;
                barrier_wait(empty + stage * 8, phase ^ 1);
                // Each lane announces the bytes that it asks for itself.
                const u32 entry_bytes = lane == 0 ? (e1 - e0) * 16 : 0, box_bytes = lane < count ? RUN * BN * 4 : 0;
                asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar),
                             "r"(box_bytes + entry_bytes) : "memory");
                if (lane == 0)
                    bulk_copy(shared_address(smem + STAGES * V_BYTES + stage * ECAP), entries + (size_t)e0 * 4, entry_bytes, bar);
                if (lane < count) load_box(shared_address(smem + stage * V_BYTES) + lane * (RUN * BN * 4), &v_map, col, row, bar);
                __syncwarp();
                if (++stage == STAGES) stage = 0, phase ^= 1;
            }
        }
    } else
#endif
    {
        const bool consumer = warp < WARPS;
        for (int s = seg_first; s < seg_last; ++s) {
            const Segment seg = segments[s];
            const int panel = seg.tile / col_blocks, col = seg.tile % col_blocks * BN;
            const int first = chunk_begin[panel];
            float acc[GROUPS][ROWS][COLS];
#pragma unroll
            for (int i = 0; i < ACCS; ++i) acc[i / (ROWS * COLS)][i / COLS % ROWS][i % COLS] = 0.0f;
            if (seg.from >= 0) {
                u32 *flag = flags + seg.from;
                if (threadIdx.x == 0) wait_for_flag(flag);
                CONSUMERS_MEET();
                const float *in = partials + (size_t)seg.from * (ACCS * WARPS * 32) + threadIdx.x;
                if (consumer)
#pragma unroll
                    for (int i = 0; i < ACCS; ++i) acc[i / (ROWS * COLS)][i / COLS % ROWS][i % COLS] = LOAD_L2(in + i * (WARPS * 32));
                CONSUMERS_MEET();
                if (threadIdx.x == 0) lower_flag(flag);
            }
#pragma unroll 1
            for (int q = first + seg.step_begin; q < first + seg.step_end; ++q) {
#if BULK
                barrier_wait(full + stage * 8, phase);
                chunk_products(acc, smem + STAGES * V_BYTES + stage * ECAP, smem + stage * V_BYTES + lane * 16, warp);
                // Each lane for its own reads: one in the name of all would need an order among lanes that only the hardware knows of.
                asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(empty + stage * 8) : "memory");
                if (++stage == STAGES) stage = 0, phase ^= 1;
#else
                // Plain path: all threads fill the one stage in use, 16 bytes at a time.
                const int k0 = k_begin[q], count = k_begin[q + 1] - k0;
                const u32 e0 = entry_begin[q], e1 = entry_begin[q + 1];
                __syncthreads();
                for (int i = (int)threadIdx.x; i < count * (RUN * BN / 4); i += (WARPS + 1) * 32) {
                    const int slot = i / (BN / 4), at = col + i % (BN / 4) * 4, row = k_runs[k0 + slot / RUN] + slot % RUN;
                    if (row < k && at < ldv) ((float4 *)smem)[i] = *(const float4 *)(V + (size_t)row * ldv + at);
                }
                for (u32 i = threadIdx.x; i < e1 - e0; i += (WARPS + 1) * 32)
                    ((uint4 *)(smem + V_BYTES))[i] = ((const uint4 *)entries)[e0 + i];
                __syncthreads();
                if (consumer) chunk_products(acc, smem + V_BYTES, smem + lane * 16, warp);
#endif
            }
            if (seg.to >= 0) {
                float *out = partials + (size_t)seg.to * (ACCS * WARPS * 32) + threadIdx.x;
                if (consumer)
#pragma unroll
                    for (int i = 0; i < ACCS; ++i) STORE_L2(out + i * (WARPS * 32), acc[i / (ROWS * COLS)][i / COLS % ROWS][i % COLS]);
                CONSUMERS_MEET();
                if (threadIdx.x == 0) raise_flag(flags + seg.to);
            } else if (consumer) {
                const int *slots = row_index + ((size_t)panel * WARPS + warp) * (GROUPS * ROWS);
#pragma unroll
                for (int i = 0; i < GROUPS * ROWS; ++i) {
                    const int row = slots[i];
                    if (row < 0) continue;
#pragma unroll
                    for (int j = 0; j < COLS / 4; ++j) {
                        const int at = col + j * 128 + lane * 4;
                        if (at >= n) continue;
                        Out4 o;
#pragma unroll
                        for (int c = 0; c < 4; ++c) o.x[c] = round_output(acc[i / ROWS][i % ROWS][j * 4 + c]);
                        *(Out4 *)(Y + (size_t)row * y_stride + at) = o;
                    }
                }
            }
        }
    }
}
