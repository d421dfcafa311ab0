// V in fixed-point-24 as three digits of 8 bits with a sign, in images for gemm_fixed_wgmma.cu, and the powers of two of its
// columns: for Hopper (clusters, distributed shared memory).
//
// An integer is d0 2^16 + d1 2^8 + d2, each digit from -128 to 127. Blocks of a cluster share STRIP columns: each looks at
// its part of k, the largest magnitudes meet in shared memory, then each makes digits of its part.
//
// Grid: x = CLUSTER, y = column tiles * BN / STRIP; 8 * STRIP threads. The STRIP columns of a thread's eighth: 16 k of a step.
//
// Defines: BN (8, 32, 64): columns of a tile. KEPT: steps of a block that stay in registers between the two looks, at least
// those of one block; 0: V is read twice, and k_list may be given.
//
// v       device, k x n floats, row r at v + r * v_stride
// k_list  device, i32[steps * 128]: k of each packed k, or -1; null: all k in place, then zeros. The powers are always those
//         of whole columns.
// scales  device, i32[column tiles * BN], every element is written; columns beyond n have 0
// images  device, 16-byte aligned, bytes[column tiles][steps][3][BN][128], every byte is written: of each column 128 k, whose
//         16-byte chunk c lies at c ^ (column & 7)
// k, n, v_stride, steps  i32

#include "fixed_point.cuh"

#ifndef BN
#define BN 64
#endif
#ifndef KEPT
#define KEPT 4
#endif

#define CLUSTER 8
#if BN < 16
#define STRIP BN
#else
#define STRIP 16
#endif
#define THREADS (8 * STRIP)
#define STEP 128

// Other architectures have no such entry; gemm_fixed_point.cu makes integers itself.
#if !defined(__HIPCC__) && (!defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900)

static __device__ __forceinline__ void cluster_arrive()
{
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}

static __device__ __forceinline__ void cluster_wait()
{
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// An element of the same shared array in another block of the cluster.
static __device__ __forceinline__ unsigned int read_of(const unsigned int *p, unsigned int block)
{
    unsigned int x;
    asm volatile("{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %1, %2;\nld.shared::cluster.u32 %0, [there];\n}"
                 : "=r"(x)
                 : "r"((unsigned int)__cvta_generic_to_shared(p)), "r"(block)
                 : "memory");
    return x;
}

extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS)
fixed_digits(const float *__restrict__ v, const int *__restrict__ k_list, int *__restrict__ scales,
             unsigned char *__restrict__ images, int k, int n, int v_stride, int steps)
{
    __shared__ __align__(16) unsigned char image[2][3 * STRIP * STEP];
    __shared__ unsigned int part[THREADS];
    __shared__ unsigned int largest_of[STRIP];
    const int t = threadIdx.x, x = t % STRIP, chunk = t / STRIP;
    const int column = blockIdx.y * STRIP + x;
    const bool is_column = column < n;
    const int first = (int)((long long)blockIdx.x * steps / CLUSTER);
    const int last = (int)((long long)(blockIdx.x + 1) * steps / CLUSTER);
    const float *of_column = v + column;
    // The product may start where blocks of this end; it waits for all of them before it reads what they write.
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");

    unsigned int largest = 0;
#if KEPT
    float kept[KEPT][16];
#pragma unroll
    for (int s = 0; s < KEPT; ++s) {
        const int at = (first + s) * STEP + chunk * 16;
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            const bool is_there = is_column && first + s < last && at + i < k;
            kept[s][i] = is_there ? __ldg(of_column + (long long)(at + i) * v_stride) : 0.0f;
        }
    }
#pragma unroll
    for (int s = 0; s < KEPT; ++s) {
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            const unsigned int bits = magnitude_bits(kept[s][i]);
            largest = bits > largest ? bits : largest;
        }
    }
#else
    // All of k, whether listed or not.
    const int end = (int)((long long)(blockIdx.x + 1) * k / CLUSTER);
    if (is_column) {
#pragma unroll 16
        for (int at = (int)((long long)blockIdx.x * k / CLUSTER) + chunk; at < end; at += 8) {
            const unsigned int bits = magnitude_bits(__ldg(of_column + (long long)at * v_stride));
            largest = bits > largest ? bits : largest;
        }
    }
#endif
    part[t] = largest;
    __syncthreads();
    if (chunk == 0) {
#pragma unroll
        for (int i = 1; i < 8; ++i) {
            const unsigned int other = part[i * STRIP + x];
            largest = other > largest ? other : largest;
        }
        largest_of[x] = largest;
    }
    cluster_arrive();
    cluster_wait();
    largest = 0;
#pragma unroll
    for (int i = 0; i < CLUSTER; ++i) {
        const unsigned int other = read_of(largest_of + x, i);
        largest = other > largest ? other : largest;
    }
    // No block ends, and its memory with it, before all have read it: the other half is at the end.
    cluster_arrive();

    const int e = log2_scale(largest);
    const Scale scale = scale_of(e);
    if (blockIdx.x == 0 && chunk == 0) {
        scales[column] = e;
    }
#if KEPT
#pragma unroll
    for (int s = 0; s < KEPT; ++s) {
#else
    for (int s = 0; s < last - first; ++s) {
#endif
        if (first + s >= last) {
            break;
        }
        unsigned int digits[16];
#if KEPT
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            digits[i] = digits_of(integer_of(kept[s][i], scale));
        }
#else
        float values[16];
        const int at = (first + s) * STEP + chunk * 16;
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            int row = at + i;
            if (k_list != 0) {
                row = k_list[row];
            } else if (row >= k) {
                row = -1;
            }
            values[i] = is_column && row >= 0 ? __ldg(of_column + (long long)row * v_stride) : 0.0f;
        }
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            digits[i] = digits_of(integer_of(values[i], scale));
        }
#endif
        unsigned char *here = image[s & 1];
#pragma unroll
        for (int d = 0; d < 3; ++d) {
            // Digit d of four k is byte 2 - d of four words.
            const unsigned int pick = (2 - d) | ((6 - d) << 4);
            unsigned int words[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const unsigned int low = __byte_perm(digits[4 * i], digits[4 * i + 1], pick);
                const unsigned int high = __byte_perm(digits[4 * i + 2], digits[4 * i + 3], pick);
                words[i] = __byte_perm(low, high, 0x5410);
            }
            uint4 *to = (uint4 *)(here + (d * STRIP + x) * STEP + ((chunk ^ (x & 7)) * 16));
            *to = make_uint4(words[0], words[1], words[2], words[3]);
        }
        // One barrier a step: the other half is written next, and read before the one after that.
        __syncthreads();
        const int tile = blockIdx.y * STRIP / BN, below = blockIdx.y * STRIP % BN;
        unsigned char *to = images + ((long long)tile * steps + first + s) * (3 * BN * STEP) + below * STEP;
#pragma unroll
        for (int d = 0; d < 3; ++d) {
            ((uint4 *)(to + d * (BN * STEP)))[t] = ((const uint4 *)(here + d * (STRIP * STEP)))[t];
        }
    }
    cluster_wait();
}

#endif
