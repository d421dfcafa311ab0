//! What this process may still take of the machine's memory: what is free, the limits of every control group that it is
//! in, and its own. Looked at before something large is allocated, since the system answers too late: with a signal.

use std::fs;
use std::path::{Path, PathBuf};

use record::numbers;

/// Memory that can be taken, and by what it is limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Available {
    pub bytes: u64,
    pub limit: &'static str,
}

/// Memory that the last case's inputs, and the allocator, keep for the next one: weights of `Held::BYTES_MAX` and
/// free memory of M_TRIM_THRESHOLD (`keep_freed_memory`) at most. A case uses it again or it goes.
const KEPT_BYTES_MAX: u64 = 1 << 30;

/// The least that any limit leaves, where the system tells of any.
pub fn memory_available() -> Option<Available> {
    available_below(Path::new("/"), &limits())
}

/// Refuses what would need more than there is. `bytes` are those of the whole process, with what it keeps from earlier
/// work of the same kind.
pub fn require(bytes: u64) -> Result<(), String> {
    let own = status_bytes(Path::new("/"), "RssAnon").unwrap_or(0).min(KEPT_BYTES_MAX);
    match memory_available() {
        Some(available) if bytes > available.bytes.saturating_add(own) => Err(format!(
            "needs about {} of memory, {} are available (limit: {})",
            numbers::bytes(bytes as f64),
            numbers::bytes(available.bytes as f64),
            available.limit
        )),
        _ => Ok(()),
    }
}

/// A limit of this process: its name, its bytes, and the field of /proc/self/status that counts towards it.
type Limit = (&'static str, u64, &'static str);

#[cfg(target_os = "linux")]
fn limits() -> Vec<Limit> {
    use rustix::process::{Resource, getrlimit};
    let limits = [
        ("address space, `ulimit -v`", Resource::As, "VmSize"),
        ("data segment, `ulimit -d`", Resource::Data, "VmData"),
    ];
    let set = |(name, resource, field)| Some((name, getrlimit(resource).current?, field));
    limits.into_iter().filter_map(set).collect()
}

#[cfg(not(target_os = "linux"))]
fn limits() -> Vec<Limit> {
    Vec::new()
}

/// The same of the system whose /proc and /sys lie below `root`.
fn available_below(root: &Path, limits: &[Limit]) -> Option<Available> {
    let free = kibibytes_of(&root.join("proc/meminfo"), "MemAvailable");
    let free = free.map(|bytes| Available { bytes, limit: "MemAvailable of /proc/meminfo" });
    let own = limits.iter().filter_map(|&(limit, bytes, field)| {
        let bytes = bytes.saturating_sub(status_bytes(root, field)?);
        Some(Available { bytes, limit })
    });
    free.into_iter().chain(own).chain(of_groups(root)).min_by_key(|available| available.bytes)
}

fn status_bytes(root: &Path, field: &str) -> Option<u64> {
    kibibytes_of(&root.join("proc/self/status"), field)
}

/// `Name:   123 kB`, in bytes.
fn kibibytes_of(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(field, _)| *field == name)?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A version of control groups: how its mounts and its lines in /proc/self/cgroup are known, and its files.
struct Groups {
    name: &'static str,
    is_mount: fn(kind: &str, options: &str) -> bool,
    is_own: fn(controllers: &str) -> bool,
    limit: &'static str,
    used: &'static str,
    /// Field of memory.stat: pages of files that the kernel drops before it ends anybody.
    droppable: &'static str,
}

const GROUPS: [Groups; 2] = [
    Groups {
        name: "memory.max of the control group",
        is_mount: |kind, _| kind == "cgroup2",
        is_own: str::is_empty,
        limit: "memory.max",
        used: "memory.current",
        droppable: "inactive_file",
    },
    Groups {
        name: "memory.limit_in_bytes of the control group",
        is_mount: |kind, options| kind == "cgroup" && options.split(',').any(|o| o == "memory"),
        is_own: |controllers| controllers.split(',').any(|c| c == "memory"),
        limit: "memory.limit_in_bytes",
        used: "memory.usage_in_bytes",
        droppable: "total_inactive_file",
    },
];

/// What every control group leaves that this process is in, itself or by an ancestor.
fn of_groups(root: &Path) -> Vec<Available> {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let (own, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let mut all = Vec::new();
    for groups in &GROUPS {
        let mount = mounts.lines().find_map(|line| mount_of(line, groups));
        // `4:memory:/path`; version 2 has no controllers.
        let path = own.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            (groups.is_own)(controllers).then_some(path)
        });
        let (Some((mounted, top)), Some(path)) = (mount, path) else { continue };
        let top = root.join(top.trim_start_matches('/'));
        // A mount shows the tree from `mounted` on: a container's own group may be its root, or lie outside.
        let below = Path::new(path).strip_prefix(&mounted).unwrap_or(Path::new(""));
        let is_outside = below.components().any(|part| part.as_os_str() == "..");
        let group = if is_outside { top.clone() } else { top.join(below) };
        let ancestors = group.ancestors().take_while(|folder| folder.starts_with(&top));
        all.extend(ancestors.filter_map(|folder| {
            Some(Available { bytes: left_in(folder, groups)?, limit: groups.name })
        }));
    }
    all
}

