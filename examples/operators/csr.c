/* Sparse product Y = A V, A in CSR, in binary32. docs/operators.md says how it is run.
 *
 * Each element follows the rule `f32-chain`: y = +0, and y = fma(a[k], v[k], y) for k ascending. Products with a[k] = 0
 * are left out, which changes no value (VERIFY.md, section 4). -ffast-math would break the rule.
 *
 *     cc -O3 -march=native -fopenmp -shared -fPIC -Iinclude -o csr.so examples/operators/csr.c -lm
 *
 * Without -fopenmp it uses one thread. */
#include <math.h>
#include <stdlib.h>
#include "sparse_verify_operator.h"

typedef struct {
    int threads;
    int64_t m;
    int64_t *row_offsets; /* m + 1: row i has the entries row_offsets[i] to row_offsets[i + 1] - 1 */
    int64_t *col_indices; /* nnz, ascending in each row */
    float *values;        /* nnz, none of them zero */
} csr;

static const char *error = "no memory";

static float *first(const DLTensor *t) { return (float *)((char *)t->data + t->byte_offset); }

int sv_open(const sv_settings *settings, void **handle) {
    if (settings->abi != SV_ABI) return error = "another version of the interface", 1;
    csr *s = calloc(1, sizeof *s);
    if (!s) return 1;
    s->threads = (int)settings->threads;
    *handle = s;
    return 0;
}

int sv_build(void *handle, const DLTensor *a) {
    csr *s = handle;
    const float *dense = first(a);
    const int64_t m = a->shape[0], k = a->shape[1];
    int64_t nnz = 0, entry = 0;
    for (int64_t at = 0; at < m * k; at++) nnz += dense[at] != 0;
    s->m = m;
    s->row_offsets = calloc((size_t)m + 1, sizeof *s->row_offsets);
    s->col_indices = calloc((size_t)nnz + 1, sizeof *s->col_indices);
    s->values = calloc((size_t)nnz + 1, sizeof *s->values);
    if (!s->row_offsets || !s->col_indices || !s->values) return 1;
    for (int64_t at = 0; at < m * k; at++) {
        if (dense[at] != 0) s->col_indices[entry] = at % k, s->values[entry++] = dense[at];
        if (at % k == k - 1) s->row_offsets[at / k + 1] = entry;
    }
    return 0;
}

int sv_apply(void *handle, const DLTensor *v, const DLTensor *y, void *stream) {
    const csr *s = handle;
    const float *in = first(v);
    float *out = first(y);
    const int64_t n = v->shape[1];
    (void)stream; /* NULL on a CPU */
#pragma omp parallel for schedule(dynamic, 16) num_threads(s->threads)
    for (int64_t i = 0; i < s->m; i++) {
        float *restrict row = out + i * n;
        for (int64_t j = 0; j < n; j++) row[j] = 0;
        for (int64_t e = s->row_offsets[i]; e < s->row_offsets[i + 1]; e++) {
            const float *restrict line = in + s->col_indices[e] * n;
            for (int64_t j = 0; j < n; j++) row[j] = fmaf(s->values[e], line[j], row[j]);
        }
    }
    return 0;
}

void sv_close(void *handle) {
    csr *s = handle;
    free(s->row_offsets), free(s->col_indices), free(s->values), free(s);
}

const char *sv_last_error(void *handle) { return (void)handle, error; }
