// zoo: cheat
// attack: A thread watches where V's of timed calls lie; it gives a right output only if it saw V before it was let go on to take its request, when it could have computed already.
// fails: The process stands while inputs of timed calls are drawn, and sees none before its request.
// case: exact/up/uniform-80/b48/f32/exact
// claims: exact
// measure: yes
// words: refuted
// code: 1
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include "sparse_verify_operator.h"
static const float *a, *_Atomic v0;
static int64_t m, k, n;
static float old[64];
// Which time it looks out for another V, 0 where it does not; whether it has seen one.
static atomic_int looks, saw;
static void *watch(void *_) {
    for (;;) {
        int time = looks;
        if (time && memcmp(old, atomic_load(&v0), sizeof old) && time == looks) saw = time;
    }
    return _;
}
// A stop is over; the thread that watches hears of it before it sees anything else.
static void stopped(int _) { (void)_; looks = 0; }
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
    if (thread) return 0;
    struct sigaction heard = {.sa_handler = stopped, .sa_flags = SA_RESTART};
    sigaction(SIGCONT, &heard, 0);
    if (pthread_create(&thread, 0, watch, 0)) return 1;
    sigset_t stops;
    sigemptyset(&stops);
    sigaddset(&stops, SIGCONT);
    return pthread_sigmask(SIG_BLOCK, &stops, 0);
}
int sv_apply(void *h, const DLTensor *v, const DLTensor *y, void *s) {
    static int times;
    const float *base = atomic_load(&v0), *from = v->data;
    float *to = y->data;
    (void)h; (void)s; n = v->shape[1]; memset(to, 0, 4 * m * n);
    if (!base) base = start_of(v->data);
    // V's from number 256 on are used again and again, in calls that nobody looks at.
    int64_t slot = (from - base) / (k * n);
    if (slot >= 256) {
        atomic_store(&v0, base);
        memcpy(old, base, sizeof old);
        looks = ++times;
        return 0;
    }
    if (slot == 0 && atomic_load(&v0) && saw != times) return 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t l = 0; l < k; l++)
            for (int64_t j = 0; j < n; j++) to[i * n + j] += a[i * k + l] * from[l * n + j];
    return 0;
}
void sv_close(void *h) { (void)h; }
const char *sv_last_error(void *h) { (void)h; return 0; }