/// `36 35 98:0 /root /mount/point options - kind source options` -> what is mounted, and where.
fn mount_of(line: &str, groups: &Groups) -> Option<(PathBuf, String)> {
    let (fields, kind) = line.split_once(" - ")?;
    let mut fields = fields.split(' ').skip(3);
    let (mounted, top) = (fields.next()?, fields.next()?);
    let mut kind = kind.split(' ');
    let is_it = (groups.is_mount)(kind.next()?, kind.nth(1).unwrap_or_default());
    is_it.then(|| (mounted.into(), top.to_owned()))
}

/// What one group leaves; `None` without a limit.
fn left_in(folder: &Path, groups: &Groups) -> Option<u64> {
    let number =
        |file: &str| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
    let limit = number(groups.limit)?;
    // Version 1 has a number near 2^63 where there is no limit.
    if limit >= 1 << 62 {
        return None;
    }
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let mut fields = stat.lines().filter_map(|line| line.split_once(' '));
    let droppable = fields.find(|(field, _)| *field == groups.droppable);
    let droppable = droppable.and_then(|(_, bytes)| bytes.trim().parse().ok()).unwrap_or(0);
    Some(limit.saturating_sub(number(groups.used)?.saturating_sub(droppable)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with such files.
    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal:  8000 kB\nMemFree: 1 kB\nMemAvailable:    4000 kB\n");
    const STATUS: (&str, &str) = ("proc/self/status", "Name:\tverify\nVmSize:\t 300 kB\n");
    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";

    fn least(files: &[(&str, &str)], limits: &[Limit]) -> Option<(u64, &'static str)> {
        let root = system(files);
        available_below(root.path(), limits).map(|available| (available.bytes, available.limit))
    }

    #[test]
    fn the_least_of_all_limits_counts() {
        let meminfo = Some((4_096_000, "MemAvailable of /proc/meminfo"));
        assert_eq!(least(&[], &[]), None);
        assert_eq!(least(&[MEMINFO], &[]), meminfo);
        let limit = |bytes| [("address space", bytes, "VmSize")];
        assert_eq!(least(&[MEMINFO, STATUS], &limit(1 << 40)), meminfo);
        let left = 1_000_000 - 300 * 1024;
        assert_eq!(least(&[MEMINFO, STATUS], &limit(1_000_000)), Some((left, "address space")));
        assert_eq!(least(&[MEMINFO, STATUS], &limit(1000)), Some((0, "address space")));
    }

    #[test]
    fn a_group_and_its_ancestors_limit_what_their_files_do_not_hold() {
        let own = [
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/b/memory.current", "500\n"),
            ("sys/fs/cgroup/a/memory.max", "2000\n"),
            ("sys/fs/cgroup/a/memory.current", "1500\n"),
            ("sys/fs/cgroup/a/memory.stat", "anon 900\nfile 600\ninactive_file 300\n"),
            // No group of ours.
            ("sys/fs/cgroup/c/memory.max", "1\n"),
            ("proc/self/cgroup", "0::/a/b\n"),
            ("proc/self/mountinfo", UNIFIED),
            MEMINFO,
        ];
        assert_eq!(least(&own, &[]), Some((2000 - 1500 + 300, "memory.max of the control group")));
    }

    #[test]
    fn a_container_sees_its_own_group_as_the_root() {
        let files = |cgroup, mountinfo| {
            [
                ("sys/fs/cgroup/memory.max", "700"),
                ("sys/fs/cgroup/memory.current", "100"),
                ("proc/self/cgroup", cgroup),
                ("proc/self/mountinfo", mountinfo),
                MEMINFO,
            ]
        };
        let want = Some((600, "memory.max of the control group"));
        // A group namespace; a group outside of it; the group itself mounted.
        assert_eq!(least(&files("0::/\n", UNIFIED), &[]), want);
        assert_eq!(least(&files("0::/../other\n", UNIFIED), &[]), want);
        let bound = "30 23 0:26 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(least(&files("0::/docker/1\n", bound), &[]), want);
    }

    #[test]
    fn version_1_has_files_of_its_own() {
        let files = |limit| {
            [
                ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", limit),
                ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "1000"),
                ("sys/fs/cgroup/memory/a/memory.stat", "inactive_file 1\ntotal_inactive_file 40\n"),
                ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/a\n0::/\n"),
                (
                    "proc/self/mountinfo",
                    "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                     35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
                ),
                MEMINFO,
            ]
        };
        let name = "memory.limit_in_bytes of the control group";
        assert_eq!(least(&files("3000\n"), &[]), Some((3000 - 1000 + 40, name)));
        let unlimited = least(&files("9223372036854771712\n"), &[]);
        assert_eq!(unlimited, Some((4_096_000, "MemAvailable of /proc/meminfo")));
    }

    #[test]
    fn this_machine_has_memory_and_no_machine_has_all_of_it() {
        assert!(memory_available().is_some_and(|available| available.bytes > 0));
        assert_eq!(require(1 << 20), Ok(()));
        let refusal = require(u64::MAX).unwrap_err();
        assert!(refusal.starts_with("needs about ") && refusal.contains("available (limit: "));
    }
}
