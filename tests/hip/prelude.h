// What a HIP compiler needs to compile kernels/ without ROCm's headers: the words of the language and the few
// functions that the kernels call, by the compiler's own builtins. For checking that they compile, and to what; a
// build for a device uses hip/hip_runtime.h instead.
#pragma once

#ifndef __HIPCC__
#define __HIPCC__ 1
#endif

#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define __constant__ __attribute__((constant))
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(threads, ...) __attribute__((amdgpu_flat_work_group_size(1, threads)))
#define __align__(bytes) __attribute__((aligned(bytes)))

typedef __SIZE_TYPE__ size_t;

struct dim3_index {
    unsigned int x, y, z;
};

#define threadIdx (dim3_index{__builtin_amdgcn_workitem_id_x(), __builtin_amdgcn_workitem_id_y(), __builtin_amdgcn_workitem_id_z()})
#define blockIdx (dim3_index{__builtin_amdgcn_workgroup_id_x(), __builtin_amdgcn_workgroup_id_y(), __builtin_amdgcn_workgroup_id_z()})
#define blockDim (dim3_index{__builtin_amdgcn_workgroup_size_x(), __builtin_amdgcn_workgroup_size_y(), __builtin_amdgcn_workgroup_size_z()})
#define gridDim (dim3_index{__builtin_amdgcn_grid_size_x() / __builtin_amdgcn_workgroup_size_x(), __builtin_amdgcn_grid_size_y() / __builtin_amdgcn_workgroup_size_y(), __builtin_amdgcn_grid_size_z() / __builtin_amdgcn_workgroup_size_z()})

struct __attribute__((aligned(8))) float2 {
    float x, y;
};

struct __attribute__((aligned(16))) float4 {
    float x, y, z, w;
};

struct __attribute__((aligned(8))) int2 {
    int x, y;
};

struct __attribute__((aligned(16))) int4 {
    int x, y, z, w;
};

struct __attribute__((aligned(8))) uint2 {
    unsigned int x, y;
};

struct __attribute__((aligned(16))) uint4 {
    unsigned int x, y, z, w;
};

__device__ inline float2 make_float2(float x, float y) { return {x, y}; }
__device__ inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
__device__ inline uint2 make_uint2(unsigned int x, unsigned int y) { return {x, y}; }
__device__ inline int2 make_int2(int x, int y) { return {x, y}; }
__device__ inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

// One rounding, to nearest even; -ffp-contract=off keeps the last two from being joined with others.
__device__ inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
__device__ inline float __fmul_rn(float a, float b) { return a * b; }
__device__ inline float __fadd_rn(float a, float b) { return a + b; }

__device__ inline unsigned int __float_as_uint(float x) { return __builtin_bit_cast(unsigned int, x); }
__device__ inline float __uint_as_float(unsigned int x) { return __builtin_bit_cast(float, x); }
__device__ inline double __longlong_as_double(long long x) { return __builtin_bit_cast(double, x); }
__device__ inline int __float2int_rn(float x) { return (int)__builtin_rintf(x); }
__device__ inline int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll((unsigned long long)x); }

__device__ inline int __popc(unsigned int x) { return __builtin_popcount(x); }
__device__ inline unsigned int atomicAdd(unsigned int *p, unsigned int x)
{
    return __atomic_fetch_add(p, x, __ATOMIC_RELAXED);
}
__device__ inline unsigned int atomicMax(unsigned int *p, unsigned int x)
{
    return __atomic_fetch_max(p, x, __ATOMIC_RELAXED);
}

__device__ inline int min(int a, int b) { return a < b ? a : b; }
__device__ inline int max(int a, int b) { return a > b ? a : b; }

template <class T> __device__ inline T __ldg(const T *p) { return *p; }
template <class T> __device__ inline T __ldcg(const T *p) { return *p; }
template <class T> __device__ inline void __stcg(T *p, T x) { *p = x; }

__device__ inline void __syncthreads()
{
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}

__device__ inline void __threadfence() { __builtin_amdgcn_fence(__ATOMIC_SEQ_CST, "agent"); }
