//! What a stranger must agree with to verify a case: inputs bit for bit, the rule of every output element, and what a
//! digest is of. VERIFY.md says the same in words.
//!
//! Everything here is scalar and obvious. Deliberately absent: devices, files, the network, clocks, verdicts, and
//! implementations that are fast.
//!
//! A (3 x 5, half of it pruned) from its seed, V (5 x 2), one element of Y = A V by the scalar rule, and the digest of A
//! that VERIFY.md prints in section 1:
//!
//! ```
//! use sparse_verify_contract::arithmetic::{Arithmetic, Slices};
//! use sparse_verify_contract::digest::TensorHasher;
//! use sparse_verify_contract::dtype::Dtype;
//! use sparse_verify_contract::inputs::spec::{Pattern, Sparsity, Values};
//! use sparse_verify_contract::inputs::{Recipe, activations, synthetic};
//!
//! let (seed, dtype, values, threads) = (42, Dtype::F32, Values::Uniform, 1);
//! let sparsity = Sparsity::parse("0.5").expect("a decimal");
//! let recipe = Recipe { seed, m: 3, k: 5, dtype, pattern: Pattern::Uniform, sparsity };
//! let source = Box::new(recipe.values(values, synthetic::fill));
//! let a = recipe.synthetic(values, source, &mut None, threads)?.rows(0..3)?;
//! let v = activations(seed, values, (5, 2), dtype, synthetic::fill, threads);
//!
//! // Zeros change no bit: the rule multiplies them, an operator need not.
//! let row = a.row(1).to_vec();
//! let column = v.column(0).to_vec();
//! let live: Vec<usize> = (0..5).filter(|&k| row[k] != 0.0).collect();
//! let chain = Arithmetic::F32Chain(Slices::One);
//! let y = chain.dot(&row, &column);
//! let skipped = live.iter().fold(0.0, |y, &k| f32::mul_add(row[k], column[k], y));
//! assert_eq!(y.to_bits(), skipped.to_bits());
//!
//! let mut hasher = TensorHasher::new(dtype, 3, false);
//! hasher.update(&a);
//! assert_eq!(
//!     hasher.finish().digest.to_string(),
//!     "4e87cd525c0733b3ae23239438fee55d7527de8624cc495a73fd0c7e92b6fd2b"
//! );
//! # Ok::<(), sparse_verify_contract::inputs::source::SourceError>(())
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod arithmetic;
pub mod case;
pub mod digest;
pub mod distinct;
pub mod dtype;
pub mod inputs;
pub mod perturbation;
pub mod published;
pub mod spot;
pub mod stack;
pub mod strategy;
pub mod threads;
pub mod words;
