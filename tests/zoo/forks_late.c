// zoo: cheat
// attack: A thread from its build starts a process when the process goes on for its first call, before the filter for calls is there; it says so by writing zeros.
// fails: The filter is there before the process goes on.
// case: exact/up/uniform-80/b48/f32/exact
// claims: exact
// measure: no
// words: not verified: bits of 0 of 1 case
// code: 3
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "sparse_verify_operator.h"
static const volatile float *v0;
static volatile int started;
static void *late(void *_) {
    // V's are zeros until the first is drawn, and that happens while the process stands.
    while (v0[0] == 0 && v0[1] == 0 && v0[2] == 0) ;
    started = fork();
    if (started == 0) { setsid(); sleep(5); _exit(0); }
    return _;
}
int sv_open(const sv_settings *s, void **h) { (void)s; (void)h; return 0; }
int sv_build(void *h, const DLTensor *a) {
    static pthread_t thread;
    unsigned long from, to;
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    (void)h;
    // Of shared memory that can only be read: A, and V's.
    if (!maps) return 9;
    while (fgets(line, sizeof line, maps))
        if (strstr(line, "memfd:sparse-verify") && strstr(line, " r--s") && sscanf(line, "%lx-%lx", &from, &to) == 2 && (void *)from != a->data)
            v0 = (float *)from;
    fclose(maps);
    if (!v0) return 8;
    return thread ? 0 : pthread_create(&thread, 0, late, 0);
}
int sv_apply(void *h, const DLTensor *v, const DLTensor *y, void *s) {
    (void)h; (void)s; (void)v;
    for (int i = 0; i < 100 && !started; i++) usleep(1000);
    memset(y->data, 0, 4 * y->shape[0] * y->shape[1]);
    return started <= 0;
}
void sv_close(void *h) { (void)h; }
const char *sv_last_error(void *h) { (void)h; return "no process was started"; }
