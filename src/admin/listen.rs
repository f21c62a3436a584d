//! Where the admin listener is: addresses, and Unix sockets.

use std::fmt;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::process::umask;

use crate::gate::Listener;

/// The owner and the group may connect.
const SOCKET_MODE: u32 = 0o660;

/// One place of `RTMS_ADMIN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// `127.0.0.1:9464`.
    Tcp(SocketAddr),
    /// `unix:/run/rtmsd/admin.sock`.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => address.fmt(f),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl ListenAddress {
    /// Whether it can be reached from this machine alone.
    pub fn is_local(&self) -> bool {
        match self {
            ListenAddress::Tcp(address) => address.ip().is_loopback(),
            ListenAddress::Unix(_) => true,
        }
    }

    /// Listens there. The file of a Unix socket goes with the second value.
    ///
    /// # Errors
    /// The system refuses it, or another server listens there.
    pub fn listen(&self) -> io::Result<(Listener, Option<SocketFile>)> {
        match self {
            ListenAddress::Tcp(address) => Ok((TcpListener::bind(address)?.into(), None)),
            ListenAddress::Unix(path) => {
                let (listener, file) = listen_at(path)?;
                Ok((Listener::Unix(listener), Some(file)))
            }
        }
    }
}

/// The address to ask for a server that listens on every address.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The file of a Unix socket, deleted on drop unless it is another's by then.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

fn listen_at(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    match fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::other("a file is there that is no socket"));
        }
        // Left by a server that was killed.
        Ok(_) if is_abandoned(path) => fs::remove_file(path)?,
        Ok(_) => return Err(ErrorKind::AddrInUse.into()),
        Err(_) => {}
    }
    // The socket has its mode from the start: no other user can connect before it is set.
    let before = umask(Mode::from_raw_mode(0o777 & !SOCKET_MODE));
    let listener = UnixListener::bind(path);
    umask(before);
    let listener = listener?;
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
    let file = SocketFile {
        path: path.to_owned(),
        inode: inode(path)?,
    };
    Ok((listener, file))
}

fn is_abandoned(path: &Path) -> bool {
    UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;

    #[test]
    fn s1_a_unix_socket_is_for_its_owner_and_group() {
        let folder = scratch("admin-socket");
        let place = ListenAddress::Unix(folder.join("s"));
        let (listener, file) = place.listen().expect("it listens");
        let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode(&folder.join("s")), 0o660);
        let error = place.listen().expect_err("it is in use");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        // As a killed process leaves it.
        drop(listener);
        std::mem::forget(file);
        let (_listener, file) = place.listen().expect("it listens again");
        drop(file);
        assert!(!folder.join("s").exists());
        fs::write(folder.join("s"), "a file").expect("a file");
        place.listen().expect_err("it is no socket");
        assert!(folder.join("s").is_file());
    }
}
