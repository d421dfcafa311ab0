// Y = A V by mma.sync, f32 accumulators: plain and for any shape; made for correctness, for architectures
// without gemm_tensor_core.cu and for measuring what an architecture's tensor cores do.
//
//   Y[i][j] = sum over k of A[i][k] * V[k][j]
//
// Order: every output is one chain of tensor-core instructions in ascending k, from +0: k = 16 for bf16 and
// f16 (8 below sm_80), k = 8 for TF32. k is padded with zeros, which changes no bit. f32 inputs are rounded to
// TF32 to nearest even, as cuBLAS does.
//
// Grid: x = ceil(n / 32), y = ceil(m / 64), 128 threads; a warp makes 16 x 32 outputs.
//
// Defines: one of FORMAT_BF16 (sm_80 and up), FORMAT_F16 (sm_75 and up), FORMAT_TF32 (sm_80 and up); where the
// architecture lacks the format the entry is absent. OUT_F32 (default), OUT_BF16 or OUT_F16.
//
// Arguments: no alignment beyond that of the element
//   a   device, m x k row-major, bf16/f16 bits (u16) or f32
//   v   device, k x n row-major with row stride ldv, same type
//   y   device, m x n row-major with row stride y_stride, every element is written, never -0
//   m, k, n, ldv, y_stride  i32, ldv >= n, y_stride >= n

#if !defined(FORMAT_BF16) && !defined(FORMAT_F16) && !defined(FORMAT_TF32)
#define FORMAT_BF16
#endif

#if !defined(__HIPCC__)
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800 || (__CUDA_ARCH__ >= 750 && defined(FORMAT_F16))

#ifdef FORMAT_TF32
typedef float In;
#else
typedef unsigned short In;
#endif
#if defined(OUT_BF16) || defined(OUT_F16)
typedef unsigned short Out;
#else
typedef float Out;
#endif

#if defined(FORMAT_TF32) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800)
#define STEP 8
#else
#define STEP 16
#endif

#ifdef FORMAT_TF32
static __device__ __forceinline__ unsigned to_tf32(float x) {
    const unsigned u = __float_as_uint(x);
    return (u + 0xfffu + ((u >> 13) & 1u)) & ~0x1fffu;
}
#endif

// Registers of a fragment hold one TF32 value or two 16-bit values with neighbouring k.
static __device__ __forceinline__ unsigned load_a(const In *a, int row, int at, int m, int k) {
#ifdef FORMAT_TF32
    return row < m && at < k ? to_tf32(a[(size_t)row * k + at]) : 0u;
#else
    const unsigned low = row < m && at < k ? a[(size_t)row * k + at] : 0u;
    const unsigned high = row < m && at + 1 < k ? a[(size_t)row * k + at + 1] : 0u;
    return low | high << 16;
#endif
}

static __device__ __forceinline__ unsigned load_v(const In *v, int at, int column, int k, int n, int ldv) {
#ifdef FORMAT_TF32
    return column < n && at < k ? to_tf32(v[(size_t)at * ldv + column]) : 0u;
#else
    const unsigned low = column < n && at < k ? v[(size_t)at * ldv + column] : 0u;
    const unsigned high = column < n && at + 1 < k ? v[(size_t)(at + 1) * ldv + column] : 0u;
    return low | high << 16;
#endif
}

static __device__ __forceinline__ void store(Out *y, float x) {
#ifdef OUT_BF16
    unsigned short h;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(x));
    *y = (h & 0x7fff) == 0 ? (unsigned short)0 : h;
#elif defined(OUT_F16)
    unsigned short h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
    *y = (h & 0x7fff) == 0 ? (unsigned short)0 : h;
#else
    *y = x + 0.0f;
#endif
}

extern "C" __global__ void __launch_bounds__(128)
gemm_mma_sync(const In *__restrict__ a, const In *__restrict__ v, Out *__restrict__ y, int m, int k, int n, int ldv,
              int y_stride) {
    const int lane = threadIdx.x & 31, g = lane >> 2, q = lane & 3;
    const int row = blockIdx.y * 64 + (threadIdx.x >> 5) * 16 + g;
    const int column = blockIdx.x * 32;
    float acc[4][4] = {};
    for (int at = 0; at < k; at += STEP) {
        unsigned fa[4];
#ifdef FORMAT_TF32
        fa[0] = load_a(a, row, at + q, m, k), fa[1] = load_a(a, row + 8, at + q, m, k);
        fa[2] = load_a(a, row, at + q + 4, m, k), fa[3] = load_a(a, row + 8, at + q + 4, m, k);
#else
        fa[0] = load_a(a, row, at + 2 * q, m, k), fa[1] = load_a(a, row + 8, at + 2 * q, m, k);
#if STEP == 16
        fa[2] = load_a(a, row, at + 2 * q + 8, m, k), fa[3] = load_a(a, row + 8, at + 2 * q + 8, m, k);
#endif
#endif
#pragma unroll
        for (int j = 0; j < 4; j++) {
            unsigned fv[2];
#ifdef FORMAT_TF32
            fv[0] = load_v(v, at + q, column + 8 * j + g, k, n, ldv);
            fv[1] = load_v(v, at + q + 4, column + 8 * j + g, k, n, ldv);
            asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
                         "{%8, %9}, {%0, %1, %2, %3};"
                         : "+f"(acc[j][0]), "+f"(acc[j][1]), "+f"(acc[j][2]), "+f"(acc[j][3])
                         : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fv[0]), "r"(fv[1]));
#else
            fv[0] = load_v(v, at + 2 * q, column + 8 * j + g, k, n, ldv);
#if STEP == 16
            fv[1] = load_v(v, at + 2 * q + 8, column + 8 * j + g, k, n, ldv);
#ifdef FORMAT_BF16
            asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
#else
            asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
#endif
                         "{%8, %9}, {%0, %1, %2, %3};"
                         : "+f"(acc[j][0]), "+f"(acc[j][1]), "+f"(acc[j][2]), "+f"(acc[j][3])
                         : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fv[0]), "r"(fv[1]));
#else
            asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
                         "{%0, %1, %2, %3};"
                         : "+f"(acc[j][0]), "+f"(acc[j][1]), "+f"(acc[j][2]), "+f"(acc[j][3])
                         : "r"(fa[0]), "r"(fa[1]), "r"(fv[0]));
#endif
#endif
        }
    }
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int r = row + 8 * (i >> 1), c = column + 8 * j + 2 * q + (i & 1);
            if (r < m && c < n) store(y + (size_t)r * y_stride + c, acc[j][i]);
        }
}

#endif
#endif
