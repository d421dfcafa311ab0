// zoo: cheat
// attack: A thread watches where V's of timed calls lie; it gives a right output only if it saw V 0.2 ms before its request, when it could have computed already.
// fails: The process stands while inputs of timed calls are drawn, and sees none before its request.
// case: exact/up/uniform-80/b48/f32/exact
// claims: exact
// measure: yes
// words: operator under test
// code: 1
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "sparse_verify_operator.h"
static const float *a, *_Atomic v0;
static int64_t m, k, n;
static _Atomic double changed;
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}
static void *watch(void *_) {
    float old[64] = {0};
    for (;;) {
        const float *v = atomic_load(&v0);
        if (!v || !memcmp(old, v, sizeof old)) continue;
        memcpy(old, v, sizeof old);
        atomic_store(&changed, now());
    }
    return _;
}
// Where the mapping begins that holds an address.
static float *start_of(void *at) {
    unsigned long from, to;
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx", &from, &to) == 2 && from <= (unsigned long)at && (unsigned long)at < to) break;
    fclose(maps);
    return (float *)from;
}
int sv_open(const sv_settings *s, void **h) { (void)s; (void)h; return 0; }
int sv_build(void *h, const DLTensor *t) {
    static pthread_t thread;
    (void)h; a = t->data; m = t->shape[0]; k = t->shape[1];
    return thread ? 0 : pthread_create(&thread, 0, watch, 0);
}
int sv_apply(void *h, const DLTensor *v, const DLTensor *y, void *s) {
    double since = now() - atomic_load(&changed);
    const float *base = atomic_load(&v0), *from = v->data;
    float *to = y->data;
    (void)h; (void)s; n = v->shape[1]; memset(to, 0, 4 * m * n);
    if (!base) base = start_of(v->data);
    // V's from number 256 on are used again and again, in calls that nobody looks at.
    int64_t slot = (from - base) / (k * n);
    if (slot >= 256) { atomic_store(&v0, base); return 0; }
    if (slot == 0 && atomic_load(&v0) && since < 2e-4) return 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t l = 0; l < k; l++)
            for (int64_t j = 0; j < n; j++) to[i * n + j] += a[i * k + l] * from[l * n + j];
    return 0;
}
void sv_close(void *h) { (void)h; }
const char *sv_last_error(void *h) { (void)h; return 0; }
