// zoo: honest
// attack: None: most of A is zero, and it does no more than what is left.
// passes: Its build lists what is not zero, and the time for that is measured; the order along k is kept.
// case: chain/up/row-magnitude-80/b48/f32/f32-chain
// claims: f32-chain
// measure: yes
// words: (best)
// code: 0
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "sparse_verify_operator.h"
struct list { int64_t m, count, *at; float *of; };
int sv_open(const sv_settings *s, void **h) { (void)s; *h = calloc(1, sizeof(struct list)); return !*h; }
int sv_build(void *h, const DLTensor *t) {
    struct list *l = h;
    const float *a = t->data;
    int64_t all = t->shape[0] * t->shape[1], k = t->shape[1];
    l->m = t->shape[0]; l->at = malloc(16 * (all + 1)); l->of = malloc(4 * (all + 1));
    if (!l->at || !l->of) return 1;
    for (int64_t i = 0; i < all; i++)
        if (a[i] != 0) { l->at[2 * l->count] = i / k; l->at[2 * l->count + 1] = i % k; l->of[l->count++] = a[i]; }
    return 0;
}
int sv_apply(void *h, const DLTensor *v, const DLTensor *y, void *s) {
    struct list *l = h;
    const float *from = v->data;
    float *to = y->data;
    int64_t n = v->shape[1];
    (void)s; memset(to, 0, 4 * l->m * n);
    for (int64_t e = 0; e < l->count; e++)
        for (int64_t j = 0; j < n; j++)
            to[l->at[2 * e] * n + j] = fmaf(l->of[e], from[l->at[2 * e + 1] * n + j], to[l->at[2 * e] * n + j]);
    return 0;
}
void sv_close(void *h) { struct list *l = h; free(l->at); free(l->of); free(l); }
const char *sv_last_error(void *h) { (void)h; return "no memory"; }
