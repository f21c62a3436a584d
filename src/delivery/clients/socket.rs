//! The sockets of clients.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{AddressFamily, getsockname, sockopt};

/// Of the socket of a client, as the kernel is asked for it; it doubles the number.
const SEND_BUFFER_BYTES: usize = 128 << 10;
/// A peer that acknowledges nothing for so long is gone.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Sets what a socket of a client needs; a Unix socket has fewer options.
pub(crate) fn prepare(socket: &impl AsFd) -> io::Result<()> {
    // Small, because what is in it cannot be recalled, and a slow client would fill more.
    sockopt::set_socket_send_buffer_size(socket, SEND_BUFFER_BYTES)?;
    if getsockname(socket)?.address_family() == AddressFamily::UNIX {
        return Ok(());
    }
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, USER_TIMEOUT)?;
    sockopt::set_tcp_keepintvl(socket, USER_TIMEOUT / 3)?;
    let ms = u32::try_from(USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    Ok(sockopt::set_tcp_user_timeout(socket, ms)?)
}

/// Whether a client waits for room in its socket, and whether epoll(7) watches for it.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::delivery) struct Room {
    /// The socket took no more.
    pub(in crate::delivery) is_wanted: bool,
    is_watched: bool,
}

impl Room {
    /// What to watch a client for at first.
    pub(in crate::delivery) const INPUT: EventFlags = EventFlags::IN.union(EventFlags::RDHUP);

    /// Changes what the client with that number is watched for, if it has to be. `false` if that fails.
    pub(in crate::delivery) fn watch(
        &mut self,
        epoll: &OwnedFd,
        socket: impl AsFd,
        slot: usize,
    ) -> bool {
        if self.is_wanted == self.is_watched {
            return true;
        }
        self.is_watched = self.is_wanted;
        let room = match self.is_wanted {
            true => EventFlags::OUT,
            false => EventFlags::empty(),
        };
        let number = EventData::new_u64(slot as u64);
        epoll::modify(epoll, socket, number, Room::INPUT | room).is_ok()
    }
}
