//! The machine a run was made on, as records keep it.

use record::environment::Environment;
use std::fs;
use std::io::Read;
use std::path::Path;

use contract::digest::Digest;
use sha2::{Digest as _, Sha256};

use crate::backend::cpu::{Isa, float_environment_is_ieee};

/// Assumed where the system does not tell the size of the caches: more than most have.
const CACHE_BYTES_UNKNOWN: u64 = 64 << 20;

/// Looks at this machine.
pub fn environment() -> Environment {
    Environment {
        tool_version: record::tool::VERSION.into(),
        tool_sha256: tool_sha256(),
        git_revision: option_env!("SPARSE_VERIFY_REVISION").map(Into::into),
        os: os_name().unwrap_or_else(|| std::env::consts::OS.into()),
        kernel: line_of("/proc/sys/kernel/osrelease"),
        architecture: std::env::consts::ARCH.into(),
        cpu_model: field_of("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: memory_bytes(),
        cache_bytes: cache_bytes(Path::new("/sys/devices/system/cpu/cpu0/cache"))
            .unwrap_or(CACHE_BYTES_UNKNOWN),
        isa: Isa::best().to_string(),
        isa_available: Isa::available().map(|isa| isa.to_string()).collect(),
        sha_instructions: has_sha_instructions(),
        preloaded: preloaded(),
        float_environment_is_ieee: float_environment_is_ieee(),
    }
}

/// Family, model and stepping of the processor, where the system tells them: a name alone may stand for several.
pub fn cpu_signature() -> Option<String> {
    let field = |name: &str| field_of("/proc/cpuinfo", name);
    let (family, model) = (field("cpu family")?, field("model")?);
    Some(format!("family {family}, model {model}, stepping {}", field("stepping")?))
}

/// Variables and files that make the loader put other code into this process. Such code cannot be contained, and is
/// named.
fn preloaded() -> Vec<String> {
    let set = |name: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
        Some(format!("{name}={}", value.to_string_lossy()))
    };
    let file = "/etc/ld.so.preload";
    let named = fs::read_to_string(file).is_ok_and(|text| !text.trim().is_empty());
    ["LD_PRELOAD", "LD_AUDIT"]
        .iter()
        .filter_map(|name| set(name))
        .chain(named.then(|| file.to_owned()))
        .collect()
}

fn line_of(path: &str) -> Option<String> {
    let line = fs::read_to_string(path).ok()?.lines().next()?.trim().to_string();
    (!line.is_empty()).then_some(line)
}

/// The first value of `name : value`.
fn field_of(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| field.trim() == name).map(|(_, value)| value.trim().to_string())
}

fn os_name() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_string())
}

fn memory_bytes() -> Option<u64> {
    let field = field_of("/proc/meminfo", "MemTotal")?;
    Some(field.strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Sum over the data and unified caches of one core.
fn cache_bytes(folder: &Path) -> Option<u64> {
    let mut bytes = 0;
    for index in fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()) {
        let read = |file: &str| fs::read_to_string(index.join(file)).ok();
        let Some(kind) = read("type") else { continue };
        if kind.trim() == "Instruction" {
            continue;
        }
        bytes += kibibytes(read("size")?.trim())?;
    }
    (bytes > 0).then_some(bytes)
}

/// `32768K`, as the kernel writes sizes of caches.
fn kibibytes(size: &str) -> Option<u64> {
    match size.strip_suffix('K') {
        Some(size) => size.parse::<u64>().ok().map(|kib| kib << 10),
        None => size.strip_suffix('M')?.parse::<u64>().ok().map(|mib| mib << 20),
    }
}

fn has_sha_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("sha")
    }
    #[cfg(target_arch = "aarch64")]
    {
        std::arch::is_aarch64_feature_detected!("sha2")
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        false
    }
}

/// SHA-256 of the running executable.
fn tool_sha256() -> Option<String> {
    let mut file = fs::File::open(std::env::current_exe().ok()?).ok()?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).ok()? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Some(Digest::finish(hasher).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let environment = environment();
        assert!(environment.cores >= 1);
        assert_eq!(environment.tool_sha256.as_ref().map(String::len), Some(64));
        assert!(environment.isa_available.contains(&environment.isa));
        let json = serde_json::to_string(&environment).unwrap();
        assert_eq!(serde_json::from_str::<Environment>(&json).unwrap(), environment);
    }

    #[test]
    fn caches_are_added_up_without_instructions() {
        let folder = tempfile::tempdir().unwrap();
        for (index, kind, size) in
            [("0", "Data", "32K"), ("1", "Instruction", "64K"), ("2", "Unified", "1M")]
        {
            let index = folder.path().join(format!("index{index}"));
            fs::create_dir(&index).unwrap();
            fs::write(index.join("type"), kind).unwrap();
            fs::write(index.join("size"), size).unwrap();
        }
        assert_eq!(cache_bytes(folder.path()), Some((32 << 10) + (1 << 20)));
        assert_eq!(cache_bytes(&folder.path().join("none")), None);
    }
}
