//! Tensor maps: how a matrix in device memory is read in boxes by the tensor memory accelerator.

use cudarc::driver::sys;

use super::error::{Call, CudaError};
use super::matrix::DeviceMatrix;
use contract::dtype::Dtype;

/// How a box lies in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swizzle {
    /// Row after row.
    None,
    /// In rows of 128 bytes, whose 16-byte chunks are exchanged by row.
    Bytes128,
}

/// The tensor map of V (k x n, row-major) for boxes of `rows` rows and `cols` columns, at most 256 each;
/// beyond V's bounds zeros are read. The driver must have `cuTensorMapEncodeTiled`.
pub(super) fn encode(
    v: &DeviceMatrix,
    (rows, cols): (usize, usize),
    swizzle: Swizzle,
) -> Result<[u64; 16], CudaError> {
    let mut map = sys::CUtensorMap { opaque: [0; 16] };
    let dtype = match v.dtype {
        Dtype::F32 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
        Dtype::F16 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
        Dtype::Bf16 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
    };
    let shape = [v.cols as u64, v.rows as u64];
    let stride_bytes = [(v.stride * v.dtype.size()) as u64];
    let box_shape = [cols as u32, rows as u32];
    let swizzle = match swizzle {
        Swizzle::None => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_NONE,
        Swizzle::Bytes128 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
    };
    // More than a box is wide would be read for nothing.
    let promotion = if cols * v.dtype.size() >= 128 {
        sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B
    } else {
        sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_NONE
    };
    // SAFETY: the arrays are as long as the two dimensions ask for, and are read before the call
    // returns; V's address and stride are aligned as every DeviceMatrix's are.
    unsafe {
        sys::cuTensorMapEncodeTiled(
            &mut map,
            dtype,
            2,
            v.pointer() as *mut _,
            shape.as_ptr(),
            stride_bytes.as_ptr(),
            box_shape.as_ptr(),
            [1, 1].as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            swizzle,
            promotion,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    }
    .result()
    .call("cuTensorMapEncodeTiled", || {
        format!(
            "V, {} x {} {}, rows {} elements apart, in boxes of {rows} x {cols}",
            v.rows, v.cols, v.dtype, v.stride
        )
    })?;
    Ok(map.opaque)
}
