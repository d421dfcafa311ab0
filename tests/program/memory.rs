//! Memory of a whole run, its processes together, on the largest case that is committed.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::repository;

/// Bytes in memory of a process and of all that it started, as /proc has them; pages that several share are counted for
/// each.
fn resident_bytes(root: u32) -> u64 {
    let mut parents: HashMap<u32, (u32, u64)> = HashMap::new();
    for entry in std::fs::read_dir("/proc").expect("a Linux system").flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that is gone has no memory.
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else { continue };
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        };
        let parent = number("PPid:").unwrap_or(0) as u32;
        parents.insert(id, (parent, 1024 * number("VmRSS:").unwrap_or(0)));
    }
    let is_of_root = |mut id: u32| {
        // A tree of processes is not as deep.
        for _ in 0..64 {
            match parents.get(&id) {
                _ if id == root => return true,
                Some(&(parent, _)) => id = parent,
                None => return false,
            }
        }
        false
    };
    parents.iter().filter(|(id, _)| is_of_root(**id)).map(|(_, (_, bytes))| bytes).sum()
}

/// The code that a program ends with, and the most bytes that it had in memory, with all that it started.
pub fn code_and_most_bytes(command: &mut Command) -> (Option<i32>, u64) {
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut program = command.spawn().expect("the program starts");
    let mut most = 0;
    loop {
        most = most.max(resident_bytes(program.id()));
        if let Some(status) = program.try_wait().expect("it can be asked") {
            return (status.code(), most);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A has 8.4 GB.
#[test]
fn the_largest_published_layer_takes_less_than_2_gib_in_all_processes() {
    let case = "llama-3.1-405b/embed_tokens/row-magnitude-80/b512/f32/f32-chain";
    let mut program = Command::new(env!("CARGO_BIN_EXE_verify"));
    program.args([&repository("manifests/b200.yaml"), "--case", case, "--no-measure", "--offline"]);
    let (code, most) = code_and_most_bytes(&mut program);
    assert_eq!(code, Some(0), "the case is verified");
    // V and V' alone have 67 MB.
    assert!((100 << 20..2 << 30).contains(&most), "{most} bytes");
}
