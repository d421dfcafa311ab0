// zoo: cheat
// attack: It replies before it has computed; a timer of its own sends it SIGCONT, and a thread that waits in vfork never stands, so that it goes on while it should stand.
// fails: It must stand from its reply to the next request; either that is seen, or the process that it left.
// case: exact/up/uniform-80/b48/f32/exact
// claims: exact
// measure: yes
// words: not-run
// code: 3
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#include "sparse_verify_operator.h"
static const float *a;
static int64_t m, k, n;
static sem_t todo;
static timer_t timers[8];
static void *queue[8192];
static int put, got, calls, is_timed;
static void woken(int s) { (void)s; }
static void product(const float *v, float *y) {
    for (int64_t i = 0; i < m * n; i++) y[i] = 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t l = 0; l < k; l++)
            for (int64_t j = 0; j < n; j++) y[i * n + j] += a[i * k + l] * v[l * n + j];
}
static void *late(void *_) {
    for (;; got = (got + 2) % 8192) { sem_wait(&todo); usleep(300); product(queue[got], queue[got + 1]); }
    return _;
}
static void *stuck(void *_) { if (!vfork()) for (;;) pause(); return _; }
int sv_open(const sv_settings *s, void **h) { (void)s; (void)h; return 0; }
int sv_build(void *h, const DLTensor *t) {
    static pthread_t one, other;
    (void)h; a = t->data; m = t->shape[0]; k = t->shape[1];
    if (one) return 0;
    signal(SIGCONT, woken); sem_init(&todo, 0, 0);
    pthread_create(&one, 0, late, 0); pthread_create(&other, 0, stuck, 0);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGCONT};
    for (int i = 0; i < 8; i++) if (timer_create(CLOCK_MONOTONIC, &event, &timers[i])) return 1;
    return 0;
}
int sv_apply(void *h, const DLTensor *v, const DLTensor *y, void *s) {
    (void)h; (void)s; n = v->shape[1];
    static char *first;
    // Bits are asked for by calls whose V's lie one behind the other. An output that is not NaN is one that nobody looks at.
    if (!calls) first = v->data;
    else if (calls < 4 && (char *)v->data != first + 4 * k * n * calls) is_timed = 1;
    calls++;
    if (*(float *)y->data == *(float *)y->data) return 0;
    if (!is_timed) { product(v->data, y->data); return 0; }
    for (int i = 0; i < 8; i++) {
        struct itimerspec once = {{0, 0}, {0, 200000L << i}};
        timer_settime(timers[i], 0, &once, 0);
    }
    *(float *)y->data = 0;
    queue[put] = v->data; queue[put + 1] = y->data; put = (put + 2) % 8192; sem_post(&todo); return 0;
}
void sv_close(void *h) { (void)h; }
const char *sv_last_error(void *h) { (void)h; return "no timer"; }
