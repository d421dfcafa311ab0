//! The walls around a stranger's operator, put up by its process around itself before any foreign code is there. What
//! cannot be had on a system is left out, and said.
//!
//! Left out: a namespace of process ids. What a process leaves behind is ended by the judge, which such orphans are
//! handed to.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::{
    Gid, Resource, Rlimit, Signal, Uid, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use serde::{Deserialize, Serialize};

use crate::backend::namespaces;
use record::operator::{LAYERS, Layer};

/// What a process is to be held by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Walls {
    /// The process's own folder, which is there already.
    pub folder: PathBuf,
    /// Files and folders that it may read and run, beside its own.
    pub reads: Vec<PathBuf>,
    /// Programs that it runs, which another user must be able to reach.
    pub programs: Vec<PathBuf>,
    /// The user that it becomes, or why it stays the one it is.
    pub user: Result<u32, String>,
    /// Whether the judge made itself unreadable, or why not.
    pub judge: Result<(), String>,
    /// Private memory, in bytes.
    pub memory_bytes: u64,
    /// Addresses, in bytes: memory, inputs and outputs, and what is only reserved.
    pub addresses_bytes: u64,
    /// Whether it calls the driver of a CUDA device.
    pub has_device: bool,
    /// Names of layers that are not to be put up.
    pub off: Vec<String>,
}

/// Folders in its own folder that it may write.
pub const OWN_FOLDERS: [&str; 2] = ["home", "tmp"];
/// Largest file that it can write: 4 GiB.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// Files that it can have open.
const OPEN_FILES_MAX: u64 = 1024;
/// Processes and threads of its user.
const TASKS_MAX: u64 = 4096;

/// Of `fcntl`: the signal, and who gets it (asm-generic/fcntl.h).
const F_SETSIG: u64 = 10;
const F_SETOWN_EX: u64 = 15;

/// Folders that every program reads.
const SYSTEM: [&str; 12] = [
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/sbin",
    "/opt",
    "/etc",
    "/sys/devices/system",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
];
/// What NVIDIA's driver reads beside those.
const DRIVER: [&str; 6] = [
    "/proc/driver/nvidia",
    "/proc/devices",
    "/proc/sys/vm",
    "/sys/module/nvidia",
    "/sys/module/nvidia_uvm",
    "/sys/bus/pci/devices",
];
/// Beginnings of the names of its devices, in /dev.
const DRIVER_DEVICES: &str = "nvidia";

/// Devices that hold nothing of anybody.
const DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"];

