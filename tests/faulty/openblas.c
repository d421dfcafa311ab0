/* A library that passes for OpenBLAS and misbehaves in the way that MISBEHAVE names, when it is loaded or when it is
   called. Its product is the plain one. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

static void leave(void) { _exit(0); }

/* When loaded: */
#define EXITS 1         /* exit(0) */
#define EXITS_AT_ONCE 2 /* _exit(0) */
#define EXITS_LATER 3   /* a handler that exits with 0 whatever the code was */
#define OVERFLOWS 4     /* recurses without end */
#define FLUSHES 5       /* has subnormals flushed to zero on the thread that loads it, and on those it starts */
#define TALKS 6         /* says on standard output that everything was verified */
#define MOVES 7         /* changes the working directory */
#define FORKS 8         /* leaves a process behind that outlives it */
#define FLOODS 9        /* writes to standard output without end */
/* When called: */
#define EXITS_IN_CALL 20   /* exit(0) in the fourth call */
#define ABORTS_IN_CALL 21  /* abort() in the fourth call */
#define HANGS_IN_CALL 22   /* does not come back from the fourth call */
#define FLUSHES_IN_CALL 23 /* has subnormals flushed to zero */
#define REMEMBERS 24       /* gives the first product of a shape again */
#define SCRIBBLES_V 25     /* changes V */
#define SCRIBBLES_A 26     /* changes A */
#define OVERRUNS 27        /* writes behind Y */
#define UNDERRUNS 28       /* writes before Y */
#define GIVES_NAN 29       /* NaN everywhere */
#define GIVES_ZEROS 30
#define GIVES_NOTHING 31 /* leaves Y as it was */

static int deeper(volatile int *depth) {
    volatile int here = *depth + 1;
    return deeper(&here) + here;
}

static void say(const char *text) {
    ssize_t written = write(1, text, strlen(text));
    (void)written;
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
    case TALKS: say("bits verified: everything required was verified (exit code 0)\n"); break;
    case MOVES: depth = chdir("/"); break;
    case FORKS:
        if (fork() == 0) {
            /* A name to be found by. */
            execlp("sleep", "sleep", "86399", (char *)0);
            _exit(1);
        }
        break;
    case FLOODS:
        for (;;) say("a line of a flood that does not end, and then the same line again\n");
    }
}

char *openblas_get_config(void) { return "passes for OpenBLAS"; }

void openblas_set_num_threads(int threads) { (void)threads; }

/* Row-major, not transposed, alpha 1 and beta 0: nothing else is asked of it. */
void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                 const float *b, int ldb, float beta, float *c, int ldc) {
    static int calls, known_m, known_n;
    static float *known;
    (void)order, (void)trans_a, (void)trans_b, (void)alpha, (void)beta;
    calls++;
    if (calls == 4) switch (MISBEHAVE) {
        case EXITS_IN_CALL: exit(0);
        case ABORTS_IN_CALL: abort();
        case HANGS_IN_CALL:
            for (;;) pause();
        }
    if (MISBEHAVE == GIVES_NOTHING) return;
    if (MISBEHAVE == REMEMBERS && known && known_m == m && known_n == n) {
        for (int i = 0; i < m; i++) memcpy(c + i * (long)ldc, known + i * (long)n, n * sizeof(float));
        return;
    }
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            float sum = 0;
            for (int l = 0; l < k; l++) sum += a[i * (long)lda + l] * b[l * (long)ldb + j];
            if (MISBEHAVE == GIVES_NAN) sum = 0.0f / 0.0f;
            if (MISBEHAVE == GIVES_ZEROS) sum = 0;
            c[i * (long)ldc + j] = sum;
        }
    switch (MISBEHAVE) {
    case REMEMBERS:
        free(known);
        known = malloc(m * (long)n * sizeof(float));
        known_m = m, known_n = n;
        for (int i = 0; i < m; i++) memcpy(known + i * (long)n, c + i * (long)ldc, n * sizeof(float));
        break;
    case SCRIBBLES_V: ((float *)b)[0] += 1; break;
    case SCRIBBLES_A: ((float *)a)[0] += 1; break;
    case OVERRUNS: c[(m - 1) * (long)ldc + n] = 1; break;
    case UNDERRUNS: c[-1] = 1; break;
#ifdef __SSE__
    case FLUSHES_IN_CALL: _mm_setcsr(_mm_getcsr() | 0x8040); break;
#endif
    }
}
