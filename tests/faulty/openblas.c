/* A library that passes for OpenBLAS and misbehaves when it is loaded, in the way that MISBEHAVE names. Its product is
   the plain one. */
#include <stdlib.h>
#include <unistd.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

static void leave(void) { _exit(0); }

#define EXITS 1         /* exit(0) when loaded */
#define EXITS_AT_ONCE 2 /* _exit(0) when loaded */
#define EXITS_LATER 3   /* a handler that exits with 0 whatever the code was */
#define OVERFLOWS 4     /* recurses without end when loaded */
#define FLUSHES 5       /* has subnormals flushed to zero on the thread that loads it, and on those it starts */

static int deeper(volatile int *depth) {
    volatile int here = *depth + 1;
    return deeper(&here) + here;
}

__attribute__((constructor)) static void loaded(void) {
    volatile int depth = 0;
    switch (MISBEHAVE) {
    case EXITS: exit(0);
    case EXITS_AT_ONCE: _exit(0);
    case EXITS_LATER: atexit(leave); break;
    case OVERFLOWS: deeper(&depth); break;
#ifdef __SSE__
    case FLUSHES: _mm_setcsr(_mm_getcsr() | 0x8040); break;
#endif
    }
}

char *openblas_get_config(void) { return "passes for OpenBLAS"; }

void openblas_set_num_threads(int threads) { (void)threads; }

/* Row-major, not transposed, alpha 1 and beta 0: nothing else is asked of it. */
void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                 const float *b, int ldb, float beta, float *c, int ldc) {
    (void)order, (void)trans_a, (void)trans_b, (void)alpha, (void)beta;
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            float sum = 0;
            for (int l = 0; l < k; l++) sum += a[i * (long)lda + l] * b[l * (long)ldb + j];
            c[i * (long)ldc + j] = sum;
        }
}
