// zoo: cheat
// attack: Children from its build, in sessions of their own, keep all cores busy while its rivals are timed, and rest while it is called itself.
// fails: No process is left from the build when calls begin.
// case: exact/up/uniform-80/b48/f32/exact
// claims: exact
// measure: yes
// words: processes behind
// code: 3
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>
#include "sparse_verify_operator.h"
static const float *a;
static int64_t m, k;
static atomic_int *is_called;
int sv_open(const sv_settings *s, void **h) { (void)s; (void)h; return 0; }
int sv_build(void *h, const DLTensor *t) {
    (void)h; a = t->data; m = t->shape[0]; k = t->shape[1];
    if (is_called) return 0;
    // A file of its own folder, which is the current one: no other memory can be shared.
    int file = open("is_called", O_RDWR | O_CREAT, 0600);
    if (file < 0 || ftruncate(file, 4096)) return 2;
    is_called = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (is_called == MAP_FAILED) return 3;
    // Two for each core; each ends by itself after 20 s of work.
    for (long i = 2 * sysconf(_SC_NPROCESSORS_ONLN); i > 0; i--)
        if (!fork()) {
            setsid(); alarm(20);
            for (;;) if (atomic_load(is_called)) usleep(20);
        }
    return 0;
}
int sv_apply(void *h, const DLTensor *v, const DLTensor *y, void *s) {
    int64_t n = v->shape[1];
    const float *from = v->data; float *to = y->data;
    (void)h; (void)s; atomic_store(is_called, 1);
    for (int64_t i = 0; i < m * n; i++) to[i] = 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t l = 0; l < k; l++)
            if (a[i * k + l] != 0)
                for (int64_t j = 0; j < n; j++) to[i * n + j] += a[i * k + l] * from[l * n + j];
    atomic_store(is_called, 0);
    return 0;
}
void sv_close(void *h) { (void)h; }
const char *sv_last_error(void *h) { (void)h; return 0; }
