//! Namespaces of this process.

use rustix::thread::UnshareFlags;

/// Leaves some of the parent's namespaces; open files stay shared as they are.
pub fn leave(namespaces: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: no table of open files is left behind, which is what other code could rely on.
    unsafe { rustix::thread::unshare_unsafe(namespaces.difference(UnshareFlags::FILES)) }
}
