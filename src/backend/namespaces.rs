//! Namespaces and environment of this process.

use std::collections::BTreeMap;

use rustix::thread::UnshareFlags;

/// Leaves some of the parent's namespaces; open files stay shared as they are.
pub fn leave(namespaces: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: no table of open files is left behind, which is what other code could rely on.
    unsafe { rustix::thread::unshare_unsafe(namespaces.difference(UnshareFlags::FILES)) }
}

/// Sets variables, for code that is opened after that. This process must have one thread.
pub fn set_environment(variables: &BTreeMap<String, String>) {
    for (name, value) in variables {
        // SAFETY: no other thread reads the environment meanwhile.
        unsafe { std::env::set_var(name, value) };
    }
}
