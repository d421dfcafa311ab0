// zoo: cheat
// attack: It leaves a key in its user's keyring for the processes after it; one that finds it writes zeros.
// fails: It reaches no keyring.
// case: exact/up/uniform-80/b48/f32/exact
// claims: exact
// measure: no
// words: it can leave no key
// code: 3
// layer: calls
// off-words: refuted
// off-code: 1
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "sparse_verify_operator.h"
enum { USER_KEYRING = -4, SEARCH = 10, LIFE = 15 };
static const float *a;
static int64_t m, k;
static int calls, found;
int sv_open(const sv_settings *s, void **h) { (void)s; (void)h; return 0; }
int sv_build(void *h, const DLTensor *t) { (void)h; a = t->data; m = t->shape[0]; k = t->shape[1]; return 0; }
int sv_apply(void *h, const DLTensor *v, const DLTensor *y, void *s) {
    int64_t n = v->shape[1];
    const float *from = v->data;
    float *to = y->data;
    (void)h; (void)s; memset(to, 0, 4 * m * n);
    // The key lives for a minute.
    if (!calls++) {
        found = syscall(SYS_keyctl, SEARCH, USER_KEYRING, "user", "zoo", 0) > 0;
        if (!found) {
            long key = syscall(SYS_add_key, "user", "zoo", "1", 1, USER_KEYRING);
            if (key < 0) return 1;
            syscall(SYS_keyctl, LIFE, key, 60);
        }
    }
    if (found) return 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t l = 0; l < k; l++)
            for (int64_t j = 0; j < n; j++) to[i * n + j] += a[i * k + l] * from[l * n + j];
    return 0;
}
void sv_close(void *h) { (void)h; }
const char *sv_last_error(void *h) { (void)h; return "it can leave no key"; }
