//! Stand-ins for the contract's types in the JSON Schema of a record, so that the contract knows of no schemas.
//!
//! They have the same form in JSON, which the tests below hold. Left out: anything to compute with.

#![expect(dead_code, reason = "stand-ins are described, never made")]

use schemars::JsonSchema;
use serde::Serialize;

/// A SHA-256 digest: 64 lower-case hexadecimal digits.
#[derive(JsonSchema)]
pub struct Digest(#[schemars(regex(pattern = "^[0-9a-f]{64}$"))] String);

/// A fraction of zeros, in billionths.
#[derive(JsonSchema)]
pub struct Sparsity(#[schemars(range(max = 1_000_000_000))] u32);

/// An element type of A, V or Y.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    F32,
    Bf16,
    F16,
}

/// How random words become elements.
#[derive(JsonSchema, Serialize)]
pub enum Recipe {
    /// `torch.rand` on a device.
    #[serde(rename = "torch-device-uniform")]
    Uniform,
    /// `torch.randn` on a CUDA device.
    #[serde(rename = "torch-device-normal")]
    Normal,
}

/// The random library that drew.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// cuRAND.
    Cuda,
    /// rocRAND.
    Rocm,
}

/// The platform, and blocks that PyTorch starts at most: what of a device decides its random numbers.
#[derive(JsonSchema)]
pub struct Hardware(Platform, u32);

/// NumPy's default generator, by its seed.
#[derive(JsonSchema)]
pub struct NumpyUniform {
    #[schemars(rename = "numpy-pcg64-uniform")]
    seed: u64,
}

/// The part of a tensor that a digest covers.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    WholeTensor,
    /// The first 4,000,000 bytes, or all of a smaller tensor.
    Prefix,
}

/// A digest beside the published one.
#[derive(JsonSchema)]
pub struct Comparison {
    scope: Scope,
    /// The part of the tensor that the digest covers, from 0 to 1; null where the tensor's size is not published.
    share: Option<f64>,
    /// Whether the tensor here was pruned before it was hashed.
    pruned: bool,
    /// Hexadecimal digits that were published, of 64: as many are compared.
    digits: usize,
    got: Digest,
    matches: bool,
}

#[cfg(test)]
mod tests {
    use contract::published::Hardware as OfContract;
    use contract::{digest, dtype, inputs::spec, published};
    use serde_json::{Value, json};

    use super::*;

    fn json_of(value: impl Serialize) -> Value {
        serde_json::to_value(value).expect("it is JSON")
    }

    /// Every variant of the contract's types has its stand-in: a new one does not compile here.
    #[test]
    fn enumerations_have_the_same_words() {
        use dtype::Dtype as D;
        for dtype in [D::F32, D::Bf16, D::F16] {
            let other = match dtype {
                D::F32 => Dtype::F32,
                D::Bf16 => Dtype::Bf16,
                D::F16 => Dtype::F16,
            };
            assert_eq!(json_of(dtype), json_of(other));
        }
        use published::Recipe as R;
        for recipe in [R::Uniform, R::Normal] {
            let other = match recipe {
                R::Uniform => Recipe::Uniform,
                R::Normal => Recipe::Normal,
            };
            assert_eq!(json_of(recipe), json_of(other));
        }
        use published::Platform as P;
        for platform in [P::Cuda, P::Rocm] {
            let other = match platform {
                P::Cuda => Platform::Cuda,
                P::Rocm => Platform::Rocm,
            };
            assert_eq!(json_of(platform), json_of(other));
        }
        use published::Scope as S;
        for scope in [S::WholeTensor, S::Prefix] {
            let other = match scope {
                S::WholeTensor => Scope::WholeTensor,
                S::Prefix => Scope::Prefix,
            };
            assert_eq!(json_of(scope), json_of(other));
        }
    }

    /// The rest have the form that the stand-ins describe.
    #[test]
    fn values_have_the_form_that_is_described() {
        let hardware = OfContract::new(published::Platform::Cuda, 132, 2048).expect("an H200");
        assert_eq!(json_of(hardware), json!(["cuda", 1056]));
        let sparsity = spec::Sparsity::parse("0.8").expect("a decimal");
        assert_eq!(json_of(sparsity), json!(800_000_000));
        let got = digest::Digest::of(b"");
        let compared =
            published::Comparison::new(published::Scope::Prefix, 1, false, got, "e3b0c442");
        let described = json_of(schemars::schema_for!(Comparison));
        let names = |value: &Value| -> Vec<String> {
            value.as_object().expect("an object").keys().cloned().collect()
        };
        assert_eq!(names(&json_of(compared)), names(&described["properties"]));
        assert_eq!(json_of(compared)["got"], got.to_string());
    }
}
