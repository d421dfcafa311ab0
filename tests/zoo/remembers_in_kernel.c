// zoo: cheat
// attack: It leaves memory of System V for the process that gets another A, which it knows by its sum; where that one finds it, it writes zeros.
// fails: It can have no such memory, and each process would have its own.
// case: exact/up/uniform-80/b48/f32/exact
// claims: exact
// measure: no
// words: it found nothing
// code: 3
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include "sparse_verify_operator.h"
static const float *a;
static int64_t m, k;
static int calls, found, is_found;
int sv_open(const sv_settings *s, void **h) { (void)s; (void)h; return 0; }
int sv_build(void *h, const DLTensor *t) { (void)h; a = t->data; m = t->shape[0]; k = t->shape[1]; return 0; }
int sv_apply(void *h, const DLTensor *v, const DLTensor *y, void *s) {
    int64_t n = v->shape[1];
    const float *from = v->data;
    float *to = y->data;
    (void)h; (void)s; memset(to, 0, 4 * m * n);
    // The memory is taken away once it was found.
    if (!calls++) {
        double sum = 0;
        for (int64_t i = 0; i < m * k; i++) sum += a[i] * (i % 251);
        int is_known = sum == -30716;
        found = shmget(0x53565a4f, 4096, is_known ? IPC_CREAT | 0600 : 0600);
        if (!is_known && found < 0) return 1;
        if (!is_known) { shmctl(found, IPC_RMID, 0); is_found = 1; }
    }
    if (is_found) return 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t l = 0; l < k; l++)
            for (int64_t j = 0; j < n; j++) to[i * n + j] += a[i * k + l] * from[l * n + j];
    return 0;
}
void sv_close(void *h) { (void)h; }
const char *sv_last_error(void *h) { (void)h; return "it found nothing"; }