impl Walls {
    /// Puts up all layers around this process, which must have one thread, and says which it had. `Err` where it could
    /// not go on.
    pub fn put_up(&self) -> Result<Vec<Layer>, String> {
        let mut layers = Vec::new();
        for (name, meaning) in LAYERS {
            let put_up = match self.off.iter().any(|off| off == name) {
                true => Err("switched off".to_owned()),
                false => match name {
                    "user" => Ok(()),
                    "privileges" => no_new_privileges(),
                    "judge" => self.judge.clone(),
                    "network" => network(),
                    "mounts" => self.mounts(),
                    "limits" => self.limits(),
                    // Folders are there before; the others come below.
                    "folders" | "files" | "calls" => Ok(()),
                    _ => Err("there is no such wall".to_owned()),
                },
            };
            let (had, what) = match put_up {
                Ok(()) => (true, meaning.to_owned()),
                Err(why) => (false, why),
            };
            layers.push(Layer { name: name.to_owned(), had, what });
        }
        // Into the folder that is there now: another may have been mounted over the one that it began in.
        std::env::set_current_dir(self.folder.join("home"))
            .map_err(|error| format!("its own folder: {error}"))?;
        // In an order of their own: each may need what the next takes away.
        for (name, put_up) in [
            ("user", &(|| self.become_another()) as &dyn Fn() -> Result<(), String>),
            ("files", &|| self.files()),
        ] {
            let Some(layer) = layers.iter_mut().find(|layer| layer.name == name) else { continue };
            if layer.had
                && let Err(why) = put_up()
            {
                (layer.had, layer.what) = (false, why);
            }
        }
        // A change of user takes it away.
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| error.to_string())?;
        let is_another = layers.iter().any(|layer| layer.name == "user" && layer.had);
        if let Some(layer) = layers.iter_mut().find(|layer| layer.name == "calls")
            && layer.had
            && let Err(why) = calls(is_another, self.has_device)
        {
            (layer.had, layer.what) = (false, why);
        }
        Ok(layers)
    }

    /// Another user, or none of the rights that this one has.
    fn become_another(&self) -> Result<(), String> {
        let failed = |what: &str, error: rustix::io::Errno| format!("{what}: {error}");
        let id = match &self.user {
            Ok(id) => *id,
            Err(why) => {
                let none = CapabilitySet::empty();
                let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
                let _ = rustix::thread::set_capabilities(None, sets);
                return Err(why.clone());
            }
        };
        if let Some(path) = self.programs.iter().find(|path| !is_reached_by_all(path)) {
            return Err(format!("another user cannot reach {}", path.display()));
        }
        let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
        rustix::thread::set_thread_groups(&[]).map_err(|error| failed("groups", error))?;
        rustix::thread::set_thread_res_gid(group, group, group)
            .map_err(|error| failed("group", error))?;
        rustix::thread::set_thread_res_uid(user, user, user)
            .map_err(|error| failed("user", error))?;
        let sets = rustix::thread::capabilities(None).map_err(|error| failed("rights", error))?;
        match sets.effective.is_empty() && sets.permitted.is_empty() {
            true => Ok(()),
            false => Err("it keeps capabilities".into()),
        }
    }

    fn mounts(&self) -> Result<(), String> {
        let failed =
            |what: &dyn std::fmt::Display, error: rustix::io::Errno| format!("{what}: {error}");
        enter(UnshareFlags::NEWNS | UnshareFlags::NEWIPC)?;
        let all = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", all).map_err(|error| failed(&"private mounts", error))?;
        let own = rustix::fs::open(&self.folder, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let own = own.map_err(|error| failed(&self.folder.display(), error))?;
        for temporary in ["/tmp", "/var/tmp", "/dev/shm"] {
            // Where a system's own folders are the same place, what is read there must stay.
            let is_used = self.reads.iter().any(|read| read.starts_with(temporary));
            if is_used || !Path::new(temporary).is_dir() {
                continue;
            }
            let flags = MountFlags::NOSUID | MountFlags::NODEV;
            mount("tmpfs", temporary, "tmpfs", flags, c"size=64m,mode=1777")
                .map_err(|error| failed(&temporary, error))?;
        }
        let again = |path: &Path, file: &OwnedFd| {
            fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let from = format!("/proc/self/fd/{}", file.as_raw_fd());
            mount_bind(from, path).map_err(|error| failed(&path.display(), error))
        };
        if !self.folder.exists() {
            again(&self.folder, &own)?;
        }
        // What it writes fills no disk.
        let owner = match &self.user {
            Ok(id) if !self.off.iter().any(|off| off == "user") => format!(",uid={id},gid={id}"),
            _ => String::new(),
        };
        let data = CString::new(format!("size=512m,mode=0700{owner}")).unwrap_or_default();
        for own in OWN_FOLDERS {
            let own = self.folder.join(own);
            let flags = MountFlags::NOSUID | MountFlags::NODEV;
            mount("tmpfs", &own, "tmpfs", flags, data.as_c_str())
                .map_err(|error| failed(&own.display(), error))?;
        }
        // A program below a folder of the judge's user alone: an empty one takes its place, with the program's own in it.
        let hidden: Vec<&PathBuf> = self
            .reads
            .iter()
            .filter(|path| path.is_dir() && !is_reached_by_all(&path.join("x")))
            .collect();
        let mut opened = Vec::new();
        for path in &hidden {
            let file = rustix::fs::open(*path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
            opened.push((*path, file.map_err(|error| failed(&path.display(), error))?));
        }
        let closed = hidden.iter().filter_map(|path| first_closed(&path.join("x")));
        for folder in closed.collect::<std::collections::BTreeSet<PathBuf>>() {
            let flags = MountFlags::NOSUID | MountFlags::NODEV;
            mount("tmpfs", &folder, "tmpfs", flags, c"size=1m,mode=0755")
                .map_err(|error| failed(&folder.display(), error))?;
        }
        opened.iter().try_for_each(|(path, file)| again(path, file))
    }

    fn limits(&self) -> Result<(), String> {
        for (resource, bytes) in [
            (Resource::Core, 0),
            (Resource::Data, self.memory_bytes),
            (Resource::As, self.addresses_bytes),
            (Resource::Fsize, FILE_BYTES_MAX),
            (Resource::Nofile, OPEN_FILES_MAX),
            (Resource::Nproc, TASKS_MAX),
        ] {
            let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
            setrlimit(resource, limit).map_err(|error| format!("{resource:?}: {error}"))?;
        }
        Ok(())
    }

    /// Files: those of the system and its own to read and run, its own folder to write.
    fn files(&self) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| error.to_string();
        let abi = ABI::V6;
        let read = AccessFs::from_read(abi);
        let all = AccessFs::from_all(abi);
        let own = PathBuf::from(format!("/proc/{}", std::process::id()));
        // The driver names its threads.
        let threads = self.has_device.then(|| own.join("task"));
        let system = SYSTEM.iter().map(PathBuf::from).chain(self.reads.iter().cloned());
        let drivers = DRIVER.iter().filter(|_| self.has_device).map(PathBuf::from);
        let system = system.chain([own]).chain(drivers);
        let system: Vec<PathBuf> = system.filter(|path| path.exists()).collect();
        let driver_devices = if self.has_device { driver_devices() } else { Vec::new() };
        let devices: Vec<&str> =
            DEVICES.into_iter().filter(|path| Path::new(path).exists()).collect();
        let status = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(all)
            .and_then(|rules| rules.handle_access(AccessNet::from_all(abi)))
            .and_then(|rules| rules.scope(Scope::from_all(abi)))
            .and_then(|rules| rules.create())
            .and_then(|rules| rules.add_rules(path_beneath_rules(&system, read)))
            .and_then(|rules| {
                rules.add_rules(path_beneath_rules(&devices, read | AccessFs::WriteFile))
            })
            .and_then(|rules| {
                let called = read | AccessFs::WriteFile | AccessFs::IoctlDev;
                rules.add_rules(path_beneath_rules(&driver_devices, called))
            })
            .and_then(|rules| {
                let named = read | AccessFs::WriteFile | AccessFs::Truncate;
                rules.add_rules(path_beneath_rules(&threads, named))
            })
            .and_then(|rules| rules.add_rules(path_beneath_rules([&self.folder], read)))
            .and_then(|rules| {
                rules.add_rules(path_beneath_rules(
                    OWN_FOLDERS.map(|own| self.folder.join(own)),
                    all,
                ))
            })
            .and_then(|rules| rules.restrict_self())
            .map_err(|error| failed(&error))?;
        match status.ruleset {
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
            RulesetStatus::NotEnforced => Err("the kernel has no landlock".into()),
        }
    }
}

