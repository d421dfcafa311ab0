// Work lists for persistent kernels that must keep the order of k.
//
// A worker (one thread block) has a list of segments; each is a stretch of k-steps of one output
// tile. Where a tile is shared by two workers, the first computes the lower k-steps, leaves its
// accumulators in `partials` and raises a flag; the second continues from them, so that every
// output is still one chain in ascending k. The worker that hands over does so first, the one that
// continues does so last: nobody waits unless a tile is longer than a worker's share. Every wait is
// for a worker of lower index, so that blocks started in order of index cannot deadlock.
//
// Flags are lowered by the one reader, so that the same launch can be repeated, also from a graph.
#pragma once

struct Segment {
    int tile;
    int step_begin;
    int step_end;
    // Slot of `partials` and `flags` to continue from, or -1 to start from +0.
    int from;
    // Slot to leave accumulators in, or -1 to finish the tile and write Y.
    int to;
};

// One thread: waits until the slot's accumulators are there.
__device__ __forceinline__ void wait_for_flag(unsigned int *flag) {
#if defined(__HIPCC__)
    while (__hip_atomic_load(flag, __ATOMIC_ACQUIRE, __HIP_MEMORY_SCOPE_AGENT) == 0) {
    }
#else
    unsigned int seen;
    do {
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(flag) : "memory");
    } while (seen == 0);
#endif
}

// One thread, after all writers of the slot have passed a block barrier.
__device__ __forceinline__ void raise_flag(unsigned int *flag) {
    __threadfence();
#if defined(__HIPCC__)
    __hip_atomic_store(flag, 1u, __ATOMIC_RELEASE, __HIP_MEMORY_SCOPE_AGENT);
#else
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(flag), "r"(1u) : "memory");
#endif
}

// One thread, after all readers of the slot have passed a block barrier.
__device__ __forceinline__ void lower_flag(unsigned int *flag) {
#if defined(__HIPCC__)
    __hip_atomic_store(flag, 0u, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
#else
    asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(flag), "r"(0u) : "memory");
#endif
}
