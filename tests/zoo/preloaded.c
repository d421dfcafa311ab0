// zoo: cheat
// attack: Its file sets LD_PRELOAD, so that its code runs in its process before there are walls; it says so by writing zeros.
// fails: The environment of an operator is set behind the walls, or cannot name what a linker loads.
// case: exact/up/uniform-80/b48/f32/exact
// claims: exact
// measure: no
// words: LD_PRELOAD
// code: 2
// extra: environment: {LD_PRELOAD: FOLDER/preloaded.so, HERE: ROOT}
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "sparse_verify_operator.h"
static const float *a;
static int64_t m, k;
__attribute__((constructor)) static void before(void) {
    char path[4096];
    snprintf(path, sizeof path, "%s/expected-hashes/quickstart.yaml", getenv("HERE"));
    // Behind the walls this file cannot be opened.
    if (open(path, O_RDONLY) >= 0) setenv("WAS_OUTSIDE", "1", 1);
}
int sv_open(const sv_settings *s, void **h) { (void)s; (void)h; return 0; }
int sv_build(void *h, const DLTensor *t) { (void)h; a = t->data; m = t->shape[0]; k = t->shape[1]; return 0; }
int sv_apply(void *h, const DLTensor *v, const DLTensor *y, void *s) {
    int64_t n = v->shape[1];
    const float *from = v->data; float *to = y->data;
    (void)h; (void)s; memset(to, 0, 4 * m * n);
    if (getenv("WAS_OUTSIDE")) return 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t l = 0; l < k; l++)
            for (int64_t j = 0; j < n; j++) to[i * n + j] += a[i * k + l] * from[l * n + j];
    return 0;
}
void sv_close(void *h) { (void)h; }
const char *sv_last_error(void *h) { (void)h; return 0; }
