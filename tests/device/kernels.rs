//! Every kernel that the program can ask for compiles, for every architecture that it serves, where there is a
//! compiler; none is compiled with contraction or flush-to-zero. The portable ones compile for AMD as well.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sparse_verify::backend::cuda::{Variant, architecture_name, compiler_version, kernel_variants};

/// Turing, Ampere, Ada, Hopper, Blackwell of both kinds.
const CAPABILITIES: [(i32, i32); 7] = [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)];

/// The one that kernels are tuned on.
const HOPPER: (i32, i32) = (9, 0);

/// Set where each kernel is compiled for all of them: twice the time of those that are compiled otherwise.
const ALL_ARCHITECTURES: &str = "SPARSE_VERIFY_ALL_ARCHITECTURES";

/// NVIDIA's alone, by their instructions.
const CUDA_ONLY: [&str; 8] = [
    "block_stream.cu",
    "fixed_digits.cu",
    "gemm_fixed_mma.cu",
    "gemm_fixed_wgmma.cu",
    "gemm_mma_sync.cu",
    "gemm_tensor_core.cu",
    "torch_normal.cu",
    "watch.cu",
];

/// Written past the test harness's capture, so that a plain `cargo test` shows it.
fn not_run(what: &str, reason: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "not run: {what} ({reason})");
}

fn name(variant: &Variant) -> String {
    format!("{} {}", variant.source.name, variant.defines.join(" "))
}

/// What `wrong` says of all jobs, on all threads.
fn all<J: Sync>(jobs: &[J], wrong: &(dyn Fn(&J) -> Option<String> + Sync)) -> Vec<String> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let wrong = wrong(job);
            failed.lock().expect("nothing panics with the lock held").extend(wrong);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    failed.into_inner().expect("nothing panics with the lock held")
}

#[test]
fn every_kernel_compiles_for_the_architectures_it_serves() {
    let compiler = match compiler_version() {
        Ok(compiler) => compiler,
        Err(error) => return not_run("compiling kernels", &error.to_string()),
    };
    let variants = kernel_variants();
    let is_all = std::env::var_os(ALL_ARCHITECTURES).is_some();
    let jobs: Vec<_> = variants
        .iter()
        .flat_map(|variant| {
            let served = CAPABILITIES.iter().copied().filter(|&known| variant.serves(known));
            let served: Vec<(i32, i32)> = served.collect();
            let ends = [served.first().copied(), served.last().copied(), Some(HOPPER)];
            served
                .into_iter()
                .filter(move |served| is_all || ends.contains(&Some(*served)))
                .map(move |capability| (variant, capability))
        })
        .collect();
    let wrong = |&(variant, capability): &(&Variant, (i32, i32))| {
        let name = format!("{} for {}", name(variant), architecture_name(capability));
        match variant.compile(capability) {
            Err(error) => Some(format!("{name}: {error}")),
            Ok(cubin) => {
                let section = format!(".text.{}\0", variant.entry);
                let has_entry =
                    cubin.bytes.windows(section.len()).any(|bytes| bytes == section.as_bytes());
                let options: Vec<&str> = cubin.record.options.split(' ').collect();
                let exact = ["-fmad=false", "-ftz=false"].iter().all(|o| options.contains(o));
                (!has_entry || !exact)
                    .then(|| format!("{name}: entry {}: {has_entry}; {options:?}", variant.entry))
            }
        }
    };
    let failed = all(&jobs, &wrong);
    let of = if is_all {
        ""
    } else {
        ", the architectures between the oldest and the newest left out but Hopper"
    };
    println!("{} kernels by {compiler}{of}", jobs.len());
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), jobs.len(), failed.join("\n"));
}

/// A Clang for AMD devices, or what was looked for.
fn hip_compiler() -> Result<PathBuf, String> {
    let name = std::env::var_os("SPARSE_VERIFY_HIP_CLANG").unwrap_or("clang++-19".into());
    let runs = Command::new(&name).arg("--version").output().is_ok_and(|out| out.status.success());
    let looked_for = name.to_string_lossy().into_owned();
    runs.then_some(PathBuf::from(name))
        .ok_or_else(|| format!("no {looked_for}; set SPARSE_VERIFY_HIP_CLANG"))
}

#[test]
fn portable_kernels_compile_for_amd_with_ieee_arithmetic() {
    let clang = match hip_compiler() {
        Ok(clang) => clang,
        Err(reason) => return not_run("compiling kernels for AMD", &reason),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut variants = kernel_variants();
    variants.retain(|variant| !CUDA_ONLY.contains(&variant.source.name));
    assert!(!variants.is_empty());
    let wrong = |variant: &Variant| {
        let output = Command::new(&clang)
            .args(["-x", "hip", "--offload-arch=gfx942", "--offload-device-only", "-nogpuinc"])
            .args(["-nogpulib", "-std=c++17", "-O3", "-ffp-contract=off", "-Wall", "-Werror"])
            .arg("-include")
            .arg(root.join("tests/hip/prelude.h"))
            .args(variant.defines.iter().map(|define| format!("-D{define}")))
            .args(["-S", "-o", "-"])
            .arg(root.join("kernels").join(variant.source.name))
            .output()
            .expect("it ran just now");
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            return Some(format!("{}:\n{text}", name(variant)));
        }
        let code = String::from_utf8_lossy(&output.stdout);
        let has = |text: &str| code.contains(text);
        // Fused where the source says so, and nowhere else; never the unfused multiply-add of old.
        let fused = ["v_fma_f32", "v_fmac_f32", "v_pk_fma_f32"].iter().any(|&text| has(text));
        let expected = [
            ("kernel", has(&format!(".amdhsa_kernel {}\n", variant.entry))),
            ("round to nearest even", has(".amdhsa_float_round_mode_32 0\n")),
            ("keep subnormals", has(".amdhsa_float_denorm_mode_32 3\n")),
            ("fuse where asked", fused == variant.source.text.contains("__fmaf_rn")),
            ("never v_mad, v_mac", !has("v_mad_f32") && !has("v_mac_f32")),
        ];
        let missing: Vec<&str> =
            expected.iter().filter(|(_, seen)| !seen).map(|(what, _)| *what).collect();
        (!missing.is_empty()).then(|| format!("{}: not seen: {missing:?}", name(variant)))
    };
    let failed = all(&variants, &wrong);
    println!("{} kernels for gfx942", variants.len());
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), variants.len(), failed.join("\n"));
}

#[test]
fn every_file_of_kernels_is_asked_for() {
    let asked: BTreeSet<String> =
        kernel_variants().iter().map(|variant| variant.source.name.to_owned()).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let there: BTreeSet<String> = std::fs::read_dir(folder)
        .expect("part of the repository")
        .map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".cu"))
        .collect();
    // One that is not has no `variants` beside the code that compiles it.
    assert_eq!(asked, there);
}

#[test]
fn variants_are_all_different_and_serve_something() {
    let variants = kernel_variants();
    let mut seen = BTreeSet::new();
    for variant in &variants {
        let defines = variant.defines.join(" ");
        assert!(
            seen.insert((variant.source.name, defines.clone(), variant.capabilities)),
            "{} {defines}",
            variant.source.name
        );
        assert!(
            CAPABILITIES.iter().any(|capability| variant.serves(*capability)),
            "{} {defines}",
            variant.source.name
        );
        // That it is a kernel's name is seen when it is compiled.
        let text = variant.source.text;
        assert!(text.contains(variant.entry), "{}: no {}", variant.source.name, variant.entry);
    }
}
