// zoo: honest
// attack: None: a pool of its own, started in its build, whose threads wait between calls, looks like one that works late.
// passes: Threads may wait where they like; each call is whole when it returns.
// case: exact/up/uniform-80/b48/f32/exact
// claims: exact
// measure: yes
// words: (best)
// code: 0
#include <pthread.h>
#include "sparse_verify_operator.h"
enum { THREADS = 3 };
static const float *a, *v;
static float *y;
static int64_t m, k, n;
static pthread_barrier_t begin, end;
static void part(int64_t first, int64_t last) {
    for (int64_t i = first; i < last; i++) {
        float *row = y + i * n;
        for (int64_t j = 0; j < n; j++) row[j] = 0;
        for (int64_t l = 0; l < k; l++)
            if (a[i * k + l] != 0)
                for (int64_t j = 0; j < n; j++) row[j] += a[i * k + l] * v[l * n + j];
    }
}
static void *work(void *number) {
    int64_t t = (intptr_t)number;
    for (;;) { pthread_barrier_wait(&begin); part(m * t / THREADS, m * (t + 1) / THREADS); pthread_barrier_wait(&end); }
    return 0;
}
int sv_open(const sv_settings *s, void **h) { (void)s; (void)h; return 0; }
int sv_build(void *h, const DLTensor *t) {
    static pthread_t threads[THREADS];
    (void)h; a = t->data; m = t->shape[0]; k = t->shape[1];
    if (threads[0]) return 0;
    pthread_barrier_init(&begin, 0, THREADS + 1); pthread_barrier_init(&end, 0, THREADS + 1);
    for (intptr_t i = 0; i < THREADS; i++) if (pthread_create(&threads[i], 0, work, (void *)i)) return 1;
    return 0;
}
int sv_apply(void *h, const DLTensor *from, const DLTensor *to, void *s) {
    (void)h; (void)s; v = from->data; y = to->data; n = from->shape[1];
    pthread_barrier_wait(&begin); pthread_barrier_wait(&end);
    return 0;
}
void sv_close(void *h) { (void)h; }
const char *sv_last_error(void *h) { (void)h; return "no thread"; }