/// Files of NVIDIA's driver in /dev.
fn driver_devices() -> Vec<PathBuf> {
    let all = fs::read_dir("/dev").into_iter().flatten().flatten();
    let is_driver = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(DRIVER_DEVICES);
    all.filter(|entry| is_driver(&entry.file_name())).map(|entry| entry.path()).collect()
}

/// The outermost folder above a path that only its owner may enter.
fn first_closed(path: &Path) -> Option<PathBuf> {
    let above: Vec<&Path> = path.ancestors().skip(1).collect();
    let is_closed = |folder: &&&Path| {
        !folder.as_os_str().is_empty()
            && !fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & 0o001 != 0)
    };
    above.iter().rev().find(is_closed).map(|folder| folder.to_path_buf())
}

/// Whether any user may enter the folders above a path, and above what it is a link to.
fn is_reached_by_all(path: &Path) -> bool {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    first_closed(path).is_none() && first_closed(&real).is_none()
}

fn no_new_privileges() -> Result<(), String> {
    rustix::thread::set_no_new_privs(true).map_err(|error| error.to_string())
}

/// Namespaces of its own; of a user of its own first, where that is needed for it.
fn enter(namespaces: UnshareFlags) -> Result<(), String> {
    match namespaces::leave(namespaces) {
        Err(rustix::io::Errno::PERM) => {}
        other => return other.map_err(|error| format!("namespaces: {error}")),
    }
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    namespaces::leave(UnshareFlags::NEWUSER).map_err(|error| format!("user namespace: {error}"))?;
    let write = |name: &str, text: String| {
        fs::write(format!("/proc/self/{name}"), text)
            .map_err(|error: io::Error| format!("user namespace: {name}: {error}"))
    };
    write("setgroups", "deny".into())?;
    write("uid_map", format!("{user} {user} 1"))?;
    write("gid_map", format!("{group} {group} 1"))?;
    namespaces::leave(namespaces).map_err(|error| format!("namespaces: {error}"))
}

