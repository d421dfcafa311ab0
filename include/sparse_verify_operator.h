/* The C interface of an operator under test.
 *
 * A shared library that exports these five functions computes Y = A V for `verify`. A is m x k, V is k x n, Y is m x n.
 * The library is opened in a process of its own. All calls come from one thread, one after the other; a call may use as
 * many threads of its own as `threads` says.
 *
 * Tensors are described as DLPack describes them (https://dmlc.github.io/dlpack/latest/c_api.html): `DLTensor` below has
 * the layout of DLPack 1.0, and a program that includes <dlpack/dlpack.h> first uses that. All are dense and row-major:
 * `ndim` is 2, `strides` counts elements and is never NULL. m, k and n are at least 1. A and V have the same dtype; dtypes are
 * those of a case that the operator file claims. */
#ifndef SPARSE_VERIFY_OPERATOR_H
#define SPARSE_VERIFY_OPERATOR_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this interface, in `sv_settings.abi`. */
#define SV_ABI 1

#ifndef DLPACK_DLPACK_H_
/* Where a tensor lies: device_type 1 is the CPU, 2 a CUDA device. */
typedef struct {
    int32_t device_type;
    int32_t device_id;
} DLDevice;

/* An element: code 2 is an IEEE float of `bits` bits, code 4 a bfloat. `lanes` is 1. */
typedef struct {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
} DLDataType;

/* The first element lies at `data` + `byte_offset` bytes. */
typedef struct {
    void *data;
    DLDevice device;
    int32_t ndim;
    DLDataType dtype;
    int64_t *shape;
    int64_t *strides;
    uint64_t byte_offset;
} DLTensor;
#endif

/* What a case asks for. The texts live as long as the call. */
typedef struct {
    uint32_t abi;
    /* Threads that a call may use. */
    uint32_t threads;
    /* The rule of an element of Y, as manifests name it: `exact`, `f32-chain`, `bounded`, ... */
    const char *arithmetic;
    /* Where A, V and Y lie. */
    DLDevice device;
} sv_settings;

/* Opens an operator: `*handle` is handed to the other functions. 0 if it was done, anything else if not. */
int sv_open(const sv_settings *settings, void **handle);

/* Takes A, once for each handle. `a` and its memory stay as they are until the handle is closed, and must not be
 * written. What costs time is measured, and reported as the time to build. 0 if it was done. */
int sv_build(void *handle, const DLTensor *a);

/* Writes all of Y = A V. Y has no values before: an element that is not written is a NaN. When this returns, all of Y is
 * there; with a CUDA device, when the device has done what was put into it. `stream` (a cudaStream_t) is NULL: the default stream.
 * 0 if it was done. */
int sv_apply(void *handle, const DLTensor *v, const DLTensor *y, void *stream);

/* Gives back all that a handle holds. */
void sv_close(void *handle);

/* Why the last call failed, in words; NULL if there are none. `handle` is NULL for sv_open. The text lives until the next
 * call. */
const char *sv_last_error(void *handle);

#ifdef __cplusplus
}
#endif
#endif
