/* Y = A V on a CUDA device by cuBLAS, in binary32: an operator whose matrices lie in the device's memory.
 *
 *   cc -O2 -shared -fPIC -Iinclude -o mine/cublas.so examples/operators/cublas.c \
 *     -L/usr/local/cuda/lib64 -lcublas -Wl,-rpath,/usr/local/cuda/lib64
 *
 * The operator file has `device: cuda`, `kind: library` and `dtypes: [f32]`. */
#include <stdio.h>
#include <stdlib.h>

#include "sparse_verify_operator.h"

/* Of cublas_v2.h, which is not needed to build this. */
typedef struct cublasContext *cublasHandle_t;
int cublasCreate_v2(cublasHandle_t *);
int cublasDestroy_v2(cublasHandle_t);
int cublasSetStream_v2(cublasHandle_t, void *);
int cublasSgemm_v2(
    cublasHandle_t, int transa, int transb, int m, int n, int k, const float *alpha, const float *a, int lda,
    const float *b, int ldb, const float *beta, float *c, int ldc);

typedef struct {
    cublasHandle_t blas;
    const DLTensor *a;
} operator_t;

static char error[80];

static int fail(const char *what, int code)
{
    snprintf(error, sizeof error, "%s: %d", what, code);
    return 1;
}

static float *data(const DLTensor *t) { return (float *)((char *)t->data + t->byte_offset); }

int sv_open(const sv_settings *settings, void **handle)
{
    if (settings->device.device_type != 2) {
        return fail("matrices on no CUDA device", settings->device.device_type);
    }
    operator_t *op = calloc(1, sizeof *op);
    int code = op ? cublasCreate_v2(&op->blas) : 0;
    if (!op || code) {
        free(op);
        return fail("cublasCreate", code);
    }
    *handle = op;
    return 0;
}

int sv_build(void *handle, const DLTensor *a)
{
    ((operator_t *)handle)->a = a;
    return 0;
}

/* Rows of ours are columns of cuBLAS's: Y^T = V^T A^T. */
int sv_apply(void *handle, const DLTensor *v, const DLTensor *y, void *stream)
{
    operator_t *op = handle;
    int m = (int)op->a->shape[0], k = (int)op->a->shape[1], n = (int)v->shape[1];
    const float one = 1, zero = 0;
    cublasSetStream_v2(op->blas, stream);
    int code = cublasSgemm_v2(op->blas, 0, 0, n, m, k, &one, data(v), n, data(op->a), k, &zero, data(y), n);
    return code ? fail("cublasSgemm", code) : 0;
}

void sv_close(void *handle)
{
    cublasDestroy_v2(((operator_t *)handle)->blas);
    free(handle);
}

const char *sv_last_error(void *handle)
{
    (void)handle;
    return error;
}