fn network() -> Result<(), String> {
    enter(UnshareFlags::NEWNET)
}

/// System calls that no operator needs, from the start.
fn calls(is_another: bool, has_device: bool) -> Result<(), String> {
    install(&first_filter(is_another, has_device)?)?;
    if has_device {
        // The driver looks for a server of its own, and goes on where it finds none.
        install(&filter([(libc::SYS_connect, vec![])].into(), libc::ENOENT)?)?;
    }
    // The library of C falls back to `clone`, whose arguments can be looked at.
    let clone3 = [(libc::SYS_clone3, vec![])].into();
    install(&filter(clone3, libc::ENOSYS)?)
}

fn install(program: &BpfProgram) -> Result<(), String> {
    seccompiler::apply_filter(program).map_err(|error| error.to_string())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A filter that lets all calls through but these, which fail with `errno`.
fn filter(rules: Rules, errno: i32) -> Result<BpfProgram, String> {
    let failed = |error: &dyn std::fmt::Display| format!("filter: {error}");
    let arch = std::env::consts::ARCH.try_into().map_err(|error| failed(&error))?;
    let refuse = SeccompAction::Errno(errno as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch);
    filter
        .map_err(|error| failed(&error))?
        .try_into()
        .map_err(|error: seccompiler::BackendError| failed(&error))
}

/// A call that is refused where an argument compares so.
fn refused_where(argument: u8, op: SeccompCmpOp, value: u64) -> Result<Vec<SeccompRule>, String> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value);
    let rule = condition.and_then(|condition| SeccompRule::new(vec![condition]));
    Ok(vec![rule.map_err(|error| format!("filter: {error}"))?])
}

