//! Synthetic values with the widest vectors there are: the contract's own function, compiled for each dispatch path.

use contract::dtype::Dtype;
use contract::inputs::Stream;
use contract::inputs::spec::Values;
use contract::inputs::synthetic::fill;

use super::{Isa, per_isa};

/// Draws as [`contract::inputs::synthetic::fill`] does.
pub fn fill_synthetic(values: Values, stream: &Stream, dtype: Dtype, first: u64, out: &mut [f32]) {
    fill_on(Isa::best(), values, stream, dtype, first, out);
}

per_isa! {
    fn fill_on(values: Values, stream: &Stream, dtype: Dtype, first: u64, out: &mut [f32]) {
        fill(values, stream, dtype, first, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_gives_the_same_values() {
        let stream = Stream::new(3, "A.values", &[1, 5003], Dtype::F32, None);
        let dtypes = [Dtype::F32, Dtype::Bf16, Dtype::F16];
        for (values, dtype) in Values::ALL.into_iter().zip(dtypes.into_iter().cycle()) {
            let drawn = |isa| {
                let mut drawn = vec![f32::NAN; 5003];
                fill_on(isa, values, &stream, dtype, 0, &mut drawn);
                drawn.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            for isa in Isa::available() {
                assert_eq!(drawn(isa), drawn(Isa::Portable), "{values:?}, {dtype}, {isa}");
            }
        }
    }
}
