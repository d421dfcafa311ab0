//! The protocol against what no worker of ours says.

use contract::dtype::Dtype;
use proptest::prelude::*;

use super::message::{Reply, Request};
use super::wire::{Channel, MESSAGE_MAX, WireError, decode};
use std::os::fd::AsFd as _;
use std::time::Duration;

const SOON: Option<Duration> = Some(Duration::from_millis(50));

#[test]
fn messages_and_files_come_as_they_were_sent() {
    let (one, other) = Channel::pair().unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    let request = Request::Load {
        m: 3,
        k: 5,
        n: 7,
        slots: 2,
        input: Dtype::Bf16,
        output: Dtype::F32,
        device: None,
    };
    one.send(&request, &[file.as_fd(), file.as_fd()], SOON).unwrap();
    let (came, files) = other.receive::<Request>(SOON).unwrap();
    assert_eq!((format!("{came:?}"), files.len()), (format!("{request:?}"), 2));
    drop(one);
    assert!(matches!(other.receive::<Request>(SOON), Err(WireError::Closed)));
    assert!(matches!(other.send(&request, &[], SOON), Err(WireError::Closed)));
}

#[test]
fn what_is_too_large_or_too_late_is_an_error() {
    let (one, other) = Channel::pair().unwrap();
    assert!(matches!(other.receive::<Request>(SOON), Err(WireError::Late(_))));
    let reason = "x".repeat(MESSAGE_MAX);
    let large = Reply::Failed { reason: reason.clone(), refused: false };
    assert!(matches!(one.send(&large, &[], SOON), Err(WireError::Malformed(_))));
    // As somebody sends it who keeps to no limit.
    let socket = one.into_socket();
    let sent = rustix::net::send(&socket, reason.as_bytes(), rustix::net::SendFlags::empty());
    assert_eq!(sent.unwrap(), MESSAGE_MAX);
    let sent =
        rustix::net::send(&socket, &[b' '; MESSAGE_MAX + 1], rustix::net::SendFlags::empty());
    assert_eq!(sent.unwrap(), MESSAGE_MAX + 1);
    for _ in 0..2 {
        assert!(matches!(other.receive::<Reply>(SOON), Err(WireError::Malformed(_))));
    }
    // A queue that nobody empties does not hold the sender up for ever.
    let (one, _other) = Channel::pair().unwrap();
    let reply = Reply::Done { changes: 0 };
    let sent = (0..100_000).find_map(|_| one.send(&reply, &[], SOON).err());
    assert!(matches!(sent, Some(WireError::Late(_))), "{sent:?}");
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode::<Reply>(&bytes);
        let _ = decode::<Request>(&bytes);
    }

    #[test]
    fn a_changed_message_is_a_message_or_an_error(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let reply = Reply::Built { plan: "rows: asked for".into(), bytes_held: 4096 };
        let mut bytes = serde_json::to_vec(&reply).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(1 + cut.index(bytes.len()));
        let _ = decode::<Reply>(&bytes);
    }
}