fn first_filter(is_another: bool, has_device: bool) -> Result<BpfProgram, String> {
    let mut rules: Rules = [
        // Other processes' memory, descriptors and fate.
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_process_madvise,
        libc::SYS_kcmp,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_send_signal,
        libc::SYS_tkill,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_migrate_pages,
        // The network. A pair of sockets of its own is no way out.
        libc::SYS_socket,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept,
        libc::SYS_accept4,
        // Memory that no limit of a process counts.
        libc::SYS_memfd_create,
        libc::SYS_memfd_secret,
        libc::SYS_shmget,
        // A way around this filter.
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        // The system.
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fspick,
        libc::SYS_mount_setattr,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_open_by_handle_at,
        libc::SYS_name_to_handle_at,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_keyctl,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_kexec_load,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_acct,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_clock_adjtime,
        libc::SYS_adjtimex,
        libc::SYS_sethostname,
        libc::SYS_setdomainname,
        libc::SYS_personality,
        libc::SYS_quotactl,
        libc::SYS_syslog,
        libc::SYS_mq_notify,
        libc::SYS_move_pages,
    ]
    .into_iter()
    .map(|call| (call, vec![]))
    .collect();
    if has_device {
        // The driver listens on a local socket, by which processes give each other memory. Nobody can connect to one. It also
        // takes shared memory that has no file.
        let local = u64::try_from(libc::AF_UNIX).unwrap_or(0);
        rules.insert(libc::SYS_socket, refused_where(0, SeccompCmpOp::Ne, local)?);
        for call in [libc::SYS_connect, libc::SYS_bind, libc::SYS_listen] {
            rules.remove(&call);
        }
    }
    // Signals to itself alone.
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_kill, refused_where(0, SeccompCmpOp::Ne, own)?);
    rules.insert(libc::SYS_tgkill, refused_where(0, SeccompCmpOp::Ne, own)?);
    // The end of the judge is its end.
    let death = libc::PR_SET_PDEATHSIG as u64;
    rules.insert(libc::SYS_prctl, refused_where(0, SeccompCmpOp::Eq, death)?);
    // Signals by way of a file that is ready.
    let ways = [libc::F_SETOWN as u64, F_SETSIG, F_SETOWN_EX];
    let ways = ways.map(|way| refused_where(1, SeccompCmpOp::Eq, way));
    let ways: Result<Vec<_>, String> = ways.into_iter().collect();
    rules.insert(libc::SYS_fcntl, ways?.concat());
    if !is_another {
        // What one process of a user may do to another's share of the processors, and to files.
        for call in [
            libc::SYS_sched_setaffinity,
            libc::SYS_sched_setscheduler,
            libc::SYS_sched_setparam,
            libc::SYS_sched_setattr,
        ] {
            rules.insert(call, refused_where(0, SeccompCmpOp::Ne, 0)?);
        }
        for call in [libc::SYS_setpriority, libc::SYS_ioprio_set] {
            rules.insert(call, refused_where(1, SeccompCmpOp::Ne, 0)?);
        }
        let files = [
            libc::SYS_fchmod,
            libc::SYS_fchmodat,
            libc::SYS_fchown,
            libc::SYS_fchownat,
            libc::SYS_setxattr,
            libc::SYS_utimensat,
        ];
        rules.extend(files.map(|call| (call, vec![])));
        #[cfg(target_arch = "x86_64")]
        rules.extend(
            [libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown].map(|call| (call, vec![])),
        );
    }
    // The same: memory that is shared, and with no file.
    if !has_device {
        let shared = (libc::MAP_SHARED | libc::MAP_ANONYMOUS) as u64;
        rules.insert(libc::SYS_mmap, refused_where(3, SeccompCmpOp::MaskedEq(shared), shared)?);
    }
    // Its own limits are read by the library of C.
    rules.insert(libc::SYS_prlimit64, refused_where(0, SeccompCmpOp::Ne, 0)?);
    filter(rules, libc::EPERM)
}

/// What is refused as well once an operator is called: a new process. Threads go on to be started.
pub fn filter_of_calls() -> Result<BpfProgram, String> {
    let mut rules: Rules =
        [libc::SYS_execve, libc::SYS_execveat].into_iter().map(|call| (call, vec![])).collect();
    #[cfg(target_arch = "x86_64")]
    rules.extend([(libc::SYS_fork, vec![]), (libc::SYS_vfork, vec![])]);
    let thread = libc::CLONE_THREAD as u64;
    rules.insert(libc::SYS_clone, refused_where(0, SeccompCmpOp::MaskedEq(thread), 0)?);
    filter(rules, libc::EPERM)
}

/// A filter as bytes, as the kernel takes it: 8 bytes an instruction, in this machine's byte order.
pub fn as_bytes(program: &BpfProgram) -> Vec<u8> {
    let instruction = |i: &seccompiler::sock_filter| {
        let [a, b] = i.code.to_ne_bytes();
        let [c, d, e, f] = i.k.to_ne_bytes();
        [a, b, i.jt, i.jf, c, d, e, f]
    };
    program.iter().flat_map(instruction).collect()
}
