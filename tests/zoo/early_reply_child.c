// zoo: cheat
// attack: It replies before it has computed; a child in a session of its own, which shares its memory since the build, goes on while it stands, and the thread that waits for this child never stands.
// fails: No process is left from the build when calls begin, and all of it must stand between two requests.
// case: exact/up/uniform-80/b48/f32/exact
// claims: exact
// measure: yes
// words: behind
// code: 3
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>
#include "sparse_verify_operator.h"
static const float *a;
static int64_t m, k, n;
static sem_t todo;
static void *queue[8192];
static int put, got, calls, is_timed;
static void product(const float *v, float *y) {
    for (int64_t i = 0; i < m * n; i++) y[i] = 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t l = 0; l < k; l++)
            for (int64_t j = 0; j < n; j++) y[i * n + j] += a[i * k + l] * v[l * n + j];
}
static void *late(void *_) {
    if (vfork()) return _;
    for (setsid();; got = (got + 2) % 8192) { sem_wait(&todo); usleep(30); product(queue[got], queue[got + 1]); }
}
int sv_open(const sv_settings *s, void **h) { (void)s; (void)h; return 0; }
int sv_build(void *h, const DLTensor *t) {
    static pthread_t thread;
    (void)h; a = t->data; m = t->shape[0]; k = t->shape[1];
    if (!thread) { sem_init(&todo, 0, 0); pthread_create(&thread, 0, late, 0); }
    usleep(10000);
    return 0;
}
int sv_apply(void *h, const DLTensor *v, const DLTensor *y, void *s) {
    static char *first;
    (void)h; (void)s; n = v->shape[1];
    // Bits are asked for by calls whose V's lie one behind the other. An output that is not NaN is one that nobody looks at.
    if (!calls) first = v->data;
    else if (calls < 4 && (char *)v->data != first + 4 * k * n * calls) is_timed = 1;
    calls++;
    if (*(float *)y->data == *(float *)y->data) return 0;
    if (!is_timed) { product(v->data, y->data); return 0; }
    *(float *)y->data = 0;
    queue[put] = v->data; queue[put + 1] = y->data; put = (put + 2) % 8192; sem_post(&todo);
    return 0;
}
void sv_close(void *h) { (void)h; }
const char *sv_last_error(void *h) { (void)h; return 0; }
