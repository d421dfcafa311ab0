// Elements of the f32 tensor that PyTorch's torch.randn draws on a CUDA device, whose kind need not be this one's:
// all that matters of it is how many threads it draws with.
//
//   element i: thread t = i mod T, call q = first_call + i / 4T, word w = (i mod 4T) / T, T = threads
//   x0, x1, x2, x3 = Philox4x32-10, counter (q low, q high, t, 0), key (seed low, seed high)
//   u = fma(x[w & 2], 2^-32, 2^-33)                  in (0, 1], words rounded to binary32 first
//   v = fma(x[w | 1], 2 pi 2^-32, pi 2^-32)          in (0, 2 pi]
//   element = sqrt(-2 ln u) * (w even: sin v, w odd: cos v), -0 made +0
//
// Sources: PyTorch's DistributionTemplates.h (places, and `normal` as element * 1 + 0, which makes -0 +0), cuRAND's
// curand_normal.h and curand_globals.h (Box-Muller, constants). Both are compiled with contraction, which this project
// turns off, so the fused operations are written out. That of v changes bits; that of u does not, its product is
// exact. logf is CUDA's own and is fused inside whatever the options say. sin and cos are the device's fast instructions
// (__sincosf): their bits are nobody's specification, which is why there is no CPU version of this.
//
// Grid: x = ceil(count / blockDim.x), a thread an element. A call's four words are made by four threads: it is a small
// kernel for verifying, not a fast one.
//
// Arguments: no alignment beyond an element's
//   out         device, count floats, every one is written
//   seed        u64
//   first_call  u64, Philox calls of each thread before this tensor
//   first       u64, index of the first element wanted
//   threads     u32, T > 0
//   count       u32

// 2^-32, and 2 pi 2^-32 as cuRAND has it: the product of two binary32 numbers.
#define TWO_POW_MINUS_32 2.3283064e-10f
#define TWO_PI 6.2831855f

__device__ __forceinline__ uint4 philox4x32_10(uint4 counter, uint2 key)
{
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const unsigned int high0 = __umulhi(counter.x, 0xd2511f53u), low0 = counter.x * 0xd2511f53u;
        const unsigned int high2 = __umulhi(counter.z, 0xcd9e8d57u), low2 = counter.z * 0xcd9e8d57u;
        counter = make_uint4(high2 ^ counter.y ^ key.x, low2, high0 ^ counter.w ^ key.y, low0);
        key = make_uint2(key.x + 0x9e3779b9u, key.y + 0xbb67ae85u);
    }
    return counter;
}

extern "C" __global__ void torch_normal(
    float *__restrict__ out, unsigned long long seed, unsigned long long first_call, unsigned long long first,
    unsigned int threads, unsigned int count)
{
    const unsigned int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= count) {
        return;
    }
    const unsigned long long i = first + at;
    const unsigned long long round = 4ull * threads;
    const unsigned long long call = first_call + i / round;
    const unsigned int word = (unsigned int)(i % round / threads);
    const uint4 counter =
        make_uint4((unsigned int)call, (unsigned int)(call >> 32), (unsigned int)(i % threads), 0u);
    const uint4 words = philox4x32_10(counter, make_uint2((unsigned int)seed, (unsigned int)(seed >> 32)));
    const unsigned int x = word < 2u ? words.x : words.z;
    const unsigned int y = word < 2u ? words.y : words.w;
    const float u = __fmaf_rn(__uint2float_rn(x), TWO_POW_MINUS_32, TWO_POW_MINUS_32 / 2.0f);
    const float v = __fmaf_rn(__uint2float_rn(y), TWO_POW_MINUS_32 * TWO_PI, TWO_POW_MINUS_32 * TWO_PI / 2.0f);
    const float radius = __fsqrt_rn(__fmul_rn(-2.0f, logf(u)));
    float sine, cosine;
    __sincosf(v, &sine, &cosine);
    out[at] = __fadd_rn(__fmul_rn(radius, word % 2u == 0u ? sine : cosine), 0.0f);
}
