//! The name of this machine.

/// From the kernel by a call: the files of /proc/sys are hidden from a hardened service.
pub fn host_name() -> String {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
}
