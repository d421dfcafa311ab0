//! Messages between the judge and a worker: JSON in packets of bounded size, with files beside them.
//!
//! A packet is a whole message or none. A message that does not fit, is not JSON of the expected form, or comes too
//! late is an error. The worker that caused the error is replaced: no state is kept that a bad message could have
//! spoilt.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sockopt,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of the largest message. A request for 1000 calls takes about 4 KB.
pub const MESSAGE_MAX: usize = 64 << 10;
/// Files beside a message, at most; [`super::message::DeviceRequest::Apply`] may have five.
pub const FILES_MAX: usize = 5;

/// The reason why there is no message.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The other side is gone.
    #[error("the channel was closed")]
    Closed,
    /// Nothing came in time.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// Something came that is no message.
    #[error("not a message of the protocol: {0}")]
    Malformed(String),
    /// The system failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl From<rustix::io::Errno> for WireError {
    fn from(errno: rustix::io::Errno) -> WireError {
        match errno {
            rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET => WireError::Closed,
            errno => WireError::Io(errno.into()),
        }
    }
}

/// One end of a channel.
pub struct Channel(OwnedFd);

impl Channel {
    /// Both ends.
    pub fn pair() -> Result<(Channel, Channel), WireError> {
        let kind = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (one, other) = rustix::net::socketpair(kind.0, kind.1, kind.2, None)?;
        Ok((Channel(one), Channel(other)))
    }

    /// The end that was handed over as `socket`.
    pub fn of(socket: OwnedFd) -> Channel {
        Channel(socket)
    }

    /// The socket, to be handed over.
    pub fn into_socket(self) -> OwnedFd {
        self.0
    }

    /// Sends a message and files. The other side may let the queue fill up: that is an error after `limit`.
    pub fn send(
        &self,
        message: &impl Serialize,
        files: &[BorrowedFd<'_>],
        limit: Option<Duration>,
    ) -> Result<(), WireError> {
        let bytes =
            serde_json::to_vec(message).map_err(|error| WireError::Malformed(error.to_string()))?;
        if bytes.len() > MESSAGE_MAX || files.len() > FILES_MAX {
            let what = format!("{} bytes and {} files to send", bytes.len(), files.len());
            return Err(WireError::Malformed(what));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(files)) {
            unreachable!("room for so many files")
        }
        sockopt::set_socket_timeout(&self.0, sockopt::Timeout::Send, limit)?;
        let parts = [IoSlice::new(&bytes)];
        loop {
            // No signal where the other side is gone: an error.
            match rustix::net::sendmsg(&self.0, &parts, &mut beside, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    return Err(WireError::Late(limit.unwrap_or_default()));
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// The next message and the files beside it, waited for `limit` at most.
    pub fn receive<T: DeserializeOwned>(
        &self,
        limit: Option<Duration>,
    ) -> Result<(T, Vec<OwnedFd>), WireError> {
        sockopt::set_socket_timeout(&self.0, sockopt::Timeout::Recv, limit)?;
        let mut bytes = vec![0; MESSAGE_MAX];
        let (length, flags, files) = loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let received =
                rustix::net::recvmsg(&self.0, &mut parts, &mut beside, RecvFlags::CMSG_CLOEXEC);
            match received {
                Ok(received) => {
                    let files = beside.drain().filter_map(|message| match message {
                        RecvAncillaryMessage::ScmRights(files) => Some(files),
                        _ => None,
                    });
                    break (received.bytes, received.flags, files.flatten().collect::<Vec<_>>());
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    return Err(WireError::Late(limit.unwrap_or_default()));
                }
                Err(errno) => return Err(errno.into()),
            }
        };
        if length == 0 {
            return Err(WireError::Closed);
        }
        if flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(WireError::Malformed(format!("more than {MESSAGE_MAX} bytes or files")));
        }
        Ok((decode(&bytes[..length])?, files))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A message from its bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    serde_json::from_slice(bytes).map_err(|error| WireError::Malformed(error.to_string()))
}
