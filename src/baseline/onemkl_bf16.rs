//! oneMKL's product of bf16 matrices with a binary32 output.
//!
//! Which rule it follows is the processor's (`verify doctor --arithmetic`): with AMX it is amx-bf16, every element, where V has
//! more than one column; oneMKL 2026.2 on a Zen 4, whose AVX512_BF16 it does not use, sums slices of 192 k as f32-sliced does.

use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use crate::backend::cpu::OneMkl;
use crate::operator::{Built, Error, Operator, Staged};

/// The rival's name.
pub const ONEMKL_BF16: &str = "onemkl-bf16";

/// `cblas_gemm_bf16bf16f32`; A and V are converted beforehand, V in every call.
#[derive(Clone, Copy)]
pub struct OneMklBf16(pub &'static OneMkl);

/// The encodings of bf16 values; an error where there are others.
fn encoded(matrix: &str, x: ArrayView2<'_, f32>, to: &mut Array2<u16>) -> Result<(), Error> {
    to.zip_mut_with(&x, |to, x| *to = (x.to_bits() >> 16) as u16);
    if x.iter().any(|x| x.to_bits() & 0xffff != 0) {
        return Err(Error::Unsupported(format!("{matrix} holds values that are not bf16")));
    }
    Ok(())
}

impl Operator for OneMklBf16 {
    fn name(&self) -> String {
        ONEMKL_BF16.into()
    }

    fn build<'a>(&self, a: ArrayView2<'a, f32>) -> Result<Box<dyn Built + 'a>, Error> {
        let mut of_a = Array2::zeros(a.dim());
        encoded("A", a, &mut of_a)?;
        Ok(Box::new(OneMklBf16Built { library: self.0, a: of_a }))
    }

    fn stage(
        &self,
        v: ArrayView2<'_, f32>,
        staged: &mut Staged,
        _threads: usize,
    ) -> Result<(), Error> {
        let fits = |of_v: &Array2<u16>| of_v.dim() == v.dim();
        encoded("V", v, staged.reuse_or(fits, || Array2::zeros(v.dim())))
    }
}

struct OneMklBf16Built {
    library: &'static OneMkl,
    a: Array2<u16>,
}

impl Built for OneMklBf16Built {
    fn apply(
        &self,
        _v: ArrayView2<'_, f32>,
        staged: &Staged,
        y: ArrayViewMut2<'_, f32>,
        threads: usize,
    ) -> Result<(), Error> {
        let v: &Array2<u16> = staged.get()?;
        self.library.gemm_bf16(self.a.view(), v.view(), y, threads).map_err(Error::Environment)
    }

    fn bytes_held(&self) -> usize {
        self.a.len() * size_of::<u16>()
    }
}
