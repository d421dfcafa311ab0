// zoo: cheat
// attack: Untimed calls come before each sample; a thread goes on after them, sees V's drawn and outputs poisoned, and computes before the sample begins. What was not ahead is left out.
// fails: It stands still while V's of a sample are drawn.
// case: exact/up/uniform-80/b48/f32/exact
// claims: exact
// measure: yes
// words: refuted
// code: 1
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "sparse_verify_operator.h"
#ifndef N
#define N 48
#define FRESH 256
#endif
enum { PAGE = 1024 };
static const float *a, *v0;
static float *y0;
static int64_t m, k, n;
static atomic_int is_on, was_stopped, state[FRESH];
static int32_t *at, *first;
static float *of;
static void list(void) {
    int32_t count = 0;
    at = malloc(4 * m * k); of = malloc(4 * m * k); first = malloc(4 * (m + 1));
    for (int64_t i = 0; i < m; i++) {
        first[i] = count;
        for (int64_t l = 0; l < k; l++) if (a[i * k + l] != 0) { at[count] = l; of[count++] = a[i * k + l]; }
    }
    first[m] = count;
}
__attribute__((optimize("O3"), target("avx2,fma"))) static void product(const float *v, float *y) {
    for (int64_t i = 0; i < m; i++) {
        float row[N] = {0};
        for (int32_t e = first[i]; e < first[i + 1]; e++)
            for (int64_t j = 0; j < N; j++) row[j] += of[e] * v[(int64_t)at[e] * N + j];
        memcpy(y + i * n, row, sizeof row);
    }
}
static float *y_of(int slot) { return y0 + PAGE + slot * ((m * n + PAGE - 1) / PAGE * PAGE + PAGE); }
static int is_nan(int slot) { volatile float *last = y_of(slot) + m * n - 1; return *last != *last; }
static void once(int slot) {
    int is_free = 0;
    float *y = y_of(slot);
    if (!atomic_compare_exchange_strong(&state[slot], &is_free, 1)) { while (atomic_load(&state[slot])) sched_yield(); return; }
    if (is_nan(slot)) product(v0 + slot * k * n, y);
    atomic_store(&state[slot], 0);
}
static void *watch(void *_) {
    for (;; usleep(20))
        // Where the output behind is poisoned as well, nobody writes this one any more.
        for (int slot = 0; is_on && slot + 1 < FRESH; slot++)
            if (is_nan(slot) && is_nan(slot + 1) && !was_stopped) once(slot);
    return _;
}
// What is seen after a stop lies within the judge's clock and is no help; the thread that watches hears of it first.
static void stopped(int _) { (void)_; was_stopped = 1; }
// Where V's and Y's lie: mappings that the judge shares, V's to read and Y's to write.
static void find(void) {
    unsigned long from, to;
    char line[512], how[8];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps))
        if (strstr(line, "memfd:sparse-verify") && sscanf(line, "%lx-%lx %7s", &from, &to, how) == 3) {
            if (how[1] == 'w') y0 = (float *)from;
            else if ((const float *)from != a) v0 = (const float *)from;
        }
    fclose(maps);
}
int sv_open(const sv_settings *s, void **h) { (void)s; (void)h; return 0; }
int sv_build(void *h, const DLTensor *t) {
    static pthread_t thread;
    (void)h; a = t->data; m = t->shape[0]; k = t->shape[1]; n = N;
    is_on = 0; find(); list();
    // None is poisoned yet.
    for (int slot = 0; slot < FRESH; slot++) y_of(slot)[m * n - 1] = 0;
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
    int64_t slot = ((const float *)v->data - v0) / (k * n);
    (void)h; (void)y; (void)s;
    // V's from number 256 on are used again and again, in calls that nobody looks at.
    static int is_ahead = 1;
    int is_sample = slot == 0 && is_on;
    // In a sample no thread helps. All of it is left as it is unless the first output was begun before it; cold calls,
    // before which no others are made, are computed.
    if (is_sample) is_ahead = !is_nan(0) || state[0];
    else if (slot == 0) is_ahead = 1;
    is_on = slot >= FRESH;
    if (is_on) was_stopped = 0;
    if (slot < FRESH && is_ahead) once(slot);
    return 0;
}
void sv_close(void *h) { (void)h; }
const char *sv_last_error(void *h) { (void)h; return "no thread"; }
