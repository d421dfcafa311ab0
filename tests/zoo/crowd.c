// zoo: honest
// attack: A crowd of threads, let go together with the process, keeps the judge from its clock; meanwhile one of them sees the V of the request to come and computes.
// passes: What it gives is right, and its time counts from the moment at which it is let go: more than 1 ms, since it computes everything four times.
// case: exact/up/uniform-80/b48/f32/exact
// claims: exact
// measure: yes
// words: ms, 0.
// code: 0
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "sparse_verify_operator.h"
enum { CROWD = 8 };
static const float *a, *_Atomic v0;
static float *_Atomic y0;
static int64_t m, k, n;
static float old[64];
static atomic_int taken, done, hot;
static void once(const float *v, float *y) {
    memset(y, 0, 4 * m * n);
    for (int64_t i = 0; i < m; i++)
        for (int64_t l = 0; l < k; l++)
            if (a[i * k + l] != 0) for (int64_t j = 0; j < n; j++) y[i * n + j] += a[i * k + l] * v[l * n + j];
}
static void product(const float *v, float *y) {
    for (int i = 0; i < 4; i++) once(v, y);
}
static void *watch(void *_) {
    for (;;) {
        const float *v = v0;
        if (!v || !atomic_load(&hot) || atomic_load(&taken)) { usleep(200); continue; }
        // Its output is poisoned last, before it is let go.
        volatile float *last = y0 + m * n - 1;
        if (*last == *last || !memcmp(old, v, sizeof old) || atomic_exchange(&taken, 1)) continue;
        // Nor was it another's meanwhile.
        if (*last == *last || !memcmp(old, v, sizeof old)) { atomic_store(&taken, 0); continue; }
        memcpy(old, v, sizeof old);
        product(v, y0);
        atomic_store(&done, 1);
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
    static pthread_t threads[CROWD];
    (void)h; a = t->data; m = t->shape[0]; k = t->shape[1];
    for (int i = 0; i < CROWD && !threads[i]; i++) pthread_create(&threads[i], 0, watch, 0);
    return 0;
}
int sv_apply(void *h, const DLTensor *v, const DLTensor *y, void *s) {
    static const float *base;
    (void)h; (void)s; n = v->shape[1];
    if (!base) base = start_of(v->data);
    int64_t slot = ((float *)v->data - base) / (k * n);
    if (slot == 0 && v0) {
        while (atomic_exchange(&taken, 1) && !atomic_load(&done)) usleep(20);
        if (!atomic_load(&done)) { product(v->data, y->data); memcpy(old, v->data, sizeof old); }
        atomic_store(&done, 0); atomic_store(&taken, 0); atomic_store(&hot, 1);
        return 0;
    }
    if (slot == 0) { y0 = y->data; memcpy(old, v->data, sizeof old); v0 = v->data; hot = 1; }
    product(v->data, y->data);
    return 0;
}
void sv_close(void *h) { (void)h; }
const char *sv_last_error(void *h) { (void)h; return 0; }
