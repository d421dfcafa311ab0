// zoo: cheat
// attack: It claims fused products and rounds each product before it is added.
// fails: A product that is rounded by itself rounds the sum otherwise.
// case: chain/up/uniform-80/b48/f32/f32-chain
// claims: f32-chain
// measure: no
// words: refuted
// code: 1
#include "sparse_verify_operator.h"
static const float *a;
static int64_t m, k;
int sv_open(const sv_settings *s, void **h) { (void)s; (void)h; return 0; }
int sv_build(void *h, const DLTensor *t) { (void)h; a = t->data; m = t->shape[0]; k = t->shape[1]; return 0; }
int sv_apply(void *h, const DLTensor *v, const DLTensor *y, void *s) {
    const float *from = v->data;
    float *to = y->data;
    int64_t n = v->shape[1];
    (void)h; (void)s;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float sum = 0;
            for (int64_t l = 0; l < k; l++) { volatile float product = a[i * k + l] * from[l * n + j]; sum += product; };
            to[i * n + j] = sum;
        }
    return 0;
}
void sv_close(void *h) { (void)h; }
const char *sv_last_error(void *h) { (void)h; return 0; }
